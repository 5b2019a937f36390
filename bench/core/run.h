/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the cells of the plan, --repeat times.
 *
 * A cell that fails is marked with the reason and is not run again; the others go on. Its target is
 * stopped and started anew, because a process of it may be gone or in mid-cell. A target that does
 * not start, or whose cells fail RUN_FAILURES times in a row, is given up: the rest of its cells
 * are left out, so that a dead peer does not make each of them wait for its deadline. Of several
 * --peer each is stopped, started and given up by itself: the rest of its cells fail without being
 * run, and those of the others go on.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "plan.h"

#include <stdio.h>

#define RUN_FAILURES 3u /* in a row */
#define RUN_CELL_LEN 128u

/* The cells of one --peer; of another target, all of them. */
struct run_part {
	unsigned failures;	   /* of cells, in a row */
	char gone[BENCH_GONE_LEN]; /* why the peer was given up */
};

struct bench_run {
	const struct bench_opts *o;
	struct bench_plan *plan;
	struct bench_facts *facts; /* gone: what was given up, and why */
	struct proc_err *err;	   /* shared with all children */
	FILE *log;		   /* failures; the progress too, if it is a terminal */
	bool tty;
	/* One run of a cell, as target->run(). */
	int (*cell)(struct bench_run *r, const struct bench_cell *c, struct bench_result *res);
	void *arg; /* of cell() */

	void *state[BENCH_TARGETS_MAX]; /* of the targets, by place in their table */
	struct run_part part[BENCH_TARGETS_MAX][BENCH_PEERS_MAX];
	unsigned failed_cells;
	bool failed; /* a cell, or a target that did not start */
};

/* Starts all targets, runs all cells, stops the targets. 0; -ENODEV when none of those that are
 * measured has started; -EINTR after a signal. */
int run_all(struct bench_run *r);

/* Runs @c on its target. */
int run_on_target(struct bench_run *r, const struct bench_cell *c, struct bench_result *res);

/* Says which cells have failed, in one line; nothing when none has. */
void run_summary(const struct bench_run *r);

/* "zvsock throughput copying, 64 B, g2h" */
const char *run_cell_text(char *buf, size_t len, const struct bench_opts *o,
			  const struct bench_cell *c);

#endif
