/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock through zvsockd, which is started for the run: the guest side is the driver of a guest,
 * the host side an application of the host (daemon:).
 */
#include "io/zv/zv_pair.h"
#include "targets.h"
#include "zvsockd_pair.h"

static void relay_uris(char *host, char *guest, size_t len, const char *dir)
{
	zvsockd_apps_uri(host, len, dir);
	zvsockd_guest_uri(guest, len, dir);
}

/* The guest has no region, so whatever the application could do, zvsockd copies. */
static int relay_daemon(struct proc *p, const char *dir, const struct bench_opts *o,
			struct proc_err *err)
{
	return zvsockd_between(p, dir, o, true, "", err);
}

static const struct zv_pair_spec spec = {.uris = relay_uris, .between = relay_daemon};

static int relay_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
		       struct proc_err *err)
{
	return zv_pair_start((struct zv_pair **)state, &spec, o, facts, err);
}

static int relay_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		     struct bench_result *res, struct proc_err *err)
{
	(void)o;
	return zv_pair_run(state, c, res, err);
}

static void relay_stop(void *state)
{
	zv_pair_stop(state);
}

const struct target target_zvsock_relay = {
	.name = "zvsock",
	.id = "zvsock-relay",
	.path = "relay",
	.label = "zvsock relay",
	.brief = "zvsock relay",
	.about = "zvsock, a guest of zvsockd and an application of its host",
	.io = IO_ZV,
	.absent = zvsockd_absent,
	.missing = zvsockd_missing,
	.get = ZVSOCKD_GET,
	.plan = zv_plan,
	.start = relay_start,
	.run = relay_run,
	.stop = relay_stop,
	.print_run = zv_print_run,
	.print_foot = zv_print_foot,
};
