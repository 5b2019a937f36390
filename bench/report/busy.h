/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detects and reports that the machine was busy with something else, which makes figures
 * unreliable.
 */
#ifndef BENCH_BUSY_H
#define BENCH_BUSY_H

#include "core/plan.h"

#include <stdio.h>

#define BUSY_SHARE  0.8 /* a side that spins and got less of its CPU than this was short of it */
#define BUSY_SPREAD 2.0 /* best and worst run of a cell are far apart beyond this ratio */

struct busy {
	unsigned runs, short_runs; /* with a side that spins on a CPU of its own; short of it */
	double least_share;
	const struct bench_cell *least_cell;
	unsigned cells, apart; /* with two runs or more; far apart */
	double widest;	       /* ratio */
	const struct bench_cell *widest_cell;
};

/*
 * What part of one CPU a thread of @role got in the run; < 0: it does not spin, or has no CPU of
 * its own (--cpus 1cpu, more threads than CPUs), so that nothing follows from it.
 */
double busy_share(const struct bench_cell *c, const struct bench_result *r,
		  const struct bench_opts *o, unsigned ncpus, enum bench_role role);

/* Looks at all runs; @ncpus: those that may be used. */
void busy_check(struct busy *b, const struct bench_plan *p, const struct bench_opts *o,
		unsigned ncpus);

/* One line for each kind of trouble; nothing when there is none. */
void busy_warn(FILE *f, const struct busy *b);

#endif
