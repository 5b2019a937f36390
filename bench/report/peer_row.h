/* SPDX-License-Identifier: BSD-3-Clause */
/* Columns that the rows of all workloads have with --peer. */
#ifndef BENCH_PEER_ROW_H
#define BENCH_PEER_ROW_H

#include "stats.h"

#define PEER_HEAD_END "%7s %13s %23s %9s\n"

/* The arguments of PEER_HEAD_END: "xUNIX", "xNAME" of the first peer, ..., @cost. */
#define PEER_HEAD_ARGS(first, cost) "xUNIX", (first), "CPU s g / h / b", (cost)

/* "xNAME" of the first peer. */
const char *peer_first(char *buf, size_t len, const struct bench_opts *o);

/* Name of the peer, or of the target that it is compared with. */
const char *peer_label(const struct bench_opts *o, const struct bench_cell *c);

/* The columns that all rows end with: ratios of @figure, CPU times, @cost. */
void peer_row_end(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c, metric_fn figure, metric_fn cost);

/* CPU time of all three processes: ns for each KiB, us for each message or connection. */
double m_cpu_kib(const struct bench_result *r);
double m_cpu_op(const struct bench_result *r);

#endif
