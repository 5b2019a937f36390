/* SPDX-License-Identifier: BSD-3-Clause */
/* The figures of the tables: metrics of a run, medians of a cell, ratios between two cells. */
#ifndef BENCH_REPORT_STATS_H
#define BENCH_REPORT_STATS_H

#include "core/plan.h"

#include <stdio.h>

/* A figure of a run; NAN: the run has none, and is left out. */
typedef double (*metric_fn)(const struct bench_result *r);

struct spread {
	double med, min, max;
	unsigned n;
};

/* Of @n values, which it sorts. */
struct spread values_spread(double *v, unsigned n);
/* Over the repetitions of a cell. */
struct spread cell_spread(const struct bench_cell *c, unsigned repeat, metric_fn m);
double cell_med(const struct bench_cell *c, unsigned repeat, metric_fn m);

/* The median in words; "-" when no run has the figure. */
const char *med_text(char *buf, size_t len, const struct bench_cell *c, unsigned repeat,
		     metric_fn m, int decimals);

/* Round trips in us; CPU time in s. */
double m_p50(const struct bench_result *r);
double m_p99(const struct bench_result *r);
double m_p999(const struct bench_result *r);
double m_max(const struct bench_result *r);
double m_cpu_guest(const struct bench_result *r);
double m_cpu_host(const struct bench_result *r);

/* "1.93": the median of the ratios to @base within each repetition; "-" when there is nothing to
 * compare with or it would be 1. */
const char *ratio_text(char *buf, size_t len, const struct bench_opts *o,
		       const struct bench_cell *c, const struct bench_cell *base, metric_fn m);

/*
 * A column for each target that others are compared with and that can run the workload: its head,
 * its ratio.
 */
void print_ratio_heads(FILE *f, const struct bench_opts *o, const struct workload *wl);
void print_ratios(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		  const struct bench_cell *c, metric_fn m);

/* "zvsock copying" */
const char *cell_label(char *buf, size_t len, const struct bench_cell *c);

/* "1.23 M"; "64 KiB". */
const char *human(char *buf, size_t len, double v);
/* The same, with three digits or more below 1000. */
const char *figure_text(char *buf, size_t len, double v);
const char *size_text(char *buf, size_t len, uint32_t size);

/* The end of a row: CPU seconds of both sides; what went wrong, if anything, and the newline. */
void print_cpu(FILE *f, const struct bench_cell *c, unsigned repeat);
void print_errors(FILE *f, const struct bench_cell *c, unsigned repeat);

#endif
