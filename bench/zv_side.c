/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_side.h"

#include "cpu.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_host.h>

#define SPIN_NS	       50000u /* as zv_wait's default */
#define ROUNDS_A_YIELD 32u
#define HELPER_NS      15000000000ull /* deadline of the blocking helpers */

bool side_is_host_uri(const char *uri)
{
	return strncmp(uri, "host:", 5) == 0;
}

int side_fail(struct zv_side *s, int rc, const char *what)
{
	const char *text = zv_error_text();

	pthread_mutex_lock(&s->lock);
	if (!s->err->text[0])
		snprintf(s->err->text, sizeof(s->err->text), "%s%s%s", what ? what : "",
			 what ? ": " : "", text && text[0] ? text : zv_strerror(rc));
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int side_fail_own(struct zv_side *s, int rc, const char *what)
{
	pthread_mutex_lock(&s->lock);
	if (!s->err->text[0])
		snprintf(s->err->text, sizeof(s->err->text), "%s: %s", what, zv_strerror(rc));
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void side_forgive(struct zv_side *s)
{
	pthread_mutex_lock(&s->lock);
	if (!__atomic_load_n(&s->failed, __ATOMIC_ACQUIRE))
		s->err->text[0] = '\0';
	pthread_mutex_unlock(&s->lock);
}

bool side_stopping(const struct zv_side *s)
{
	return proc_interrupted || __atomic_load_n(&s->failed, __ATOMIC_ACQUIRE) ||
	       (s->ctl && __atomic_load_n(&s->ctl->stop, __ATOMIC_ACQUIRE));
}

void side_wait_while_paused(struct zv_side *s)
{
	while (s->ctl && __atomic_load_n(&s->ctl->paused, __ATOMIC_ACQUIRE) && !side_stopping(s))
		proc_futex_wait(&s->ctl->paused, 1);
}

uint64_t side_tick_ns(const struct zv_side *s)
{
	/* A busy poller that is told to pause must stop at once; a sleeper disturbs nobody. */
	return s->o->busy_poll ? 1000000u : 100000000u;
}

int side_open(struct zv_side *s, const struct bench_opts *o, const char *uri, struct proc_err *err)
{
	struct zv_opts zo = {
		.size = sizeof(zo),
		.queues = o->queues,
		.ring_size = o->ring_size,
		.rx_buf = o->rx_buf,
		.buf_alloc = o->buf_alloc,
		/* A side that gets no CPU for a while is slow, which is no error. */
		.connect_timeout_ns = BENCH_GRACE_NS / 2,
		.flags = o->busy_poll ? ZV_OPT_BUSY_POLL : 0,
	};
	int rc;

	s->o = o;
	s->err = err;
	s->role = side_is_host_uri(uri) ? ROLE_HOST : ROLE_GUEST;
	pthread_mutex_init(&s->lock, NULL);
	if (s->role == ROLE_HOST) {
		rc = zv_host_init();
		if (rc < 0)
			return side_fail(s, rc, "cannot start the host library");
	}
	rc = zv_open(&s->dev, uri, &zo);
	if (rc < 0)
		return side_fail(s, rc, NULL); /* the text names the URI */
	s->nqueues = zv_nqueues(s->dev);
	s->nthreads = o->threads < s->nqueues ? o->threads : s->nqueues;
	s->workers = calloc(s->nthreads, sizeof(*s->workers));
	if (!s->workers)
		return side_fail_own(s, -ENOMEM, "workers");
	return 0;
}

void side_close(struct zv_side *s)
{
	for (unsigned i = 0; s->workers && i < s->nthreads; i++)
		worker_free(&s->workers[i]);
	free(s->workers);
	s->workers = NULL;
	if (s->dev)
		zv_close(s->dev);
	s->dev = NULL;
}

int worker_init(struct worker *w, struct zv_side *s, unsigned index, unsigned nthreads,
		uint32_t max_msg)
{
	w->side = s;
	w->index = index;
	w->nq = 0;
	for (unsigned i = index; i < s->nqueues; i += nthreads) {
		w->qi[w->nq] = (uint8_t)i;
		w->q[w->nq++] = zv_queue(s->dev, i);
	}
	return worker_buffers(w, max_msg);
}

int worker_buffers(struct worker *w, uint32_t max_msg)
{
	size_t len = max_msg > BENCH_SOCK_RX_LEN ? max_msg : BENCH_SOCK_RX_LEN;

	if (len <= w->buf_len)
		return 0;
	len = (len + 4095) & ~(size_t)4095;
	free(w->txbuf);
	free(w->rxbuf);
	w->buf_len = 0;
	w->tx_owner = NULL;
	w->txbuf = aligned_alloc(4096, len);
	w->rxbuf = aligned_alloc(4096, len);
	if (!w->txbuf || !w->rxbuf)
		return side_fail_own(w->side, -ENOMEM, "message buffers");
	memset(w->txbuf, 0, len);
	memset(w->rxbuf, 0, len);
	w->buf_len = len;
	return 0;
}

void worker_free(struct worker *w)
{
	while (w->free) {
		struct bconn *bc = w->free;

		w->free = bc->next;
		free(bc);
	}
	free(w->txbuf);
	free(w->rxbuf);
	memset(w, 0, sizeof(*w));
}

/* Arms every queue and sleeps, unless one has work. */
static void worker_sleep(struct worker *w, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u)};
	struct pollfd pfd[BENCH_QUEUES_MAX];

	for (unsigned i = 0; i < w->nq; i++) {
		if (zv_arm(w->q[i]) != 0)
			return;
		pfd[i] = (struct pollfd){.fd = zv_fd(w->q[i]), .events = POLLIN};
	}
	ppoll(pfd, w->nq, &ts, NULL);
}

