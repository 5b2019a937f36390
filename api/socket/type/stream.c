/* SPDX-License-Identifier: BSD-3-Clause */
/* SOCK_STREAM: bytes without boundaries. */
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/rx/rx.h"
#include "socket/tx/tx_buf.h"
#include "socket/tx/tx_data.h"
#include "socket/tx/tx_mem.h"

#include <errno.h>
#include <string.h>

/* ---- sending ---- */

static ssize_t send_bytes(struct zv_conn *c, const uint8_t *data, size_t len, uint32_t flags)
{
	struct zv_queue *q = c->q;
	uint32_t before = c->credit.pkt_unread;
	size_t done = 0;
	bool credit = true;

	while (done < len) {
		uint32_t left = tx_credit_left(c), n;
		struct tx_slot s;

		if ((c->flags & CF_MORE) || (flags & ZV_MORE)) {
			n = tx_more_append(c, data + done, len - done);
			done += n;
			if (n)
				continue;
		}
		credit = left != 0;
		if (!left || !tx_turn_left(c))
			break;
		n = len - done < left ? (uint32_t)(len - done) : left;
		n = n < q->peer.max_pkt ? n : q->peer.max_pkt;
		if (!q->tq->ops->tx_reserve(q->tq, &s, 1, n, 0))
			break;
		n = n < s.capacity ? n : s.capacity;
		if (__builtin_expect(c->credit.pkt_limit != 0, 0))
			n = credit_tx_pkt_len(&c->credit, n, tx_joins(c) ? s.capacity : 0,
					      c->tx.loans);
		memcpy(s.data, data + done, n);
		tx_commit(c, &s, VSOCK_OP_RW, n, 0);
		tx_turn_charge(c, n);
		done += n;
	}
	if (!(flags & ZV_MORE))
		tx_more_end(c);
	if (done == len)
		c->flags &= ~CF_WANT_OUT;
	else if (credit)
		(void)tx_blocked_on_buffers(c, 1, 1);
	else
		(void)tx_blocked_on_credit(c, 1, 1);
	tx_credit_ahead(c, before);
	return done ? (ssize_t)done : -EAGAIN;
}

/* Sends as much of @part as there is room for; 0: none, and the reason has been recorded. */
static size_t mem_bytes(struct zv_conn *c, const struct mem_part *part)
{
	struct zv_queue *q = c->q;
	size_t done = 0;

	while (done < part->len) {
		uint32_t left = tx_credit_left(c), n;
		struct tx_slot s;

		if (!left) {
			(void)tx_blocked_on_credit(c, 1, 1);
			return done;
		}
		if (!tx_turn_left(c) || !q->tq->ops->tx_reserve(q->tq, &s, 1, 0, 0)) {
			(void)tx_blocked_on_buffers(c, 1, 1);
			return done;
		}
		n = part->len - done < left ? (uint32_t)(part->len - done) : left;
		n = n < q->peer.max_pkt ? n : q->peer.max_pkt;
		if (__builtin_expect(c->credit.pkt_limit != 0, 0))
			n = credit_tx_pkt_len(&c->credit, n, 0, c->tx.loans);
		tx_mem_commit(c, &s, part, done, n, 0);
		tx_turn_charge(c, n);
		done += n;
	}
	c->flags &= ~CF_WANT_OUT;
	return done;
}

static ssize_t stream_send_mem(struct zv_conn *c, const struct mem_part *part, uint32_t flags)
{
	uint32_t before = c->credit.pkt_unread;
	int ret = tx_may_send(c);
	size_t done;

	(void)flags; /* flags of messages have no meaning here */
	if (ret)
		return ret;
	if (tx_behind_ctrl(c))
		return tx_blocked_on_buffers(c, 1, 1);
	tx_more_end(c); /* keeps the order of bytes */
	done = mem_bytes(c, part);
	tx_credit_ahead(c, before);
	return done ? (ssize_t)done : -EAGAIN;
}

static ssize_t stream_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	if (len == 0) {
		if (!(flags & ZV_MORE))
			tx_more_end(c);
		return 0;
	}
	if (tx_behind_ctrl(c))
		return tx_blocked_on_buffers(c, 1, 1);
	return send_bytes(c, data, len, flags);
}

/* Sends buffer @b, which is reserved: @l. */
static inline void send_buf(struct zv_conn *c, const struct zv_buf *b, struct tx_loan *l)
{
	struct tx_slot s = tx_buf_take(c, b, l);

	if (b->len)
		tx_data(c, &s, b->len);
	else
		c->q->tq->ops->tx_cancel(c->q->tq, s.token);
}

/* 0, or why none of @bufs can be sent. */
static int check_bufs(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	int ret = tx_may_send(c);

	for (unsigned i = 0; i < n && ret == 0; i++) {
		const struct tx_loan *l = tx_buf_find(c, &bufs[i]);

		if (__builtin_expect(!tx_buf_good(&bufs[i], l), 0))
			ret = tx_buf_bad(&bufs[i], l, i, n);
	}
	return ret;
}

static __attribute__((noinline)) int send_bufs(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	uint32_t before = c->credit.pkt_unread;
	int ret = check_bufs(c, bufs, n);

	tx_more_end(c); /* keeps the order of bytes */
	if (ret) {
		(void)tx_buf_cancel(c, bufs, n);
		return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		struct tx_loan *l = tx_buf_find(c, &bufs[i]);

		if (l) /* otherwise the same buffer twice in one call */
			send_buf(c, &bufs[i], l);
	}
	tx_credit_ahead(c, before);
	return (int)n;
}

static int stream_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct tx_loan *one = n == 1 ? tx_buf_find(c, bufs) : NULL;
	uint32_t before = c->credit.pkt_unread;

	/* The common case, as quick as it can be: one buffer, and nothing is wrong. */
	if (!tx_buf_good(bufs, one) || (c->flags & CF_MORE) || tx_may_send(c))
		return send_bufs(c, bufs, n);
	send_buf(c, bufs, one);
	tx_credit_ahead(c, before);
	return 1;
}

/* ---- receiving ---- */

static ssize_t stream_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	bool peek = flags && (*flags & ZV_PEEK);
	uint32_t i = c->rx.head;
	size_t done = 0;

	if (flags)
		*flags = 0;
	if (!conn_has_data(c))
		return rx_empty(c);
	if (len == 0)
		return 0;
	while (i != LOAN_NONE && done < len) {
		struct rx_entry *e = &c->q->rx.e[i];
		uint32_t n = len - done < e->len ? (uint32_t)(len - done) : e->len;

		if (!rx_copy(c->q, (uint8_t *)data + done, e, n))
			return conn_rx_lost(c, done);
		done += n;
		if (peek) {
			i = e->next;
			continue;
		}
		if (n < e->len) {
			e->data += n;
			e->len -= n;
		} else {
			rx_release(c->q, c, rx_pop(c));
		}
		i = c->rx.head;
	}
	if (!peek)
		rx_consumed(c, (uint32_t)done, 0);
	return (ssize_t)done;
}

const struct sock_type sock_stream = {
	.name = "STREAM",
	.type = VSOCK_TYPE_STREAM,
	.rx_cost = 1, /* copies share chunks */
	.over_chan = &chan_stream,
	.send = stream_send,
	.send_mem = stream_send_mem,
	.buf_alloc = tx_buf_alloc,
	.buf_send = stream_buf_send,
	.buf_cancel = tx_buf_cancel,
	.more_end = tx_more_commit,
	.has_room = tx_has_credit,
	.recv = stream_recv,
	.buf_recv = rx_buf_recv,
	.rx_drop = rx_drop_all,
	.unconnected = rx_unconnected,
};
