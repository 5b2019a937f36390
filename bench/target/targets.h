/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_TARGETS_H
#define BENCH_TARGETS_H

#include "core/target.h"

/* Columns of ratios and the absent ones of the JSON stand in this order. */
#define TARGETS(X)                                                                                 \
	X(target_zvsock)                                                                           \
	X(target_zvsock_channel)                                                                   \
	X(target_zvsock_relay)                                                                     \
	X(target_zvsock_beside)                                                                    \
	X(target_vhost_kernel)                                                                     \
	X(target_vsock_loopback)                                                                   \
	X(target_af_vsock)                                                                         \
	X(target_peer)                                                                             \
	X(target_zvsockd_hybrid)                                                                   \
	X(target_vhost_device_vsock)                                                               \
	X(target_af_unix)                                                                          \
	X(target_af_unix_seqpacket)                                                                \
	X(target_tcp)                                                                              \
	X(target_raw)                                                                              \
	X(target_raw_split)                                                                        \
	X(target_raw_packed)

#define TARGET_DECLARE(t) extern const struct target t;
TARGETS(TARGET_DECLARE)
#undef TARGET_DECLARE

/* zvsock over virtqueues, the host's side in a process of its own. */
struct zv_pair_spec;
extern const struct zv_pair_spec zv_virtqueues;

/* Cells of libzvsock: in the directions and ways of calling that were asked for, where the workload
 * has such. */
int zv_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);
/* Lines above and below the tables, of any path of zvsock's. */
void zv_print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts);
void zv_print_foot(FILE *f, const struct bench_opts *o);

/* Why a baseline is not measured: only AF_UNIX is there beside peers. */
const char *baseline_absent(const struct bench_opts *o);
const char *baseline_absent_beside_peers(const struct bench_opts *o);

#endif
