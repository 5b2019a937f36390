/* SPDX-License-Identifier: BSD-3-Clause */
#include "ksock_unix.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME "zv-ksock-%d-%u" /* abstract: process, port */

bool ksock_unix_unprivileged;
void (*ksock_unix_connecting)(uint32_t port);

/* Of the first process: its children have the same ports. */
static int space(void)
{
	static int first;

	return first ? first : (first = (int)getpid());
}

static socklen_t address(struct sockaddr_un *a, uint32_t port)
{
	int n;

	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, NAME, space(), port);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int own_cid(uint64_t *cid)
{
	*cid = KSOCK_UNIX_CID;
	return 0;
}

static int new_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int bind_port(int fd, uint32_t port)
{
	struct sockaddr_un a;
	socklen_t len = address(&a, port);

	if (ksock_unix_unprivileged && port < 1024)
		return -EACCES;
	return bind(fd, (struct sockaddr *)&a, len) < 0 ? -errno : 0;
}

static int connect_port(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_un a;
	socklen_t len = address(&a, port);

	if (cid > KSOCK_UNIX_CID)
		return -ENODEV;
	if (ksock_unix_connecting)
		ksock_unix_connecting(port);
	return connect(fd, (struct sockaddr *)&a, len) < 0 ? -errno : 0;
}

static int accept_port(int fd, uint32_t *cid, uint32_t *port)
{
	struct sockaddr_un a = {0};
	socklen_t len = sizeof(a) - 1;
	int got = accept4(fd, (struct sockaddr *)&a, &len, SOCK_CLOEXEC | SOCK_NONBLOCK), pid = 0;

	*cid = KSOCK_UNIX_CID;
	*port = 0;
	if (got < 0)
		return -errno;
	return sscanf(a.sun_path + 1, NAME, &pid, port) == 2 ? got : -EPROTO;
}

static void set_buffer(int fd, uint32_t bytes)
{
	(void)fd;
	(void)bytes;
}

static void set_connect_timeout(int fd, uint64_t ns)
{
	(void)fd;
	(void)ns;
}

/* Sending nothing would be a message here. */
static bool peer_receives(int fd)
{
	struct pollfd p = {.fd = fd};
	int type = 0;
	socklen_t len = sizeof(type);

	(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	if (type == SOCK_STREAM)
		return send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) == 0;
	return poll(&p, 1, 0) == 0;
}

int ksock_unix_taken(uint32_t port)
{
	int fd = new_socket(SOCK_STREAM);

	return fd >= 0 && bind_port(fd, port) == 0 ? fd : -1;
}

const struct ksock_net ksock_net_unix = {
	.own_cid = own_cid,
	.socket = new_socket,
	.bind = bind_port,
	.connect = connect_port,
	.accept = accept_port,
	.set_buffer = set_buffer,
	.set_connect_timeout = set_connect_timeout,
	.peer_receives = peer_receives,
};
