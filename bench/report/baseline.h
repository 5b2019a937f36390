/* SPDX-License-Identifier: BSD-3-Clause */
/* --baseline: compares this run with an earlier one. */
#ifndef BENCH_BASELINE_H
#define BENCH_BASELINE_H

#include <jansson.h>
#include <stdio.h>

#define BASELINE_FACTOR 0.8

struct baseline {
	unsigned cells;	   /* in both runs */
	unsigned worse;	   /* below the factor */
	unsigned only_now; /* not in the earlier run */
	unsigned only_before;
};

/* The report of an earlier run in file @path, to be given back by json_decref(). NULL with a
 * sentence in @why. */
json_t *baseline_load(const char *path, char *why, size_t len);

/*
 * Prints a line for each cell that both reports have: the medians, and how many times better
 * @now is (round trips: shorter). Those below @factor are marked.
 */
struct baseline baseline_compare(FILE *f, const json_t *before, const json_t *now, double factor);

#endif
