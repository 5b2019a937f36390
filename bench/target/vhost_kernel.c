/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's vhost-vsock: libzvsock drives the device in the place of a guest (vhost-kernel:),
 * and the host side is a program with AF_VSOCK sockets.
 */
#include "io/sock/sock_client.h"
#include "io/zv/zv_pair.h"
#include "targets.h"
#include "vsock_family.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define CID_BASE 1000000u /* far from those that people choose */

static void kernel_uris(char *host, char *guest, size_t len, const char *dir)
{
	(void)dir;
	snprintf(host, len, "af_vsock:");
	snprintf(guest, len, "vhost-kernel:cid=%u", CID_BASE + (uint32_t)getpid());
}

static int kernel_serve(int fd, const struct bench_opts *o, struct proc_err *err)
{
	return sock_server_run(&vsock_family, o, fd, err);
}

static const struct zv_pair_spec spec = {.uris = kernel_uris, .serve = kernel_serve};

static const char *kernel_missing(const struct bench_opts *o)
{
	if (o->queues > 1)
		return "its device has one queue, not --queues";
	if (access("/dev/vhost-vsock", R_OK | W_OK) == 0)
		return NULL;
	return errno == ENOENT ? "there is no /dev/vhost-vsock"
			       : "/dev/vhost-vsock may not be opened";
}

static int kernel_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			struct proc_err *err)
{
	return zv_pair_start((struct zv_pair **)state, &spec, o, facts, err);
}

static int kernel_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		      struct bench_result *res, struct proc_err *err)
{
	(void)o;
	return zv_pair_run(state, c, res, err);
}

static void kernel_stop(void *state)
{
	zv_pair_stop(state);
}

const struct target target_vhost_kernel = {
	.name = "vhost-kernel",
	.path = "virtqueue",
	.label = "vhost-vsock",
	.brief = "vhost-vsock",
	.about = "the kernel's vhost-vsock, driven by libzvsock",
	.io = IO_ZV_SOCK,
	.missing = kernel_missing,
	.get = "modprobe vhost_vsock, and the right to open /dev/vhost-vsock",
	.plan = zv_plan,
	.start = kernel_start,
	.run = kernel_run,
	.stop = kernel_stop,
};
