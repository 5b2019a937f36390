/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_side.h"

#include "zv_mem.h"

#include "measure/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_host.h>

#define HELPER_NS 15000000000ull /* deadline of the blocking helpers */

bool side_is_host_uri(const char *uri)
{
	return strncmp(uri, "host:", 5) == 0;
}

uint64_t side_peer_cid(const struct zv_side *s)
{
	return s->role == ROLE_GUEST ? ZV_CID_HOST : 0;
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
		.tx_buf = o->tx_buf,
		.buf_alloc = o->buf_alloc,
		/* A side that gets no CPU for a while is slow, which is no error. */
		.connect_timeout_ns = BENCH_GRACE_NS / 2,
		.spin_ns = o->sleep ? 1 : 0, /* 0: the library's default */
		.flags = (o->busy_poll ? ZV_OPT_BUSY_POLL : 0) | o->ring_flags,
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

int side_open_server(struct zv_side *s, const struct bench_opts *o, const char *uri,
		     struct proc_err *err)
{
	int rc = side_open(s, o, uri, err);

	if (strncmp(uri, "daemon:", 7) == 0)
		s->role = ROLE_HOST;
	return rc;
}

void side_close(struct zv_side *s)
{
	if (s->dev)
		zv_close(s->dev); /* ends registrations of the workers' memory */
	s->dev = NULL;
	for (unsigned i = 0; s->workers && i < s->nthreads; i++)
		worker_free(&s->workers[i]);
	free(s->workers);
	s->workers = NULL;
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
	mem_free(w);
	memset(w, 0, sizeof(*w));
}

int worker_wait(struct worker *w, struct zv_event *ev, unsigned max, uint64_t timeout_ns)
{
	/* One queue has the shorter way. */
	return w->nq == 1 ? zv_wait(w->q[0], ev, max, timeout_ns)
			  : zv_wait_queues(w->q, w->nq, ev, max, timeout_ns);
}

/* A signal that is not meant to end the program: go on. */
static bool again(int rc)
{
	return rc == -EINTR && !proc_interrupted;
}

int conn_open(struct worker *w, struct zv_queue *q, uint32_t port, enum zv_type type,
	      struct zv_conn **zc)
{
	uint64_t cid = side_peer_cid(w->side);
	int rc;

	do {
		rc = zv_connect_wait(q, cid, port, type, HELPER_NS, zc);
	} while (again(rc));
	return rc < 0 ? side_fail(w->side, rc, NULL) : 0;
}

int conn_send_all(struct worker *w, struct zv_conn *zc, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t sent;
	int rc;

	do {
		rc = zv_send_all(zc, p, len, 0, HELPER_NS, &sent);
		p += sent;
		len -= sent;
	} while (again(rc));
	return rc < 0 ? side_fail(w->side, rc, NULL) : 0;
}

int conn_recv_all(struct worker *w, struct zv_conn *zc, void *data, size_t len)
{
	unsigned char *p = data;
	int rc;

	while (len) {
		ssize_t n = zv_recv(zc, p, len, NULL);

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
		rc = zv_conn_wait(zc, ZV_EV_IN, HELPER_NS);
		if (rc <= 0 && !again(rc))
			return side_fail_own(w->side, rc ? rc : -ETIMEDOUT,
					     "the peer does not answer");
	}
	return 0;
}
