/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vsock driver of a kernel: AF_VSOCK sockets of a plain program, --client af_vsock:CID or
 * --server af_vsock:. The CID is 2 in a guest, that of the guest on a host with vhost-vsock, and 1
 * for this machine itself, where the kernel has vsock_loopback.
 */
#include "core/far_end.h"
#include "io/sock/sock_client.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "targets.h"
#include "vsock_family.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

static const char scheme[] = "af_vsock:";

static bool is_ours(const char *uri)
{
	return uri && strncmp(uri, scheme, sizeof(scheme) - 1) == 0;
}

/* The CID of @uri; UINT32_MAX: it has none. */
static uint32_t uri_cid(const char *uri)
{
	const char *s = uri + sizeof(scheme) - 1;
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(s, &end, 10);
	return end == s || *end || errno || *s == '-' || v >= UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static struct sock_far far_of(const struct bench_opts *o)
{
	uint32_t cid = uri_cid(o->client_uri);

	/* Whoever connects to a guest is its host. */
	return (struct sock_far){.family = &vsock_family,
				 .cid = cid,
				 .role = cid > ZV_CID_HOST ? ROLE_HOST : ROLE_GUEST};
}

/* What belongs to libzvsock, and what sockets of a kernel cannot do. */
static int vsock_check(const struct bench_opts *o, char *why, size_t len)
{
	if (is_ours(o->server_uri) && o->server_uri[sizeof(scheme) - 1])
		snprintf(why, len,
			 "--server af_vsock: listens on every CID of this machine: write "
			 "it without one");
	if (!is_ours(o->client_uri))
		return why[0] ? -EINVAL : 0;
	if (uri_cid(o->client_uri) == UINT32_MAX)
		snprintf(why, len,
			 "--client af_vsock:CID takes the number of the other side: 2 is the host, "
			 "1 "
			 "this machine, not '%s'",
			 o->client_uri + sizeof(scheme) - 1);
	else if (o->queues > 1)
		snprintf(why, len, "a kernel's vsock device has one queue, not --queues %u",
			 o->queues);
	else if (o->busy_poll || !o->copy || o->rx_buf || o->tx_buf || o->ring_size ||
		 o->ring_flags)
		snprintf(why, len,
			 "--busy-poll, --zero-copy, --rx-buf, --tx-buf, --ring and --ring-size "
			 "belong to libzvsock, not to af_vsock:");
	else if (o->services && far_of(o).role == ROLE_HOST)
		snprintf(why, len,
			 "--services are the host's: a client on the host has a --server in "
			 "the guest");
	for (unsigned i = 0; i < nworkloads && !why[0]; i++)
		if (o->workloads >> i & 1 && !workload_can(workloads[i], IO_CLIENT))
			snprintf(why, len, "af_vsock: there is no --test %s of a kernel's sockets",
				 workloads[i]->name);
	return why[0] ? -EINVAL : 0;
}

static const char *vsock_absent(const struct bench_opts *o)
{
	return is_ours(o->client_uri) ? NULL : "no --client af_vsock:";
}

static const char *vsock_missing(const struct bench_opts *o)
{
	return is_ours(o->client_uri) ? NULL : "it has its other end in another machine";
}

/* In the directions that were asked for. */
static int vsock_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	if (!c.workload->oneway)
		return plan_add(p, o, c);
	for (c.dir = DIR_G2H; c.dir <= DIR_H2G && rc == 0; c.dir++)
		if (o->dir & c.dir)
			rc = plan_add(p, o, c);
	return rc;
}

static int vsock_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
		       struct proc_err *err)
{
	struct sock_far *far = malloc(sizeof(*far));
	int rc = -ENOMEM;

	if (!far) {
		snprintf(err->text, sizeof(err->text), "no memory for the client");
		return rc;
	}
	*far = far_of(o);
	rc = sock_client_meet(far, o, err);
	if (rc < 0) {
		free(far);
		return rc;
	}
	snprintf(facts->uri, sizeof(facts->uri), "%s", o->client_uri);
	*state = far;
	return 0;
}

static int vsock_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		     struct bench_result *res, struct proc_err *err)
{
	return sock_client_run(state, o, c, res, err);
}

static void vsock_stop(void *state)
{
	free(state);
}

static int vsock_serve(const struct bench_opts *o, struct proc_err *err)
{
	return sock_server_run(&vsock_family, o, -1, err);
}

static void vsock_print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	char far[100];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", zv_version(), cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	fprintf(f, "%s, blocking %s sockets of the kernel, one thread, against %s\n", facts->uri,
		o->type == TYPE_SEQPACKET ? "SEQPACKET" : "STREAM",
		far_end_text(far, sizeof(far), o));
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

static void vsock_print_foot(FILE *f, const struct bench_opts *o)
{
	(void)o;
	fprintf(f, "\ng / h: guest side / host side, CPU seconds of one run; a service's are not "
		   "known.\n");
}

static void vsock_json(json_t *j, const struct bench_opts *o, const struct bench_cell *c,
		       const struct bench_facts *facts)
{
	(void)c;
	json_set_str(j, "uri", facts->uri);
	json_set_str(j, "far_end", far_end_of(o)->name);
}

const struct target target_af_vsock = {
	.name = "af_vsock",
	.path = "socket",
	.label = "AF_VSOCK",
	.brief = "AF_VSOCK",
	.about = "the kernel's driver, by its sockets",
	.io = IO_CLIENT,
	.is_device = is_ours,
	.check = vsock_check,
	.absent = vsock_absent,
	.missing = vsock_missing,
	.get = "in a guest, vsock-bench-guest --client af_vsock:2",
	.plan = vsock_plan,
	.start = vsock_start,
	.run = vsock_run,
	.stop = vsock_stop,
	.serve = vsock_serve,
	.print_run = vsock_print_run,
	.print_foot = vsock_print_foot,
	.json = vsock_json,
};
