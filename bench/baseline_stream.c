/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same workloads over kernel sockets: AF_UNIX stream and TCP over loopback.
 *
 * Plain blocking sockets, one connection for each queue and one thread for each connection, because
 * that is how sockets are fast. One write() a message; reads into 64 KiB (or one message, when that
 * is more), which may return several messages at once, as zv_recv may. TCP_NODELAY is set. The
 * guest side always connects; throughput is measured guest to host only, the way back is the same.
 *
 * Connects: `in_flight` connections are opened, then closed, and so on; a connect is over when
 * connect(2) returns. TCP clients close with SO_LINGER 0 (reset), or the ports in TIME_WAIT would
 * run out within seconds.
 */
#include "cpu.h"
#include "hist.h"
#include "pattern.h"
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
	int fd;
	pthread_t tid;
	uint64_t msgs, bytes, errors;
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

static bool write_all(int fd, const unsigned char *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void stream_send(struct stream_thread *t, unsigned char *buf)
{
	const struct bench_opts *o = t->s->o;
	uint32_t size = t->s->c->msg_size;
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(o->duration_ns);

	while (cpu_ticks() < end) {
		if (o->touch)
			pattern_fill(buf, size, t->index, t->msgs, 0);
		if (!write_all(t->fd, buf, size)) {
			t->errors++;
			break;
		}
		t->msgs++;
	}
	shutdown(t->fd, SHUT_WR);
	/* The receiver closes when it has everything. */
	while (recv(t->fd, buf, size, 0) < 0 && errno == EINTR)
		;
}

static void stream_receive(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	uint32_t size = t->s->c->msg_size, off = 0;
	bool touch = t->s->o->touch;

	for (;;) {
		ssize_t n = recv(t->fd, buf, cap, 0);
		unsigned char *p = buf;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		t->bytes += (uint64_t)n;
		while (n > 0) {
			uint32_t len = bench_min32((uint32_t)n, size - off);

			if (touch && !pattern_check(p, len, t->index, t->msgs, off))
				t->errors++;
			p += len;
			n -= (ssize_t)len;
			off += len;
			if (off == size) {
				off = 0;
				t->msgs++;
			}
		}
	}
	t->errors += off != 0;
}

/* Takes exactly @len bytes; false when the connection ended. */
static bool read_all(int fd, unsigned char *p, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void stream_ping(struct stream_thread *t, unsigned char *buf)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns), t0, t1;
	struct rtt_result *r = &t->s->shm->rtt;
	uint32_t size = t->s->c->msg_size;
	static struct hist h;

	hist_reset(&h);
	do {
		t0 = cpu_ticks();
		pattern_fill(buf, size, t->index, t->msgs, 0);
		if (!write_all(t->fd, buf, size) || !read_all(t->fd, buf, size)) {
			t->errors++;
			break;
		}
		if (!pattern_check(buf, size, t->index, t->msgs, 0))
			t->errors++;
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
		t->msgs++;
	} while (t1 < end);
	t->bytes = t->msgs * size;
	r->p50 = cpu_ticks_to_ns(hist_quantile(&h, 0.5));
	r->p99 = cpu_ticks_to_ns(hist_quantile(&h, 0.99));
	r->p999 = cpu_ticks_to_ns(hist_quantile(&h, 0.999));
	r->max = cpu_ticks_to_ns(h.max);
}

static void stream_pong(struct stream_thread *t, unsigned char *buf)
{
	uint32_t size = t->s->c->msg_size;

	while (read_all(t->fd, buf, size) && write_all(t->fd, buf, size))
		t->msgs++;
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
			t->errors += fds[i] < 0;
		}
		for (unsigned i = 0; i < n; i++) {
			if (fds[i] < 0)
				continue;
			if (t->s->c->target == TGT_TCP)
				setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fds[i]);
			t->msgs++;
		}
		if (t->errors)
			break;
	}
	/* One more connection, not counted, wakes the server to see that this is all. */
	__atomic_store_n(&t->s->shm->conns_total, t->msgs + 1, __ATOMIC_RELEASE);
	fds[0] = stream_connect(t->s);
	if (fds[0] >= 0)
		close(fds[0]);
}

static void stream_connrate_server(struct stream_thread *t)
{
	uint64_t total = 0;
	char c;

	while (!total || t->msgs < total) {
		int fd = accept4(t->s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			break;
		while (recv(fd, &c, 1, 0) < 0 && errno == EINTR)
			;
		close(fd);
		t->msgs++;
		total = __atomic_load_n(&t->s->shm->conns_total, __ATOMIC_ACQUIRE);
	}
	t->msgs -= total != 0;
}

static void *stream_thread_main(void *arg)
{
	struct stream_thread *t = arg;
	const struct bench_cell *c = t->s->c;
	size_t cap = c->msg_size > BENCH_SOCK_RX_LEN ? c->msg_size : BENCH_SOCK_RX_LEN;
	bool guest = t->role == ROLE_GUEST;
	unsigned char *buf;

	cpu_pin(t->s->o->cpus, t->role, t->index);
	buf = aligned_alloc(64, (cap + 63) & ~(size_t)63);
	if (!buf) {
		t->errors++;
		return NULL;
	}
	memset(buf, 0, cap);
	if (c->test == TEST_THROUGHPUT && guest)
		stream_send(t, buf);
	else if (c->test == TEST_THROUGHPUT)
		stream_receive(t, buf, cap);
	else if (c->test == TEST_RTT)
		(guest ? stream_ping : stream_pong)(t, buf);
	else
		(guest ? stream_connrate_client : stream_connrate_server)(t);
	free(buf);
	if (t->fd >= 0)
		close(t->fd);
	return NULL;
}

/* Connections of this side, one a thread. */
static int stream_make_conns(struct stream_ctx *s, struct stream_thread *t, enum bench_role role)
{
	for (unsigned i = 0; i < s->nconns; i++) {
		t[i] = (struct stream_thread){.s = s, .role = role, .index = i, .fd = -1};
		if (s->c->test == TEST_CONNRATE)
			continue;
		if (role == ROLE_GUEST)
			t[i].fd = stream_connect(s);
		else
			t[i].fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (t[i].fd < 0)
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
		st->msgs[i] = t[i].msgs;
		st->bytes += t[i].bytes;
		st->errors += t[i].errors;
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
