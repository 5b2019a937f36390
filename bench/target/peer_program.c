/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backends with a hybrid Unix socket that are installed here: the program is started for the run.
 */
#include "io/peer/program.h"
#include "peer_target.h"
#include "targets.h"

#include <stdio.h>

enum { PLACE_ZVSOCKD = BENCH_PEERS_MAX, PLACE_OTHER };
_Static_assert(PLACE_OTHER < BENCH_PEERS_MAX + BENCH_PROGRAMS, "a place for each");

static void find(struct bench_opts *o, unsigned place, const char *name)
{
	struct bench_peer *peer = &o->peers[place];

	snprintf(peer->name, sizeof(peer->name), "%s", name);
	if (!program_find(name, peer->program, sizeof(peer->program)))
		peer->program[0] = '\0';
}

static int plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c,
		unsigned place)
{
	c.peer = place;
	return peer_target_plan(p, o, c);
}

static int program_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		       struct bench_result *res, struct proc_err *err)
{
	(void)o;
	return peer_target_run(state, c, res, err);
}

static void program_end(void *state)
{
	peer_target_stop(state);
}

/* ---- zvsockd ---- */

static void zvsockd_prepare(struct bench_opts *o)
{
	find(o, PLACE_ZVSOCKD, "zvsockd");
}

static const char *zvsockd_missing(const struct bench_opts *o)
{
	return o->peers[PLACE_ZVSOCKD].program[0] ? peer_target_cannot(o) : "zvsockd is not there";
}

static int zvsockd_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	return plan(p, o, c, PLACE_ZVSOCKD);
}

static int zvsockd_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			 struct proc_err *err)
{
	return peer_target_start((struct peer_target **)state, o, PLACE_ZVSOCKD, facts, err);
}

const struct target target_zvsockd_hybrid = {
	.name = "vhost-user",
	.id = "zvsockd-hybrid",
	.path = "relay",
	.label = "zvsockd hybrid",
	.brief = "zvsockd hybrid",
	.about = "zvsock, a guest of zvsockd and a program on its hybrid Unix socket",
	.io = IO_PEER,
	.prepare = zvsockd_prepare,
	.missing = zvsockd_missing,
	.get = "./run build, or install zvsockd",
	.plan = zvsockd_plan,
	.start = zvsockd_start,
	.run = program_run,
	.stop = program_end,
	.json = peer_target_json,
};

/* ---- vhost-device-vsock ---- */

static void other_prepare(struct bench_opts *o)
{
	find(o, PLACE_OTHER, "vhost-device-vsock");
}

static const char *other_missing(const struct bench_opts *o)
{
	return o->peers[PLACE_OTHER].program[0] ? peer_target_cannot(o)
						: "the program is not in $PATH";
}

static int other_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	return plan(p, o, c, PLACE_OTHER);
}

static int other_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
		       struct proc_err *err)
{
	return peer_target_start((struct peer_target **)state, o, PLACE_OTHER, facts, err);
}

const struct target target_vhost_device_vsock = {
	.name = "vhost-user",
	.id = "vhost-device-vsock",
	.path = "relay",
	.label = "vhost-device-vsock",
	.brief = "vhost-device-vsock",
	.about = "vhost-device-vsock, libzvsock as its guest and a program on its hybrid Unix "
		 "socket",
	.io = IO_PEER,
	.prepare = other_prepare,
	.missing = other_missing,
	.get = "install the package vhost-device-vsock (Debian 13 has none; sid has), or --peer "
	       "for one "
	       "that runs",
	.plan = other_plan,
	.start = other_start,
	.run = program_run,
	.stop = program_end,
	.json = peer_target_json,
};
