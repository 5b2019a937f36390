/* SPDX-License-Identifier: BSD-3-Clause */
/* The host program of a foreign backend: a plain user of its hybrid Unix socket, for one cell. */
#include "measure/cpu.h"
#include "peer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_ANSWER_S 10

__attribute__((format(printf, 2, 3))) static int host_fail(struct peer_shm *sh, const char *fmt,
							   ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sh->err[ROLE_HOST].text, sizeof(sh->err[ROLE_HOST].text), fmt, ap);
	va_end(ap);
	return -EIO;
}

static int unix_socket(struct sockaddr_un *sa, const char *path)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(sa->sun_path, path, strnlen(path, sizeof(sa->sun_path) - 1));
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* ---- connections that the guest makes ---- */

static void listen_path(char path[sizeof(((struct sockaddr_un *)0)->sun_path)],
			const struct peer_shm *sh, unsigned port)
{
	/* peer_parse() has seen to it that this fits. */
	snprintf(path, sizeof(((struct sockaddr_un *)0)->sun_path), "%.100s_%u", sh->peer.uds,
		 port);
}

/* Listens where the backend takes connections of the guest to @port. A descriptor or -errno. */
static int host_listen(struct peer_shm *sh, unsigned port)
{
	struct sockaddr_un sa;
	char path[sizeof(sa.sun_path)];
	int fd, probe;

	listen_path(path, sh, port);
	/* What a killed run left behind may go; a living program's socket may not. */
	probe = unix_socket(&sa, path);
	if (probe >= 0 && connect(probe, (struct sockaddr *)&sa, sizeof(sa)) < 0 &&
	    errno == ECONNREFUSED)
		unlink(path);
	if (probe >= 0)
		close(probe);
	fd = unix_socket(&sa, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 4096) < 0)
		return host_fail(sh, "cannot listen on %s: %s", path, strerror(errno));
	return fd;
}

static int host_accept(struct peer_shm *sh, int listen_fd)
{
	int fd;

	do
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? host_fail(sh, "accept: %s", strerror(errno)) : fd;
}

/* ---- connections that the host program makes ---- */

/* Who listens there, and a limit for the first answer: later ones are covered by the cell's. */
static void probe_listener(struct peer_shm *sh, int fd)
{
	struct timeval limit = {.tv_sec = FIRST_ANSWER_S};
	socklen_t len = sizeof(struct ucred);
	struct ucred cred;

	if (sh->daemon_pid)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		sh->daemon_pid = cred.pid;
}

int peer_host_ask(struct peer_shm *sh, unsigned port)
{
	struct sockaddr_un sa;
	char line[32];
	int fd = unix_socket(&sa, sh->peer.uds);
	int len = snprintf(line, sizeof(line), "CONNECT %u\n", port);

	if (fd < 0)
		return host_fail(sh, "socket: %s", strerror(errno));
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == EINTR)
			continue;
		host_fail(sh, "cannot connect to the hybrid socket %s: %s: is this the backend's?",
			  sh->peer.uds, strerror(errno));
		close(fd);
		return -EIO;
	}
	probe_listener(sh, fd);
	if (stream_write_all(fd, line, (size_t)len))
		return fd;
	host_fail(sh, "%s closed the connection before CONNECT", sh->peer.uds);
	close(fd);
	return -EIO;
}

int peer_host_answer(struct peer_shm *sh, int fd)
{
	char line[64];
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(fd, line + have, sizeof(line) - 1 - have, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return host_fail(sh, "%s: no answer to CONNECT: %s", sh->peer.uds,
					 n == 0		   ? "the connection was closed"
					 : errno == EAGAIN ? "nothing for 10 seconds"
							   : strerror(errno));
		have += (size_t)n;
		line[have] = '\0';
		if (line[have - 1] == '\n' && strncmp(line, "OK ", 3) == 0)
			return 0;
		if (line[have - 1] == '\n' || have == sizeof(line) - 1)
			return host_fail(sh, "%s answered CONNECT with '%.*s', not with OK",
					 sh->peer.uds, (int)strcspn(line, "\n"), line);
	}
}

static int host_connect(struct peer_shm *sh, unsigned port)
{
	int fd = peer_host_ask(sh, port);

	if (fd >= 0 && peer_host_answer(sh, fd) < 0) {
		close(fd);
		return -EIO;
	}
	return fd;
}

/* ---- one cell ---- */

static bool guest_connects(const struct bench_cell *c)
{
	return c->dir != DIR_H2G;
}

int peer_host_data(struct peer_shm *sh, int listen_fd,
		   void (*fn)(struct stream_io *s, unsigned char *buf, size_t cap))
{
	const struct bench_cell *c = &sh->cell;
	struct stream_io io = {.size = c->msg_size,
			       .touch = sh->o.touch,
			       .salt = wire_salt(0),
			       .duration_ns = sh->o.duration_ns,
			       .total = &sh->total};
	struct side_stats *st = &sh->side[ROLE_HOST];
	unsigned char *buf;
	size_t cap;

	buf = stream_buffer(c->msg_size, &cap);
	if (!buf)
		return host_fail(sh, "no memory for the host program's buffer");
	io.fd = listen_fd >= 0 ? host_accept(sh, listen_fd) : host_connect(sh, PEER_PORT_DATA);
	if (io.fd >= 0) {
		fn(&io, buf, cap);
		close(io.fd);
	}
	free(buf);
	st->msgs[0] = io.msgs;
	st->bytes = io.bytes;
	st->errors = io.errors;
	st->first_ns = io.first_ns;
	st->last_ns = io.last_ns;
	return io.fd < 0 ? io.fd : 0;
}

void peer_host_clean(const struct peer_shm *sh)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];

	listen_path(path, sh, sh->cell.workload->peer.port);
	if (guest_connects(&sh->cell))
		unlink(path);
}

int peer_host_main(int fd, void *arg)
{
	struct peer_shm *sh = arg;
	char go;
	int rc = 0, listen_fd = -1;
	uint64_t cpu0;

	cpu_pin(sh->o.cpus, peer_host_place(&sh->o), 0);
	if (guest_connects(&sh->cell))
		rc = listen_fd = host_listen(sh, sh->cell.workload->peer.port);
	if (rc >= 0)
		rc = proc_child_send(fd, 'r');
	if (rc >= 0)
		rc = proc_child_wait(fd, &go);
	cpu0 = cpu_used_ns();
	if (rc >= 0)
		rc = sh->cell.workload->peer.host(sh, listen_fd);
	sh->side[ROLE_HOST].cpu_ns = cpu_used_ns() - cpu0;
	if (listen_fd >= 0)
		peer_host_clean(sh);
	proc_child_send(fd, rc >= 0 ? 'd' : 'e');
	return rc < 0;
}
