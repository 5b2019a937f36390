/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trip: one message is under way at any time, the client writes and verifies it, the server
 * sends back what it received. With several queues the messages take turns, so that each queue is
 * used and all are polled. Times are taken before the payload is written and after it is verified.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"

#include <errno.h>
#include <string.h>

/* Room that is missing comes back while the queue is polled; events are seen again later. */
static int wait_room(struct worker *w, struct zv_conn *zc, uint64_t *deadline)
{
	struct zv_event ev[8];
	int n;

	if (!*deadline)
		*deadline = cpu_now_ns() + BENCH_GRACE_NS / 2;
	n = zv_wait(zv_conn_queue(zc), ev, 8, 1000000u);
	if (n < 0 && n != -EINTR)
		return side_fail(w->side, n, "zv_wait");
	if (cpu_now_ns() > *deadline)
		return side_fail_own(w->side, -ETIMEDOUT, "no room to send");
	return 0;
}

/* Sends @len bytes: a message of the client (@src NULL: the pattern) or an echo. */
static int rtt_send(struct worker *w, struct bconn *bc, const unsigned char *src, uint32_t len,
		    uint32_t eom)
{
	uint64_t deadline = 0;
	uint32_t off = 0;
	int rc;

	if (!bc->zero_copy && !src) {
		pattern_fill(w->txbuf, len, bc->salt, bc->seq, 0);
		src = w->txbuf;
	}
	while (off < len) {
		struct zv_buf b;
		ssize_t n;

		if (!bc->zero_copy) {
			n = zv_send(bc->zc, src + off, len - off, 0);
			rc = n < 0 ? (int)n : 0;
		} else {
			rc = zv_buf_alloc(bc->zc, &b, 1, len - off);
			n = rc > 0 ? bench_min32(b.capacity, len - off) : 0;
			if (rc > 0) {
				if (src)
					memcpy(b.data, src + off, (size_t)n);
				else
					pattern_fill(b.data, (size_t)n, bc->salt, bc->seq, off);
				b.len = (uint32_t)n;
				b.flags = off + (uint32_t)n == len ? eom : 0;
				rc = zv_buf_send(bc->zc, &b, 1);
			}
		}
		if (rc == -EAGAIN)
			rc = wait_room(w, bc->zc, &deadline);
		else if (rc < 0)
			return side_fail(w->side, rc, "send");
		if (rc < 0)
			return rc;
		off += n > 0 ? (uint32_t)n : 0;
	}
	return 0;
}

int bc_echo(struct worker *w, struct bconn *bc)
{
	for (;;) {
		uint32_t flags = 0;
		struct zv_buf b;
		ssize_t n;
		int rc;

		if (bc->zero_copy)
			n = zv_buf_recv(bc->zc, &b, 1);
		else
			n = zv_recv(bc->zc, w->rxbuf, w->buf_len, &flags);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 ? 1 : (int)n;
		if (bc->zero_copy) {
			rc = rtt_send(w, bc, b.data, b.len, b.flags & ZV_EOM);
			bc->bytes += b.len;
			zv_buf_release(zv_conn_queue(bc->zc), &b, 1);
		} else {
			rc = rtt_send(w, bc, w->rxbuf, (uint32_t)n, 0);
			bc->bytes += (uint64_t)n;
		}
		if (rc < 0)
			return rc;
	}
}

/* Receives what there is of the present message; 1 when it is complete. */
static int ping_receive(struct worker *w, struct bconn *bc)
{
	while (bc->off < bc->size) {
		const unsigned char *p = w->rxbuf;
		struct zv_buf b;
		uint32_t len;
		ssize_t n;

		if (bc->zero_copy)
			n = zv_buf_recv(bc->zc, &b, 1);
		else
			n = zv_recv(bc->zc, w->rxbuf, bc->size - bc->off, NULL);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return side_fail_own(w->side, n < 0 ? (int)n : -ECONNRESET, "receive");
		if (bc->zero_copy)
			p = b.data;
		len = bc->zero_copy ? b.len : (uint32_t)n;
		if (len > bc->size - bc->off || !pattern_check(p, len, bc->salt, bc->seq, bc->off))
			bc->errors++;
		if (bc->zero_copy)
			zv_buf_release(zv_conn_queue(bc->zc), &b, 1);
		bc->off += len;
	}
	return 1;
}

