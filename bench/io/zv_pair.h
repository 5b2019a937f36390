/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libzvsock between two forked processes: the host side is the server, the guest side the client.
 * Both live through all cells; while other targets are measured the guest waits for a command and
 * the host is paused.
 */
#ifndef BENCH_ZV_PAIR_H
#define BENCH_ZV_PAIR_H

#include "zv_side.h"

/* The device of a side: @before, a directory made for the run, @after. */
struct zv_uri {
	const char *before, *after;
};

struct zv_pair_uris {
	struct zv_uri host, guest;
};

struct zv_pair;

/* 0, *@out and what is known of the device in *@facts; or -errno with a sentence in @err. */
int zv_pair_start(struct zv_pair **out, const struct zv_pair_uris *uris, const struct bench_opts *o,
		  struct bench_facts *facts, struct proc_err *err);
/* One cell, once. 0 and *@res, or -errno with a sentence in @err. */
int zv_pair_run(struct zv_pair *t, const struct bench_cell *c, struct bench_result *res,
		struct proc_err *err);
/* Ends both, guest first, and removes the directory. */
void zv_pair_stop(struct zv_pair *t);

#endif
