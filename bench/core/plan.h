/* SPDX-License-Identifier: BSD-3-Clause */
/* Which cells a run has. */
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

/* The cell of @target that @c is compared with, or NULL. */
const struct bench_cell *plan_peer(const struct bench_plan *p, const struct bench_cell *c,
				   enum bench_target target);

/* The same cell of the first --peer, or NULL. */
const struct bench_cell *plan_first_peer(const struct bench_plan *p, const struct bench_cell *c);

const char *target_name(enum bench_target t);
const char *test_name(enum bench_test t);
const char *scene_name(enum bench_scene s);
const char *dir_name(enum bench_dir d);
/* "zero-copy", "copying", "coalesced"; "" where there is no such choice. */
const char *cell_how(const struct bench_cell *c);

#endif
