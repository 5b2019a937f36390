/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libzvsock between two forked processes: the host side is the server, the guest side the client.
 * Both live through all cells. While other targets are measured the guest waits for a command and
 * the host is paused.
 */
#ifndef BENCH_ZV_PAIR_H
#define BENCH_ZV_PAIR_H

#include "zv_side.h"

#define ZV_PAIR_URI_LEN 160u

/* What there is on both sides, and between them. */
struct zv_pair_spec {
	/* Devices of the two sides; @dir is a directory made for the run. */
	void (*uris)(char *host, char *guest, size_t len, const char *dir);
	/*
	 * A program between them, started before and ended after them; NULL: none. 0, or -errno
	 * with a sentence.
	 */
	int (*between)(struct proc *p, const char *dir, const struct bench_opts *o,
		       struct proc_err *err);
	/*
	 * The host's side where that is not libzvsock: says 'r' on @fd when it serves, and serves
	 * until @fd ends. 0, or -errno with a sentence. NULL: libzvsock.
	 */
	int (*serve)(int fd, const struct bench_opts *o, struct proc_err *err);
};

struct zv_pair;

/* 0, *@out and what is known of the device in *@facts; or -errno with a sentence in @err. */
int zv_pair_start(struct zv_pair **out, const struct zv_pair_spec *spec, const struct bench_opts *o,
		  struct bench_facts *facts, struct proc_err *err);
/* One cell, once. 0 and *@res, or -errno with a sentence in @err. */
int zv_pair_run(struct zv_pair *t, const struct bench_cell *c, struct bench_result *res,
		struct proc_err *err);
/* Ends both, guest first, and removes the directory. */
void zv_pair_stop(struct zv_pair *t);

#endif
