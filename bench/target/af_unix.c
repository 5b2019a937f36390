/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_UNIX stream sockets, with abstract names, so that no file is left behind. */
#include "io/sock/kernel_socket.h"
#include "targets.h"

#include <stddef.h>
#include <sys/un.h>

static socklen_t unix_address(struct sockaddr_storage *ss)
{
	ss->ss_family = AF_UNIX; /* an empty name: the kernel chooses one on bind */
	return offsetof(struct sockaddr_un, sun_path);
}

static const struct socket_family family = {
	.name = "AF_UNIX", .family = AF_UNIX, .address = unix_address};

static int unix_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		    struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return socket_run(&family, o, c, res, err);
}

const struct target target_af_unix = {
	.name = "af_unix",
	.path = "uds",
	.label = "AF_UNIX",
	.brief = "AF_UNIX",
	.about = "AF_UNIX stream sockets",
	.ratio = "xUNIX",
	.io = IO_SOCKET,
	.absent = baseline_absent_beside_peers,
	.run = unix_run,
};
