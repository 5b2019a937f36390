/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target with a foreign backend between libzvsock and a host program on its hybrid Unix socket;
 * io/peer/peer.h describes it.
 */
#ifndef BENCH_PEER_TARGET_H
#define BENCH_PEER_TARGET_H

#include "core/target.h"

struct peer_target;

/*
 * Meets o->peers[@index], or starts its program. 0, *@out and what is known of it in
 * facts->peers[@index]; or -errno with a sentence in @err.
 */
int peer_target_start(struct peer_target **out, const struct bench_opts *o, unsigned index,
		      struct bench_facts *facts, struct proc_err *err);
/* One cell, once. 0 and *@res, or -errno with a sentence in @err. */
int peer_target_run(struct peer_target *t, const struct bench_cell *c, struct bench_result *res,
		    struct proc_err *err);
void peer_target_stop(struct peer_target *t);

/* Adds the cells of @c, whose peer is set, in the directions that were asked for. */
int peer_target_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);
/* What a hybrid Unix socket has no way to carry; NULL: nothing of the options. */
const char *peer_target_cannot(const struct bench_opts *o);
/* Keys of the JSON. */
void peer_target_json(struct json_t *j, const struct bench_opts *o, const struct bench_cell *c,
		      const struct bench_facts *facts);

#endif
