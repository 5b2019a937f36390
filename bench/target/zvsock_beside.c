/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --beside: zvsock between two more processes that differ from the first two in one option, so
 * that the effect of the option is measured within one run.
 */
#include "io/zv/zv_pair.h"
#include "targets.h"
#include "zvsock_types.h"

#include <errno.h>
#include <stdio.h>

#define BESIDES(X)                                                                                 \
	X(BESIDE_BUSY_POLL, 1, "busy-poll")                                                        \
	X(BESIDE_ADAPTIVE, 2, "adaptive")                                                          \
	X(BESIDE_SLEEP, 3, "sleep")                                                                \
	X(BESIDE_SPLIT, 4, "split")                                                                \
	X(BESIDE_PACKED, 5, "packed")

#define BESIDE_ID(id, value, name)   id = (value),
#define BESIDE_NAME(id, value, name) [id] = (name),
enum beside { BESIDE_NONE, BESIDES(BESIDE_ID) };
static const char *const words[] = {BESIDES(BESIDE_NAME)};
static const struct bench_names names = {words, sizeof(words) / sizeof(words[0])};

static unsigned given;
static struct bench_opts other; /* those of the run, changed; it outlives the processes */

static const struct bench_option rows[] = {
	{"beside", 0, "OPTION", OPTIONS_DEVICE,
	 "Also measure zvsock with this option changed: busy-poll, adaptive, sleep, split or "
	 "packed",
	 .kind = OPTION_CHOICE, .value = &given, .names = &names},
};

/* --target all is about transports, so it does not ask for this. */
static void beside_prepare(struct bench_opts *o)
{
	uint64_t self = 1ull << target_index(&target_zvsock_beside);

	if (o->targets && given)
		o->targets |= self;
	else if (o->targets != self)
		o->targets &= ~self;
}

static const struct bench_opts *beside_opts(const struct bench_opts *o)
{
	other = *o;
	if (given == BESIDE_SPLIT || given == BESIDE_PACKED) {
		other.ring_flags = given == BESIDE_SPLIT ? ZV_OPT_SPLIT : ZV_OPT_PACKED;
	} else {
		other.busy_poll = given == BESIDE_BUSY_POLL;
		other.sleep = given == BESIDE_SLEEP;
	}
	return &other;
}

static int beside_check(const struct bench_opts *o, char *why, size_t len)
{
	if (!given || (!o->client_uri && !o->server_uri && !o->npeers))
		return 0;
	snprintf(why, len,
		 "--beside is of two processes that vsock-bench starts: not with --client, "
		 "--server or --peer");
	return -EINVAL;
}

static const char *beside_missing(const struct bench_opts *o)
{
	(void)o;
	return given ? NULL : "--beside does not say what it differs in";
}

static int beside_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			struct proc_err *err)
{
	return zv_pair_start((struct zv_pair **)state, &zv_virtqueues, beside_opts(o), facts, err);
}

static int beside_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		      struct bench_result *res, struct proc_err *err)
{
	(void)o;
	return zv_pair_run(state, c, res, err);
}

static void beside_stop(void *state)
{
	zv_pair_stop(state);
}

const struct target target_zvsock_beside = {
	.name = "zvsock",
	.id = "zvsock-beside",
	.path = "virtqueue",
	.label = "zvsock beside",
	.brief = "zvsock beside",
	.about = "zvsock once more, with the option that --beside names",
	.ratio = "xBESIDE",
	.io = IO_ZV,
	.datagrams = true,
	.options = BENCH_OPTIONS(rows),
	.opts = beside_opts,
	.check = beside_check,
	.prepare = beside_prepare,
	.absent = beside_missing,
	.missing = beside_missing,
	.get = "--beside OPTION",
	.plan = zv_plan,
	.start = beside_start,
	.run = beside_run,
	.stop = beside_stop,
};
