/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP over loopback, with TCP_NODELAY. */
#include "io/sock/kernel_socket.h"
#include "targets.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static socklen_t tcp_address(struct sockaddr_storage *ss)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*in);
}

static void tcp_tune(int fd, const struct bench_opts *o)
{
	int one = 1;

	(void)o;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static const struct socket_family family = {.name = "TCP loopback",
					    .family = AF_INET,
					    .address = tcp_address,
					    .tune = tcp_tune,
					    .reset = true};

static int tcp_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		   struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return socket_run(&family, o, c, res, err);
}

const struct target target_tcp = {
	.name = "tcp",
	.path = "socket",
	.label = "TCP loopback",
	.brief = "TCP",
	.about = "TCP over loopback",
	.ratio = "xTCP",
	.io = IO_SOCKET,
	.absent = baseline_absent,
	.run = tcp_run,
};
