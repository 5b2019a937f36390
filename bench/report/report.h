/* SPDX-License-Identifier: BSD-3-Clause */
/* What the user gets: a table (table.c, report_fair.c, report_peer.c), JSON (json.c). */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "core/plan.h"

#include <stdio.h>

void report_table(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts);

/* The same for --peer. */
void report_peers(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts);

/* The part of --test fairness (report_fair.c). */
void head_fairness(FILE *f, const struct bench_opts *o);
void row_fairness(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c);

/* 0 or -EIO. */
int report_json(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		const struct bench_facts *facts);

/* Errors in all runs. */
uint64_t report_errors(const struct bench_plan *p, const struct bench_opts *o);

/* Messages or connections per second. */
double result_rate(const struct bench_result *r);
double result_gbit(const struct bench_result *r);

#endif
