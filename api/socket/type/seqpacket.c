/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_SEQPACKET: messages, each a sequence of packets of which the last carries EOM. zv_send sends
 * a whole message or nothing; zv_buf_send may send one in several calls.
 */
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/rx/rx.h"
#include "socket/tx/tx_buf.h"
#include "socket/tx/tx_data.h"
#include "socket/tx/tx_mem.h"

#include <errno.h>
#include <string.h>

/* ---- sending ---- */

/*
 * 0, or -EINVAL for a packet without payload: it does not change fwd_cnt, so a peer that does not
 * count it as a byte cannot report that it has been read, and would be flooded.
 */
static int empty_ok(const struct zv_queue *q, const char *call)
{
	if (queue_caps(q) & ZV_CAP_EMPTY_MSG)
		return 0;
	return zv_err(-EINVAL, "%s: a stock virtio-vsock peer cannot take empty messages", call);
}

/* 0, or why a message of @len bytes, which is charged @charge, cannot begin now. */
static int may_begin(struct zv_conn *c, size_t len, size_t charge)
{
	int ret;

	if (!len && empty_ok(c->q, "zv_send"))
		return -EINVAL;
	ret = tx_may_begin(c);
	if (ret)
		return ret;
	if (charge > c->credit.peer_buf_alloc)
		return zv_err(-EMSGSIZE,
			      "zv_send: message of %zu bytes, but the peer takes at most %u", len,
			      c->credit.peer_buf_alloc);
	if (charge > tx_credit_left(c))
		return tx_blocked_on_credit(c, (uint32_t)charge, 1);
	if (!tx_turn_left(c)) /* a message is never cut, so the last one may exceed the turn */
		return tx_blocked_on_buffers(c, (uint32_t)charge, 1);
	return 0;
}

/*
 * The @n buffers in q->slots, of at most @max that exist, hold @room bytes: too few for a message
 * of @len bytes. Waits for as many as the message would need at this size, and at least for one
 * more than there are.
 */
static int too_few_buffers(struct zv_conn *c, size_t len, size_t room, unsigned n, unsigned max)
{
	struct zv_queue *q = c->q;
	uint64_t need = n ? ((uint64_t)len * n + room - 1) / room : 1;
	unsigned ready = q->tq->ops->tx_ready(q->tq);

	if (n == max)
		return zv_err(-EMSGSIZE,
			      "zv_send: message of %zu bytes needs more than the %u "
			      "buffers of this ring",
			      len, max);
	need = need > ready ? need : ready + 1u;
	return tx_blocked_on_buffers(c, len ? (uint32_t)len : 1, need < max ? (uint32_t)need : max);
}

/* The packet budget has no room for a message of @len bytes in @n packets. */
static int too_many_packets(struct zv_conn *c, size_t len, unsigned n)
{
	if (n > c->credit.pkt_limit)
		return zv_err(-EMSGSIZE,
			      "zv_send: message of %zu bytes needs %u packets, but the peer takes "
			      "at most %u unread",
			      len, n, c->credit.pkt_limit);
	return tx_blocked_on_credit(c, len ? (uint32_t)len : 1, n);
}

/* Reserves buffers for a whole message in q->slots: how many, or -errno. */
static int reserve_message(struct zv_conn *c, size_t len)
{
	struct zv_queue *q = c->q;
	unsigned n = 0, max = q->tq->ops->tx_max(q->tq);
	size_t room = 0;

	max = max < ZV_SLOTS ? max : ZV_SLOTS;
	do {
		uint32_t most = q->peer.max_pkt;
		uint32_t want = len - room < most ? (uint32_t)(len - room) : most;

		if (n == max || !q->tq->ops->tx_reserve(q->tq, &q->slots[n], 1, want, 0))
			break;
		if (q->slots[n].capacity > most)
			q->slots[n].capacity = most;
		room += q->slots[n++].capacity;
	} while (room < len);
	if (room >= len && n && n <= credit_tx_packets(&c->credit))
		return (int)n;
	for (unsigned i = 0; i < n; i++)
		q->tq->ops->tx_cancel(q->tq, q->slots[i].token);
	if (room < len || n == 0)
		return too_few_buffers(c, len, room, n, max);
	return too_many_packets(c, len, n);
}

