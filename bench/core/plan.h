/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan: the list of cells that a run measures. */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include "bench.h"

struct bench_plan {
	struct bench_cell *cells;
	unsigned n, cap;
};

/* 0 or -ENOMEM. */
int plan_make(struct bench_plan *p, const struct bench_opts *o);
void plan_free(struct bench_plan *p);

/* Adds @c on each target of the run that can carry it: first what is measured, then what that is
 * compared with. 0 or -ENOMEM. */
int plan_cells(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);
/* The same with each of the sizes that were asked for. */
int plan_sizes(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);
/* Leaves only the first cell. */
void plan_first(struct bench_plan *p);

/* Adds one cell. 0 or -ENOMEM. */
int plan_add(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);

/* The cell of @target that @c is compared with, or NULL. */
const struct bench_cell *plan_beside(const struct bench_plan *p, const struct bench_cell *c,
				     const struct target *target);

/* The same cell of the first --peer, or NULL. */
const struct bench_cell *plan_first_peer(const struct bench_plan *p, const struct bench_cell *c);

/* At least one of its runs came to its end. */
bool cell_ran(const struct bench_cell *c, unsigned repeat);

/* "zero-copy", "copying", "coalesced", "registered"; "" where there is no such choice. */
const char *cell_how(const struct bench_cell *c);

#endif