int worker_wait(struct worker *w, struct zv_event *ev, unsigned max, uint64_t timeout_ns,
		unsigned *qi)
{
	bool busy = w->side->o->busy_poll;
	uint64_t start, waited;
	unsigned rounds = 0;

	if (w->nq == 1) {
		*qi = w->qi[0];
		return timeout_ns ? zv_wait(w->q[0], ev, max, timeout_ns)
				  : zv_poll(w->q[0], ev, max);
	}
	start = cpu_ticks();
	for (;;) {
		for (unsigned i = 0; i < w->nq; i++) {
			unsigned k = w->next;
			int n = zv_poll(w->q[k], ev, max);

			w->next = k + 1 == w->nq ? 0 : k + 1;
			if (n != 0) {
				*qi = w->qi[k];
				return n;
			}
		}
		if (timeout_ns == 0)
			return 0;
		waited = cpu_ticks_to_ns(cpu_ticks() - start);
		if (waited >= timeout_ns)
			return 0;
		if (!busy && waited > SPIN_NS)
			worker_sleep(w, timeout_ns - waited);
		else if (++rounds % ROUNDS_A_YIELD == 0 || w->side->o->cpus == CPUS_1)
			sched_yield();
	}
}

/* Waits for anything on @q. 0, -ETIMEDOUT when @deadline_ns has passed, -EINTR. */
static int queue_wait(struct worker *w, struct zv_queue *q, struct zv_event *ev, unsigned max,
		      uint64_t deadline_ns)
{
	int n = zv_wait(q, ev, max, 20000000u);

	if (n < 0 && n != -EINTR)
		return side_fail(w->side, n, "zv_wait");
	if (proc_interrupted)
		return -EINTR;
	if (n <= 0 && cpu_now_ns() > deadline_ns)
		return side_fail_own(w->side, -ETIMEDOUT, "the peer does not answer");
	return n < 0 ? 0 : n;
}

int conn_open(struct worker *w, struct zv_queue *q, uint32_t port, enum zv_type type,
	      struct zv_conn **zc)
{
	uint64_t deadline = cpu_now_ns() + HELPER_NS;
	struct zv_event ev[8];
	int rc = zv_connect(q, w->side->role == ROLE_GUEST ? ZV_CID_HOST : 0, port, type, zc);

	if (rc < 0) {
		*zc = NULL;
		return side_fail(w->side, rc, "zv_connect");
	}
	for (;;) {
		int n = queue_wait(w, q, ev, 8, deadline);

		for (int i = 0; i < n; i++) {
			if (ev[i].conn != *zc || !(ev[i].events & (ZV_EV_CONNECT | ZV_EV_ERR)))
				continue;
			if (ev[i].err == 0)
				return 0;
			n = side_fail_own(w->side, ev[i].err, "connect");
		}
		if (n < 0) {
			zv_conn_close(*zc);
			*zc = NULL;
			return n;
		}
	}
}

int conn_send_all(struct worker *w, struct zv_conn *zc, const void *data, size_t len)
{
	uint64_t deadline = cpu_now_ns() + HELPER_NS;
	const unsigned char *p = data;
	struct zv_event ev[8];

	while (len) {
		ssize_t n = zv_send(zc, p, len, 0);
		int rc;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n != -EAGAIN)
			return side_fail(w->side, (int)n, "zv_send");
		rc = queue_wait(w, zv_conn_queue(zc), ev, 8, deadline);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int conn_recv_all(struct worker *w, struct zv_conn *zc, void *data, size_t len)
{
	uint64_t deadline = cpu_now_ns() + HELPER_NS;
	unsigned char *p = data;
	struct zv_event ev[8];

	while (len) {
		ssize_t n = zv_recv(zc, p, len, NULL);
		int rc;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n == 0)
			return side_fail_own(w->side, -ECONNRESET,
					     "the peer closed the connection");
		if (n != -EAGAIN)
			return side_fail(w->side, (int)n, "zv_recv");
		rc = queue_wait(w, zv_conn_queue(zc), ev, 8, deadline);
		if (rc < 0)
			return rc;
	}
	return 0;
}
