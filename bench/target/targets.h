/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each target offers: run one cell once. 0 and *res, or -errno with a sentence in @err (kept
 * in shared memory, so that a child can write it).
 */
#ifndef BENCH_TARGETS_H
#define BENCH_TARGETS_H

#include "core/bench.h"
#include "measure/proc.h"

/* Raw limits of the machine: what no transport in shared memory can beat (raw.c). */
int raw_run(const struct bench_opts *o, const struct bench_cell *c, struct bench_result *res,
	    struct proc_err *err);
/* Slots of the ring of the bare loop for this message size. */
uint32_t raw_slots(uint32_t msg_size);

/* AF_UNIX stream sockets and TCP over loopback (target/socket.c). */
int stream_run(const struct bench_opts *o, const struct bench_cell *c, struct bench_result *res,
	       struct proc_err *err);

/* zvsock between two forked processes (target/zvsock.c). */
struct zv_target;
int zv_target_start(struct zv_target **t, const struct bench_opts *o, struct bench_facts *facts,
		    struct proc_err *err);
int zv_target_run(struct zv_target *t, const struct bench_cell *c, struct bench_result *res,
		  struct proc_err *err);
void zv_target_stop(struct zv_target *t);

/* One side only, in this process, the other one elsewhere (target/zvsock.c). */
struct zv_client;
int zv_serve(const struct bench_opts *o, struct proc_err *err);
int zv_client_start(struct zv_client **cl, const struct bench_opts *o, struct bench_facts *facts,
		    struct proc_err *err);
int zv_client_run(struct zv_client *cl, const struct bench_cell *c, struct bench_result *res,
		  struct proc_err *err);
void zv_client_stop(struct zv_client *cl);

/* A foreign backend between two forked programs (peer.h); @index in o->peers. */
struct peer_target;
int peer_target_start(struct peer_target **t, const struct bench_opts *o, unsigned index,
		      struct bench_facts *facts, struct proc_err *err);
int peer_target_run(struct peer_target *t, const struct bench_cell *c, struct bench_result *res,
		    struct proc_err *err);
void peer_target_stop(struct peer_target *t);

/* Puts the statistics of the two sides of a one-way test together; @rx: the receiver. */
void result_from_sides(struct bench_result *res, const struct side_stats *tx,
		       const struct side_stats *rx, unsigned queues);

#endif
