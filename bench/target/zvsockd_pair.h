/* SPDX-License-Identifier: BSD-3-Clause */
/* A zvsockd that is started for the run, between the two sides of a target. */
#ifndef BENCH_ZVSOCKD_PAIR_H
#define BENCH_ZVSOCKD_PAIR_H

#include "core/target.h"

#define ZVSOCKD_GUEST_CID 3u

/* Where it listens for applications of the host, and for the guest. */
void zvsockd_apps_uri(char *uri, size_t len, const char *dir);
void zvsockd_guest_uri(char *uri, size_t len, const char *dir);

/*
 * Starts it, with one guest if @guest, a place for applications, and @more lines for [daemon]. For
 * zv_pair_spec.between.
 */
int zvsockd_between(struct proc *p, const char *dir, const struct bench_opts *o, bool guest,
		    const char *more, struct proc_err *err);

/* Why a path through zvsockd is not measured: for struct target. */
const char *zvsockd_missing(const struct bench_opts *o);
const char *zvsockd_absent(const struct bench_opts *o);
#define ZVSOCKD_GET "./run build, or install zvsockd"

#endif
