/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_VSOCK to this machine itself, CID 1: both ends of the kernel's virtio transport in one kernel.
 */
#include "targets.h"
#include "vsock_family.h"

#include <unistd.h>

static const char *loopback_missing(const struct bench_opts *o)
{
	struct sockaddr_storage ss;
	socklen_t len = vsock_family.address(&ss);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	(void)o;
	if (fd < 0)
		return "this kernel has no AF_VSOCK";
	/* Without the module, 1 is nobody's CID. */
	rc = bind(fd, (struct sockaddr *)&ss, len);
	close(fd);
	return rc < 0 ? "this kernel's AF_VSOCK has no CID 1" : NULL;
}

static int loopback_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
			struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return socket_run(&vsock_family, o, c, res, err);
}

const struct target target_vsock_loopback = {
	.name = "vsock_loopback",
	.path = "socket",
	.label = "vsock_loopback",
	.brief = "vsock_loopback",
	.about = "AF_VSOCK to CID 1, one kernel on both ends",
	.io = IO_SOCKET,
	.missing = loopback_missing,
	.get = "modprobe vsock_loopback",
	.run = loopback_run,
};
