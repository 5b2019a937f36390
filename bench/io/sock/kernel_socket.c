/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernel_socket.h"

#include "measure/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stream_fail(struct stream_ctx *s, const char *what)
{
	int err = errno ? errno : EIO;

	snprintf(s->err->text, sizeof(s->err->text), "%s: %s: %s", s->family->name, what,
		 strerror(err));
	return -err;
}

static int stream_socket(const struct stream_ctx *s)
{
	int fd = socket(s->family->family, s->type | SOCK_CLOEXEC, 0);

	if (fd >= 0 && s->family->tune)
		s->family->tune(fd, s->o);
	return fd;
}

int stream_listen(struct stream_ctx *s)
{
	s->listen_fd = stream_socket(s);
	if (s->listen_fd < 0)
		return stream_fail(s, "socket");
	if (bind(s->listen_fd, (struct sockaddr *)&s->addr, s->addr_len) < 0)
		return stream_fail(s, "bind");
	s->addr_len = sizeof(s->addr);
	if (getsockname(s->listen_fd, (struct sockaddr *)&s->addr, &s->addr_len) < 0)
		return stream_fail(s, "getsockname");
	if (listen(s->listen_fd, 4096) < 0)
		return stream_fail(s, "listen");
	return 0;
}

int stream_connect(struct stream_ctx *s)
{
	int fd = stream_socket(s), rc;

	if (fd < 0)
		return stream_fail(s, "socket");
	while (connect(fd, (struct sockaddr *)&s->addr, s->addr_len) < 0) {
		if ((errno == EINTR && !proc_interrupted) || errno == EAGAIN)
			continue;
		rc = stream_fail(s, "connect");
		close(fd);
		return rc;
	}
	return fd;
}

static void *stream_thread_main(void *arg)
{
	struct stream_thread *t = arg;
	const struct workload_socket *wl = &t->s->c->workload->socket;
	unsigned char *buf;
	size_t cap;

	cpu_pin(t->s->o->cpus, t->role, t->index);
	buf = stream_buffer(t->s->c->msg_size, &cap);
	if (!buf) {
		t->io.errors++;
		return NULL;
	}
	(t->role == ROLE_GUEST ? wl->guest : wl->host)(t, buf, cap);
	free(buf);
	if (t->io.fd >= 0)
		close(t->io.fd);
	return NULL;
}

/* Connections of this side, one a thread. */
static int stream_make_conns(struct stream_ctx *s, struct stream_thread *t, enum bench_role role)
{
	for (unsigned i = 0; i < s->nconns; i++) {
		t[i] = (struct stream_thread){.s = s, .role = role, .index = i};
		t[i].io = (struct stream_io){.fd = -1,
					     .size = s->c->msg_size,
					     .touch = s->o->touch,
					     .seqpacket = s->type == SOCK_SEQPACKET,
					     .salt = i,
					     .duration_ns = s->o->duration_ns};
		if (s->c->workload->socket.own_conns)
			continue;
		if (role == ROLE_GUEST)
			t[i].io.fd = stream_connect(s);
		else
			t[i].io.fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (t[i].io.fd < 0)
			return -EIO;
	}
	return 0;
}

static int stream_side(int fd, struct stream_ctx *s, enum bench_role role)
{
	struct side_stats *st = &s->shm->side[role];
	struct stream_thread t[BENCH_QUEUES_MAX];
	unsigned started = 0;
	uint64_t cpu0;
	char go;

	if (role == ROLE_GUEST)
		close(s->listen_fd);
	if (stream_make_conns(s, t, role) < 0)
		return 1;
	if (proc_child_send(fd, 'r') < 0 || proc_child_wait(fd, &go) < 0)
		return 1;
	cpu0 = cpu_used_ns();
	st->first_ns = cpu_now_ns();
	for (; started < s->nconns; started++)
		if (pthread_create(&t[started].tid, NULL, stream_thread_main, &t[started]) != 0) {
			snprintf(s->err->text, sizeof(s->err->text), "cannot start a thread");
			return 1;
		}
	for (unsigned i = 0; i < s->nconns; i++) {
		pthread_join(t[i].tid, NULL);
		st->msgs[i] = t[i].io.msgs;
		st->bytes += t[i].io.bytes;
		st->errors += t[i].io.errors;
	}
	if (role == ROLE_GUEST)
		s->shm->rtt = t[0].rtt;
	st->last_ns = cpu_now_ns();
	st->cpu_ns = cpu_used_ns() - cpu0;
	if (s->err->text[0]) /* a connection could not be made, for which the other side may wait */
		return 1;
	proc_child_send(fd, 'd');
	return 0;
}

static int stream_guest(int fd, void *arg)
{
	return stream_side(fd, arg, ROLE_GUEST);
}

static int stream_host(int fd, void *arg)
{
	return stream_side(fd, arg, ROLE_HOST);
}

int socket_run(const struct socket_family *family, const struct bench_opts *o,
	       const struct bench_cell *c, struct bench_result *res, struct proc_err *err)
{
	struct stream_ctx s = {.family = family,
			       .o = o,
			       .c = c,
			       .err = err,
			       .type = family->type ? family->type : SOCK_STREAM,
			       .listen_fd = -1,
			       .nconns = 1};
	int rc;

	if (c->workload->socket.per_queue)
		s.nconns = o->queues;
	s.shm = proc_shared(sizeof(*s.shm));
	if (!s.shm) {
		snprintf(err->text, sizeof(err->text), "no memory for the socket baselines");
		return -ENOMEM;
	}
	s.addr_len = family->address(&s.addr);
	rc = stream_listen(&s); /* before the fork */
	if (rc == 0)
		rc = proc_pair(stream_guest, stream_host, &s, o->duration_ns + BENCH_GRACE_NS, err);
	if (rc == 0) {
		const struct side_stats *side = s.shm->side;

		result_of_cell(res, c, &side[ROLE_GUEST], &side[ROLE_HOST], ROLE_GUEST, s.nconns);
		res->rtt = s.shm->rtt;
	}
	if (s.listen_fd >= 0)
		close(s.listen_fd);
	proc_unshare(s.shm, sizeof(*s.shm));
	return rc;
}
