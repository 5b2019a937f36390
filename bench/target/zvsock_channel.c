/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock through a channel: both sides are applications of the host (daemon:), connected by a
 * zvsockd that is started for the run. Payload goes through shared memory and bypasses zvsockd.
 */
#include "io/zv/zv_pair.h"
#include "targets.h"
#include "zvsockd_pair.h"

#include <stdio.h>

static void channel_uris(char *host, char *guest, size_t len, const char *dir)
{
	zvsockd_apps_uri(host, len, dir);
	zvsockd_apps_uri(guest, len, dir);
}

static bool many_conns(const struct bench_opts *o)
{
	for (unsigned i = 0; i < nworkloads; i++)
		if (o->workloads >> i & 1 && workloads[i]->zv.many_conns)
			return true;
	return false;
}

/* Half of the region is for these two, and each queue has a connection or more of its own. */
static int channel_daemon(struct proc *p, const char *dir, const struct bench_opts *o,
			  struct proc_err *err)
{
	char more[120];

	snprintf(more, sizeof(more), "application_region = 1024M\nchannel_size = %s\n",
		 many_conns(o) ? "256K" : "8M");
	return zvsockd_between(p, dir, o, false, more, err);
}

static const struct zv_pair_spec spec = {.uris = channel_uris, .between = channel_daemon};

static int channel_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			 struct proc_err *err)
{
	return zv_pair_start((struct zv_pair **)state, &spec, o, facts, err);
}

static int channel_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		       struct bench_result *res, struct proc_err *err)
{
	(void)o;
	return zv_pair_run(state, c, res, err);
}

static void channel_stop(void *state)
{
	zv_pair_stop(state);
}

const struct target target_zvsock_channel = {
	.name = "zvsock",
	.id = "zvsock-channel",
	.path = "channel",
	.label = "zvsock channel",
	.brief = "zvsock channel",
	.about = "zvsock, two applications on zvsockd and a channel in shared memory",
	.io = IO_ZV,
	.absent = zvsockd_absent,
	.missing = zvsockd_missing,
	.get = ZVSOCKD_GET,
	.plan = zv_plan,
	.start = channel_start,
	.run = channel_run,
	.stop = channel_stop,
	.print_run = zv_print_run,
	.print_foot = zv_print_foot,
};