/* A whole message or nothing: reserves buffers for all of it first, then commits. */
static ssize_t seqpacket_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	uint32_t before = c->credit.pkt_unread;
	struct tx_slot *slots = c->q->slots;
	size_t done = 0;
	int n = tx_may_send(c);

	if (n)
		return n;
	if (tx_behind_ctrl(c))
		return tx_blocked_on_buffers(c, 1, 1);
	n = may_begin(c, len, len ? len : 1);
	if (n == 0)
		n = reserve_message(c, len);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		uint32_t part =
			len - done < slots[i].capacity ? (uint32_t)(len - done) : slots[i].capacity;

		if (part)
			memcpy(slots[i].data, (const uint8_t *)data + done, part);
		done += part;
		tx_turn_charge(c, part);
		tx_commit(c, &slots[i], VSOCK_OP_RW, part,
			  seq_tx_flags((uint32_t)done, (uint32_t)len, flags & ZV_EOR));
	}
	c->flags &= ~CF_WANT_OUT;
	tx_credit_ahead(c, before);
	return (ssize_t)len;
}

/*
 * The same for memory that the device reads in place: packets are as long as the peer accepts, and
 * need a buffer for the header only.
 */
static ssize_t seqpacket_send_mem(struct zv_conn *c, const struct mem_part *part, uint32_t flags)
{
	struct zv_queue *q = c->q;
	uint32_t max = q->tq->ops->tx_max(q->tq), got;
	uint64_t want = (part->len + q->peer.max_pkt - 1) / q->peer.max_pkt;
	uint32_t before = c->credit.pkt_unread;
	size_t done = 0;
	int n = tx_may_send(c);

	if (n)
		return n;
	if (tx_behind_ctrl(c))
		return tx_blocked_on_buffers(c, 1, 1);
	n = may_begin(c, part->len, part->len);
	if (n)
		return n;
	max = max < ZV_SLOTS ? max : ZV_SLOTS;
	if (want > max)
		return too_few_buffers(c, part->len, (size_t)max * q->peer.max_pkt, max, max);
	if (want > credit_tx_packets(&c->credit))
		return too_many_packets(c, part->len, (unsigned)want);
	got = q->tq->ops->tx_reserve(q->tq, q->slots, (unsigned)want, 0, 0);
	if (got < want) {
		for (uint32_t i = 0; i < got; i++)
			q->tq->ops->tx_cancel(q->tq, q->slots[i].token);
		return tx_blocked_on_buffers(c, (uint32_t)part->len, (uint32_t)want);
	}
	for (uint32_t i = 0; i < want; i++) {
		uint32_t some = part->len - done < q->peer.max_pkt ? (uint32_t)(part->len - done)
								   : q->peer.max_pkt;

		tx_mem_commit(
			c, &q->slots[i], part, done, some,
			seq_tx_flags((uint32_t)(done + some), (uint32_t)part->len, flags & ZV_EOR));
		tx_turn_charge(c, some);
		done += some;
	}
	c->flags &= ~CF_WANT_OUT;
	tx_credit_ahead(c, before);
	return (ssize_t)part->len;
}

static uint32_t end_flags(const struct zv_buf *b)
{
	if (!(b->flags & (ZV_EOM | ZV_EOR)))
		return 0;
	return VSOCK_SEQ_EOM | (b->flags & ZV_EOR ? VSOCK_SEQ_EOR : 0);
}

/* 0, or why none of @bufs can be sent. */
static int check_bufs(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	uint64_t msg = c->tx.msg_bytes;
	int ret = tx_may_send(c);

	for (unsigned i = 0; i < n && ret == 0; i++) {
		const struct tx_loan *l = tx_buf_find(c, &bufs[i]);

		if (!tx_buf_good(&bufs[i], l))
			ret = tx_buf_bad(&bufs[i], l, i, n);
		else if (!bufs[i].len && end_flags(&bufs[i]))
			ret = empty_ok(c->q, "zv_buf_send");
		if (ret)
			break;
		msg += bufs[i].len;
		if (msg > c->credit.peer_buf_alloc)
			ret = zv_err(-EMSGSIZE,
				     "zv_buf_send: message of %llu bytes or more, but the peer "
				     "takes at most %u",
				     (unsigned long long)msg, c->credit.peer_buf_alloc);
		msg = end_flags(&bufs[i]) ? 0 : msg;
	}
	return ret;
}

