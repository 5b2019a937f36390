/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same workloads over kernel sockets: AF_UNIX stream and TCP over loopback.
 *
 * Plain blocking sockets, one connection for each queue and one thread for each connection, because
 * that is how sockets are fast; stream_io.h says how they are used. TCP_NODELAY is set. The guest
 * side always connects; throughput is measured guest to host only, the way back is the same.
 *
 * Connects: `in_flight` connections are opened, then closed, and so on; a connect is over when
 * connect(2) returns. TCP clients close with SO_LINGER 0 (reset), or the ports in TIME_WAIT would
 * run out within seconds.
 */
#include "io/stream_io.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"
#include "targets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct stream_shm {
	struct side_stats side[2];
	struct rtt_result rtt;
	uint64_t conns_total; /* connrate: how many there were, once the client has finished */
};

struct stream_ctx {
	const struct bench_opts *o;
	const struct bench_cell *c;
	struct proc_err *err;
	struct stream_shm *shm;
	int listen_fd;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	unsigned nconns;
};

struct stream_thread {
	struct stream_ctx *s;
	enum bench_role role;
	unsigned index;
	struct stream_io io;
	pthread_t tid;
};

static int stream_fail(struct stream_ctx *s, const char *what)
{
	int err = errno ? errno : EIO;

	snprintf(s->err->text, sizeof(s->err->text), "%s: %s: %s",
		 s->c->target == TGT_TCP ? "TCP loopback" : "AF_UNIX", what, strerror(err));
	return -err;
}

static int stream_socket(const struct stream_ctx *s)
{
	int one = 1;
	int fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && s->c->target == TGT_TCP)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The listener, made before the fork; AF_UNIX in the abstract name space, so nothing is left. */
static int stream_listen(struct stream_ctx *s)
{
	if (s->c->target == TGT_TCP) {
		struct sockaddr_in *in = (struct sockaddr_in *)&s->addr;

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		s->addr_len = sizeof(*in);
	} else {
		struct sockaddr_un *un = (struct sockaddr_un *)&s->addr;

		un->sun_family = AF_UNIX; /* an empty name: the kernel chooses one on bind */
		s->addr_len = offsetof(struct sockaddr_un, sun_path);
	}
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

static int stream_connect(struct stream_ctx *s)
{
	int fd = stream_socket(s);

	if (fd < 0)
		return stream_fail(s, "socket");
	while (connect(fd, (struct sockaddr *)&s->addr, s->addr_len) < 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		stream_fail(s, "connect");
		close(fd);
		return -EIO;
	}
	return fd;
}

static void stream_ping(struct stream_thread *t, unsigned char *buf)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns), t0, t1;
	struct rtt_result *r = &t->s->shm->rtt;
	uint32_t size = t->s->c->msg_size;
	struct stream_io *io = &t->io;
	static struct hist h;

	hist_reset(&h);
	do {
		t0 = cpu_ticks();
		pattern_fill(buf, size, io->salt, io->msgs, 0);
		if (!stream_write_all(io->fd, buf, size) || !stream_read_all(io->fd, buf, size)) {
			io->errors++;
			break;
		}
		if (!pattern_check(buf, size, io->salt, io->msgs, 0))
			io->errors++;
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
		io->msgs++;
	} while (t1 < end);
	io->bytes = io->msgs * size;
	r->p50 = cpu_ticks_to_ns(hist_quantile(&h, 0.5));
	r->p99 = cpu_ticks_to_ns(hist_quantile(&h, 0.99));
	r->p999 = cpu_ticks_to_ns(hist_quantile(&h, 0.999));
	r->max = cpu_ticks_to_ns(h.max);
}

static void stream_connrate_client(struct stream_thread *t)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns);
	struct linger reset = {.l_onoff = 1};
	unsigned n = t->s->c->in_flight;
	int fds[64];

	if (n > 64)
		n = 64;
	while (cpu_ticks() < end) {
		for (unsigned i = 0; i < n; i++) {
			fds[i] = stream_connect(t->s);
			t->io.errors += fds[i] < 0;
		}
		for (unsigned i = 0; i < n; i++) {
			if (fds[i] < 0)
				continue;
			if (t->s->c->target == TGT_TCP)
				setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fds[i]);
			t->io.msgs++;
		}
		if (t->io.errors)
			break;
	}
	/* One more connection, not counted, wakes the server to see that this is all. */
	__atomic_store_n(&t->s->shm->conns_total, t->io.msgs + 1, __ATOMIC_RELEASE);
	fds[0] = stream_connect(t->s);
	if (fds[0] >= 0)
		close(fds[0]);
}

static void *stream_thread_main(void *arg)
{
	struct stream_thread *t = arg;
	const struct bench_cell *c = t->s->c;
	bool guest = t->role == ROLE_GUEST;
	unsigned char *buf;
	size_t cap;

	cpu_pin(t->s->o->cpus, t->role, t->index);
	buf = stream_buffer(c->msg_size, &cap);
	if (!buf) {
		t->io.errors++;
		return NULL;
	}
	if (c->test == TEST_THROUGHPUT && guest)
		stream_source(&t->io, buf);
	else if (c->test == TEST_THROUGHPUT)
		stream_sink(&t->io, buf, cap);
	else if (c->test == TEST_RTT && guest)
		stream_ping(t, buf);
	else if (c->test == TEST_RTT)
		stream_echo(&t->io, buf);
	else if (guest)
		stream_connrate_client(t);
	else
		t->io.msgs = stream_accept_all(t->s->listen_fd, &t->s->shm->conns_total);
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
					     .salt = i,
					     .duration_ns = s->o->duration_ns};
		if (s->c->test == TEST_CONNRATE)
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
	if (proc_child_say(fd, 'r') < 0 || proc_child_wait(fd, &go) < 0)
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
	st->last_ns = cpu_now_ns();
	st->cpu_ns = cpu_used_ns() - cpu0;
	proc_child_say(fd, 'd');
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

int stream_run(const struct bench_opts *o, const struct bench_cell *c, struct bench_result *res,
	       struct proc_err *err)
{
	struct stream_ctx s = {.o = o, .c = c, .err = err, .listen_fd = -1, .nconns = 1};
	int rc;

	if (c->test == TEST_THROUGHPUT)
		s.nconns = o->queues;
	s.shm = proc_shared(sizeof(*s.shm));
	if (!s.shm) {
		snprintf(err->text, sizeof(err->text), "no memory for the socket baselines");
		return -ENOMEM;
	}
	rc = stream_listen(&s);
	if (rc == 0)
		rc = proc_pair(stream_guest, stream_host, &s, o->duration_ns + BENCH_GRACE_NS, err);
	if (rc == 0) {
		const struct side_stats *g = &s.shm->side[ROLE_GUEST], *h = &s.shm->side[ROLE_HOST];

		/* The guest side measures what comes back to it, the host side what it received. */
		if (c->test == TEST_THROUGHPUT)
			result_from_sides(res, g, h, s.nconns);
		else
			result_from_sides(res, h, g, s.nconns);
		res->rtt = s.shm->rtt;
		res->cpu_ns[ROLE_GUEST] = g->cpu_ns;
		res->cpu_ns[ROLE_HOST] = h->cpu_ns;
	}
	if (s.listen_fd >= 0)
		close(s.listen_fd);
	proc_unshare(s.shm, sizeof(*s.shm));
	return rc;
}
