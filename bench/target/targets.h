/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_TARGETS_H
#define BENCH_TARGETS_H

#include "core/target.h"

/* Columns of ratios and the absent ones of the JSON stand in this order. */
#define TARGETS(X)                                                                                 \
	X(target_zvsock)                                                                           \
	X(target_af_vsock)                                                                         \
	X(target_af_unix)                                                                          \
	X(target_tcp)                                                                              \
	X(target_raw)                                                                              \
	X(target_peer)

#define TARGET_DECLARE(t) extern const struct target t;
TARGETS(TARGET_DECLARE)
#undef TARGET_DECLARE

/* Why a baseline is not measured: only AF_UNIX is there beside peers. */
const char *baseline_absent(const struct bench_opts *o);
const char *baseline_absent_beside_peers(const struct bench_opts *o);

#endif