/* Sends a packet of a message, and accounts for it. */
static void send_piece(struct zv_conn *c, const struct tx_slot *s, uint32_t len, uint32_t flags)
{
	tx_commit(c, s, VSOCK_OP_RW, len, flags);
	c->tx.msg_bytes = flags ? 0 : c->tx.msg_bytes + len;
	c->tx.msg_pkts = flags ? 0 : c->tx.msg_pkts + 1;
}

static int seqpacket_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	uint32_t before = c->credit.pkt_unread;
	int ret = check_bufs(c, bufs, n);

	if (ret) {
		(void)tx_buf_cancel(c, bufs, n);
		return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		struct tx_loan *l = tx_buf_find(c, &bufs[i]);
		uint32_t flags = end_flags(&bufs[i]);
		struct tx_slot s;

		if (!l)
			continue; /* the same buffer twice in one call */
		s = tx_buf_take(c, &bufs[i], l);
		if (bufs[i].len || flags)
			send_piece(c, &s, bufs[i].len, flags);
		else
			c->q->tq->ops->tx_cancel(c->q->tq, s.token);
	}
	tx_credit_ahead(c, before);
	return (int)n;
}

/* ---- receiving ---- */

static bool seqpacket_frame(struct zv_conn *c, const struct vsock_hdr *h, uint32_t *flags)
{
	if (h->flags & VSOCK_SEQ_EOM)
		*flags = ZV_EOM | (h->flags & VSOCK_SEQ_EOR ? ZV_EOR : 0);
	return seq_rx_packet(&c->rx.seq, h->len, h->flags, c->credit.buf_alloc);
}

static ssize_t seqpacket_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	uint32_t i = c->rx.head, total = 0, extra = 0, pkts = 0, end = 0;
	bool peek = flags && (*flags & ZV_PEEK);
	size_t done = 0;

	if (!conn_has_data(c)) {
		if (flags)
			*flags = 0;
		return rx_empty(c);
	}
	while (i != LOAN_NONE && !(end & ZV_EOM)) {
		struct rx_entry *e = &c->q->rx.e[i];
		uint32_t n = len - done < e->len ? (uint32_t)(len - done) : e->len;

		if (n && !rx_copy(c->q, (uint8_t *)data + done, e, n))
			return conn_rx_lost(c, 0);
		done += n;
		total += e->len;
		extra += e->extra;
		pkts++;
		end = e->flags;
		i = e->next;
		if (!peek)
			rx_release(c->q, c, rx_pop(c));
	}
	if (flags)
		*flags = end | (done < total ? ZV_TRUNC : 0);
	if (!peek) {
		seq_rx_consumed(&c->rx.seq);
		rx_consumed(c, total + extra, pkts);
	}
	return (ssize_t)done;
}

const struct sock_type sock_seqpacket = {
	.name = "SEQPACKET",
	.type = VSOCK_TYPE_SEQPACKET,
	.framed = true,
	.rx_cost = 8, /* an entry for each tiny message */
	.pkt_overhead = CREDIT_MSG_OVERHEAD,
	.over_chan = &chan_seqpacket,
	.send = seqpacket_send,
	.send_mem = seqpacket_send_mem,
	.buf_alloc = tx_buf_alloc,
	.buf_send = seqpacket_buf_send,
	.buf_cancel = tx_buf_cancel,
	.more_end = tx_more_commit,
	.has_room = tx_has_credit,
	.recv = seqpacket_recv,
	.buf_recv = rx_buf_recv,
	.rx_drop = rx_drop_all,
	.frame = seqpacket_frame,
	.unconnected = rx_unconnected,
};
