/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock through zvsockd: the guest side is the driver of a guest of zvsockd, the host side an
 * application of the host (daemon:). zvsockd is started for it.
 */
#include "io/program.h"
#include "io/zv_pair.h"
#include "targets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define GUEST_CID 3u

static void relay_uris(char *host, char *guest, size_t len, const char *dir)
{
	snprintf(host, len, "daemon:%s/apps", dir);
	snprintf(guest, len, "vhost-user:%s/s.sock", dir);
}

/* zvsockd with one guest and a place for applications. */
static int relay_daemon(struct proc *p, const char *dir, const struct bench_opts *o,
			struct proc_err *err)
{
	char program[512], conf[160], apps[160], guest[160];
	char *argv[] = {program, "-c", conf, NULL};
	const char *sockets[] = {apps, guest, NULL};
	FILE *f;

	if (!program_find("zvsockd", program, sizeof(program))) {
		snprintf(err->text, sizeof(err->text), "zvsockd is not there");
		return -ENOENT;
	}
	snprintf(conf, sizeof(conf), "%s/zvsockd.conf", dir);
	snprintf(apps, sizeof(apps), "%s/apps", dir);
	snprintf(guest, sizeof(guest), "%s/s.sock", dir);
	f = fopen(conf, "we");
	if (f)
		fprintf(f,
			"[daemon]\napplications = %s\npoll = %s\n[guest bench]\ncid = %u\n"
			"socket = %s\nqueues = %u\nbuf_alloc = %u\n",
			apps, o->busy_poll ? "busy" : "adaptive", GUEST_CID, guest, o->queues,
			o->buf_alloc);
	if (!f || fclose(f) != 0) {
		int rc = -errno;

		snprintf(err->text, sizeof(err->text), "cannot write %s: %s", conf, strerror(-rc));
		return rc;
	}
	return program_start(p, "zvsockd", argv, dir, o->cpus, ROLE_HOST, sockets, err);
}

static const struct zv_pair_spec spec = {.uris = relay_uris, .between = relay_daemon};

static const char *relay_missing(const struct bench_opts *o)
{
	char program[512];

	(void)o;
	return program_find("zvsockd", program, sizeof(program)) ? NULL : "zvsockd is not there";
}

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
	.missing = relay_missing,
	.get = "./run build, or install zvsockd",
	.plan = zv_plan,
	.start = relay_start,
	.run = relay_run,
	.stop = relay_stop,
};
