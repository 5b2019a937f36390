/* SPDX-License-Identifier: BSD-3-Clause */
/* The reports: a table (table.c), JSON (json.c). */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "core/plan.h"

#include <stdio.h>

void report_table(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_facts *facts);

/* The object of the JSON, to be given back by json_decref(). */
struct json_t *report_object(const struct bench_plan *p, const struct bench_opts *o,
			     const struct bench_facts *facts);
/* 0 or -EIO. */
int report_json(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		const struct bench_facts *facts);

/* Errors in all runs. */
uint64_t report_errors(const struct bench_plan *p, const struct bench_opts *o);

#endif
