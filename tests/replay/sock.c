/* SPDX-License-Identifier: BSD-3-Clause */
#include "sock.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static const char *wrong(struct sock_set *s, const char *fmt,
							       ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->wrong, sizeof(s->wrong), fmt, ap);
	va_end(ap);
	return s->wrong;
}

static struct sock *find(struct sock_set *s, const char *name)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->sock[i].fd >= 0 && strcmp(s->sock[i].name, name) == 0)
			return &s->sock[i];
	return NULL;
}

static int fd_of(struct sock_set *s, const char *name)
{
	const struct sock *k = find(s, name);

	return k ? k->fd : -1;
}

/* @fd gets a name; it is closed when it cannot have one. */
static const char *keep(struct sock_set *s, const char *name, int fd)
{
	struct sockaddr_vm own;
	socklen_t len = sizeof(own);
	struct sock *k = &s->sock[s->n];

	if (s->n == SOCKS || strlen(name) >= SOCK_NAME || find(s, name) ||
	    getsockname(fd, (struct sockaddr *)&own, &len) != 0 || own.svm_family != AF_VSOCK) {
		close(fd);
		return wrong(s, "it exists, its name is too long, or it has no address");
	}
	strcpy(k->name, name);
	k->fd = fd;
	k->port = own.svm_port;
	s->n++;
	return NULL;
}

const char *sock_connect(struct sock_set *s, const char *name, int type, uint32_t cid,
			 uint32_t port)
{
	struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	int fd = socket(AF_VSOCK, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return wrong(s, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno != EINPROGRESS) {
		close(fd);
		return wrong(s, "connect: not EINPROGRESS, but errno %d", errno);
	}
	return keep(s, name, fd);
}

const char *sock_poll(struct sock_set *s, const char *name, short events, int err)
{
	struct pollfd p = {.fd = fd_of(s, name), .events = events};
	int got = 0;
	socklen_t len = sizeof(got);

	if (p.fd < 0 || poll(&p, 1, SOCK_WAIT_MS) != 1)
		return wrong(s, "poll says nothing");
	if (getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &got, &len) != 0 || got != err)
		return wrong(s, "SO_ERROR is %d, expected %d", got, err);
	return NULL;
}

const char *sock_listen(struct sock_set *s, const char *name, int type, uint32_t port)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return wrong(s, "socket: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 8) != 0) {
		wrong(s, "bind or listen: %s", strerror(errno));
		close(fd);
		return s->wrong;
	}
	return keep(s, name, fd);
}

const char *sock_accept(struct sock_set *s, const char *name, const char *listener)
{
	struct pollfd p = {.fd = fd_of(s, listener), .events = POLLIN};
	int fd;

	if (p.fd < 0 || poll(&p, 1, SOCK_WAIT_MS) != 1)
		return wrong(s, "nobody connects to \"%s\"", listener);
	fd = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC);
	return fd < 0 ? wrong(s, "accept: %s", strerror(errno)) : keep(s, name, fd);
}

const char *sock_send(struct sock_set *s, const char *name, const void *data, size_t n)
{
	ssize_t sent = send(fd_of(s, name), data, n, MSG_NOSIGNAL);

	return sent == (ssize_t)n ? NULL : wrong(s, "send: %zd, errno %d", sent, errno);
}

const char *sock_receive(struct sock_set *s, const char *name, const void *data, size_t n)
{
	struct pollfd p = {.fd = fd_of(s, name), .events = POLLIN};
	char got[1024];
	size_t have = 0;
	ssize_t r;

	do {
		if (p.fd < 0 || poll(&p, 1, SOCK_WAIT_MS) != 1)
			return wrong(s, "%zu bytes of %zu have come", have, n);
		r = recv(p.fd, got + have, sizeof(got) - have, 0);
		if (r < 0 || (r == 0 && n > 0))
			return wrong(s, "recv: %zd after %zu bytes, errno %d", r, have, errno);
		have += (size_t)r;
	} while (have < n);
	return have == n && memcmp(got, data, n) == 0 ? NULL : wrong(s, "other bytes came");
}

const char *sock_shutdown(struct sock_set *s, const char *name, int how)
{
	return shutdown(fd_of(s, name), how) == 0 ? NULL : wrong(s, "shutdown: errno %d", errno);
}

const char *sock_close(struct sock_set *s, const char *name)
{
	struct sock *k = find(s, name);

	if (!k)
		return wrong(s, "there is none");
	close(k->fd);
	k->fd = -1;
	return NULL;
}

bool sock_port(const struct sock_set *s, const char *name, uint32_t *port)
{
	for (unsigned i = s->n; i-- > 0;)
		if (strcmp(s->sock[i].name, name) == 0) {
			*port = s->sock[i].port;
			return true;
		}
	return false;
}

void sock_end(struct sock_set *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->sock[i].fd >= 0)
			close(s->sock[i].fd);
	s->n = 0;
}
