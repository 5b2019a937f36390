/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vsock endpoint: "vsock = PORT" or "vsock = FIRST-LAST". Ports of the peer that lead to the
 * same port of this machine's own AF_VSOCK, at VMADDR_CID_LOCAL, the loopback (kernel module
 * vsock_loopback).
 */
#include "endpoint_vsock.h"

#include "dial.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- configuration ---- */

static void add_vsock(struct load *l, void *values, const struct key *k, char *value)
{
	struct vsock_values *v = values;
	char *dash = strchr(value, '-');
	struct cfg_ports p, *added;

	if (dash)
		*dash = 0;
	if (!cfg_port(l, k, value, &p.first) || !cfg_port(l, k, dash ? dash + 1 : value, &p.last))
		return;
	if (p.last < p.first) {
		cfg_wrong(l, "vsock: the range %u-%u runs backwards; write %u-%u", p.first, p.last,
			  p.last, p.first);
		return;
	}
	if (!cfg_take_ports(l, k, &p))
		return;
	added = cfg_add(l, &v->ports, sizeof(p));
	if (added)
		*added = p;
}

static const struct key vsock_keys[] = {
	{"vsock", add_vsock, .list = true},
	{0},
};

static void vsock_ready(void *values)
{
	cfg_sort_ports(&((struct vsock_values *)values)->ports, sizeof(struct cfg_ports));
}

static void vsock_release(void *values)
{
	free(((struct vsock_values *)values)->ports.v);
}

static bool vsock_same(const void *a, const void *b)
{
	const struct vsock_values *x = a, *y = b;

	return cfg_same_array(&x->ports, &y->ports, sizeof(struct cfg_ports));
}

static void vsock_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
			void **scratch, FILE *to)
{
	const struct vsock_values *v = values;
	const struct cfg_ports *p = v->ports.v;

	(void)c;
	(void)g;
	(void)scratch;
	for (unsigned i = 0; i < v->ports.n; i++) {
		(void)fprintf(to, "  port        %u", p[i].first);
		if (p[i].last != p[i].first)
			(void)fprintf(to, "-%u", p[i].last);
		(void)fprintf(to, ": AF_VSOCK of this machine\n");
	}
}

/* ---- connections ---- */

/* Reports errors at start that otherwise only the first connection would show. */
static int vsock_start(struct guest *g)
{
	int fd, err;

	if (!vsock_ports(guest_cfg(g))->n)
		return 0;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	err = errno;
	guest_fails(g,
		    "vsock: no AF_VSOCK sockets here (%s): load the kernel module vsock_loopback, "
		    "or take the line \"vsock\" out",
		    strerror(err));
	return -err;
}

static void vsock_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			   size_t len)
{
	(void)g;
	(void)snprintf(buf, len, "vsock:%u", info->local_port);
}

static int vsock_serve(struct guest_queue *gq, struct zv_conn *conn,
		       const struct zv_conn_info *info)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = info->local_port};

	if (!vsock_at(guest_cfg(gq->guest), info->local_port))
		return 0;
	return dial(gq, conn, &endpoint_vsock.kind, info, (const struct sockaddr *)&addr,
		    sizeof(addr));
}

static bool vsock_has_port(const struct guest *g, uint32_t port, bool dgram)
{
	return !dgram && vsock_at(guest_cfg(g), port);
}

const struct endpoint_ops endpoint_vsock = {
	.name = "vsock",
	.cfg = {.keys = vsock_keys,
		.size = sizeof(struct vsock_values),
		.ready = vsock_ready,
		.release = vsock_release,
		.same = vsock_same,
		.print = vsock_print},
	.kind = CONN_KIND(endpoint_vsock.kind, vsock_describe),
	.start = vsock_start,
	.has_port = vsock_has_port,
	.serve = vsock_serve,
};
