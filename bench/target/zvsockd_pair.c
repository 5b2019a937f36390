/* SPDX-License-Identifier: BSD-3-Clause */
#include "zvsockd_pair.h"

#include "io/peer/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void zvsockd_apps_uri(char *uri, size_t len, const char *dir)
{
	snprintf(uri, len, "daemon:%s/apps", dir);
}

void zvsockd_guest_uri(char *uri, size_t len, const char *dir)
{
	snprintf(uri, len, "vhost-user:%s/s.sock", dir);
}

static int write_conf(const char *path, const char *dir, const struct bench_opts *o, bool guest,
		      const char *more)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	/* Never poll = busy: it would spin while others are measured. Under load it spins anyway.
	 */
	fprintf(f, "[daemon]\napplications = %s/apps\n%s", dir, more);
	if (guest)
		fprintf(f,
			"[guest bench]\ncid = %u\nsocket = %s/s.sock\nqueues = %u\nbuf_alloc = "
			"%u\n",
			ZVSOCKD_GUEST_CID, dir, o->queues, o->buf_alloc);
	return fclose(f) == 0 ? 0 : -errno;
}

int zvsockd_between(struct proc *p, const char *dir, const struct bench_opts *o, bool guest,
		    const char *more, struct proc_err *err)
{
	char program[512], conf[160], apps[160], socket[160];
	char *argv[] = {program, "-c", conf, NULL};
	const char *sockets[] = {apps, guest ? socket : NULL, NULL};
	int rc;

	if (!program_find("zvsockd", program, sizeof(program))) {
		snprintf(err->text, sizeof(err->text), "zvsockd is not there");
		return -ENOENT;
	}
	snprintf(conf, sizeof(conf), "%s/zvsockd.conf", dir);
	snprintf(apps, sizeof(apps), "%s/apps", dir);
	snprintf(socket, sizeof(socket), "%s/s.sock", dir);
	rc = write_conf(conf, dir, o, guest, more);
	if (rc < 0) {
		snprintf(err->text, sizeof(err->text), "cannot write %s: %s", conf, strerror(-rc));
		return rc;
	}
	return program_start(p, "zvsockd", argv, dir, o->cpus, ROLE_HOST, sockets, err);
}

const char *zvsockd_missing(const struct bench_opts *o)
{
	char program[512];

	(void)o;
	return program_find("zvsockd", program, sizeof(program)) ? NULL : "zvsockd is not there";
}

const char *zvsockd_absent(const struct bench_opts *o)
{
	if (o->npeers)
		return "--peer";
	return o->client_uri ? "--client" : zvsockd_missing(o);
}