static int ping_once(struct worker *w, struct bconn *bc)
{
	struct zv_event ev[8];
	uint64_t deadline = 0;
	int rc;

	bc->off = 0;
	rc = rtt_send(w, bc, NULL, bc->size, bc->seqpacket ? ZV_EOM : 0);
	while (rc == 0) {
		int n = worker_wait(w, ev, 8, 1000000000u);

		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (n <= 0 && proc_interrupted)
			return -EINTR;
		/* The clock is not looked at while there are answers. */
		if (n <= 0 && !deadline)
			deadline = cpu_now_ns() + BENCH_GRACE_NS / 2;
		else if (n <= 0 && cpu_now_ns() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT, "no answer");
		rc = ping_receive(w, bc);
	}
	if (rc < 0)
		return rc;
	bc->seq++;
	bc->bytes += bc->size;
	return 0;
}

static int rtt_open(struct worker *w, const struct bench_cell *c, struct bconn *bc, unsigned i)
{
	bool seq = w->side->o->seqpacket;
	struct wire_msg m, ack;
	int rc;

	rc = conn_open(w, w->q[i], seq ? BENCH_PORT_SEQ : BENCH_PORT_STREAM,
		       seq ? ZV_SEQPACKET : ZV_STREAM, &bc->zc);
	if (rc < 0)
		return rc;
	bc->qi = w->qi[i];
	wire_init(&m, W_ECHO, w->side->o, c, bc->qi);
	bc_set_task(bc, &m, seq);
	rc = conn_send_all(w, bc->zc, &m, sizeof(m));
	return rc < 0 ? rc : conn_recv_all(w, bc->zc, &ack, sizeof(ack));
}

int client_pings(struct worker *w, struct bconn *bcs, struct side_stats *st, struct rtt_result *rtt,
		 int rc)
{
	uint64_t end, t0, t1 = 0;
	static struct hist h;
	unsigned k = 0;

	hist_reset(&h);
	st->first_ns = cpu_now_ns();
	end = cpu_ticks() + cpu_ns_to_ticks(w->side->o->duration_ns);
	while (rc == 0 && t1 < end) {
		t0 = cpu_ticks();
		rc = ping_once(w, &bcs[k]);
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
		k = k + 1 == w->nq ? 0 : k + 1;
	}
	st->last_ns = cpu_now_ns();
	for (unsigned i = 0; i < w->nq; i++) {
		if (bcs[i].zc)
			zv_conn_close(bcs[i].zc);
		st->msgs[bcs[i].qi] = bcs[i].seq;
		st->bytes += bcs[i].bytes;
		st->errors += bcs[i].errors;
	}
	rtt->p50 = cpu_ticks_to_ns(hist_quantile(&h, 0.5));
	rtt->p99 = cpu_ticks_to_ns(hist_quantile(&h, 0.99));
	rtt->p999 = cpu_ticks_to_ns(hist_quantile(&h, 0.999));
	rtt->max = cpu_ticks_to_ns(h.max);
	return rc;
}

int client_rtt(struct worker *w, const struct bench_cell *c, struct side_stats *st,
	       struct rtt_result *rtt)
{
	struct bconn bcs[BENCH_QUEUES_MAX];
	int rc = worker_buffers(w, c->msg_size);

	memset(bcs, 0, sizeof(bcs));
	for (unsigned i = 0; i < w->nq && rc == 0; i++)
		rc = rtt_open(w, c, &bcs[i], i);
	return client_pings(w, bcs, st, rtt, rc);
}
