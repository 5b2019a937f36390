/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_UNIX sockets that keep message boundaries. A message has at most the size of the send buffer.
 */
#include "io/sock/kernel_socket.h"
#include "targets.h"

#include <stddef.h>
#include <sys/un.h>
#include <unistd.h>

#define SKB_ROOM 4096u

static socklen_t unix_address(struct sockaddr_storage *ss)
{
	ss->ss_family = AF_UNIX; /* an empty name: the kernel chooses one on bind */
	return offsetof(struct sockaddr_un, sun_path);
}

static uint32_t largest(const struct bench_opts *o)
{
	uint32_t max = 0;

	for (unsigned i = 0; i < o->nsizes; i++)
		max = max > o->sizes[i] ? max : o->sizes[i];
	return max;
}

/* Room for the largest message of the run, where the default has none. */
static void unix_tune(int fd, const struct bench_opts *o)
{
	int room = 0, want = (int)(largest(o) + SKB_ROOM);
	socklen_t len = sizeof(room);

	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len);
	if (room >= want)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &want, sizeof(want));
}

static const struct socket_family family = {.name = "AF_UNIX SEQPACKET",
					    .family = AF_UNIX,
					    .type = SOCK_SEQPACKET,
					    .address = unix_address,
					    .tune = unix_tune};

/* The longest message that goes, in this user's hands. */
static uint32_t longest(const struct bench_opts *o)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), room = 0;
	socklen_t len = sizeof(room);

	if (fd < 0)
		return 0;
	unix_tune(fd, o);
	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len);
	close(fd);
	return room > (int)SKB_ROOM ? (uint32_t)room - SKB_ROOM : 0;
}

static int seqpacket_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	return c.msg_size > longest(o) ? 0 : plan_add(p, o, c);
}

static int seqpacket_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
			 struct bench_result *res, struct proc_err *err)
{
	(void)state;
	return socket_run(&family, o, c, res, err);
}

const struct target target_af_unix_seqpacket = {
	.name = "af_unix",
	.id = "af_unix-seqpacket",
	.path = "uds",
	.label = "AF_UNIX SEQPACKET",
	.brief = "AF_UNIX SEQPACKET",
	.about = "AF_UNIX sockets that keep messages whole",
	.io = IO_SOCKET,
	.seqpacket = true,
	.plan = seqpacket_plan,
	.run = seqpacket_run,
};
