/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock through a channel: both sides are applications of the host (daemon:), connected by a
 * zvsockd that is started for the run. Payload goes through shared memory and bypasses zvsockd.
 */
#include "io/zv/zv_pair.h"
#include "targets.h"
#include "zvsockd_pair.h"

#include <errno.h>
#include <stdio.h>

#define MIB	       (1u << 20)
#define SIZE_MANY      (256u << 10) /* of channels, if there are many connections */
#define SIZE_USUAL     (8 * MIB)
#define REGION_MIN_MIB 1024u
#define REGION_MAX_MIB 4095u /* of zvsockd */

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

static uint32_t given; /* bytes of a channel; 0: the default */

static const struct bench_option options[] = {
	{.name = "channel-size",
	 .arg = "BYTES",
	 .group = OPTIONS_DEVICE,
	 .help = "Memory of a channel of zvsockd, a power of two (8M; 256K for many connections)",
	 .kind = OPTION_NUMBER,
	 .value = &given,
	 .min = SIZE_MANY,
	 .max = 512 * MIB},
};

/* Half of a region is for the two sides, and each queue has a connection and a further one while
 * that is being closed. */
static uint64_t region_mib(uint64_t size, unsigned queues)
{
	uint64_t mib = 4 * size * queues / MIB;

	return mib > REGION_MIN_MIB ? mib : REGION_MIN_MIB;
}

static int channel_check(const struct bench_opts *o, char *why, size_t len)
{
	if (given & (given - 1))
		snprintf(why, len, "--channel-size takes a power of two, such as 64M");
	else if (region_mib(given, o->queues) > REGION_MAX_MIB)
		snprintf(
			why, len,
			"--channel-size: each queue takes four times that, and zvsockd has at most "
			"%uM for all of them",
			REGION_MAX_MIB);
	else
		return 0;
	return -EINVAL;
}

static int channel_daemon(struct proc *p, const char *dir, const struct bench_opts *o,
			  struct proc_err *err)
{
	uint32_t size = given ? given : many_conns(o) ? SIZE_MANY : SIZE_USUAL;
	char more[120];

	snprintf(more, sizeof(more), "application_region = %lluM\nchannel_size = %uK\n",
		 (unsigned long long)region_mib(size, o->queues), size >> 10);
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
	.options = BENCH_OPTIONS(options),
	.check = channel_check,
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
