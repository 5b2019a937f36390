/* SPDX-License-Identifier: BSD-3-Clause */
/* Sending payload: by copying it, a message at a time or gathered (ZV_MORE), or in place. */
#include "tx_priv.h"

#include <errno.h>
#include <string.h>

/* ---- a packet of a stream ---- */

#define MOST_PIECES (CREDIT_TAIL_MAX / CREDIT_SMALL) /* no larger buffer is cut */

/*
 * Sends the payload of @s in pieces that the peer joins (vsock_credit.h): the first stays where it
 * is, the others are copied. False: there are not that many buffers, and nothing has been sent.
 */
static bool __attribute__((noinline, cold))
send_pieces(struct zv_conn *c, const struct tx_slot *s, uint32_t len)
{
	struct zv_queue *q = c->q;
	uint32_t at = CREDIT_SMALL, want = (len - 1) / CREDIT_SMALL, n;
	struct tx_slot more[MOST_PIECES];
	unsigned got;

	if (want > MOST_PIECES)
		return false;
	got = q->tq->ops->tx_reserve(q->tq, more, want, CREDIT_SMALL, 0);
	for (n = 0; n < got && more[n].capacity >= CREDIT_SMALL; n++)
		;
	if (n < want) {
		while (got)
			q->tq->ops->tx_cancel(q->tq, more[--got].token);
		return false;
	}
	tx_commit(c, s, VSOCK_OP_RW, CREDIT_SMALL, 0);
	for (unsigned i = 0; i < want; i++, at += n) {
		n = len - at < CREDIT_SMALL ? len - at : CREDIT_SMALL;
		memcpy(more[i].data, s->data + at, n);
		tx_commit(c, &more[i], VSOCK_OP_RW, n, 0);
	}
	return true;
}

/* Sends @len bytes of payload, which are in @s. */
static inline void send_packet(struct zv_conn *c, const struct tx_slot *s, uint32_t len)
{
	if (__builtin_expect(c->credit.pkt_limit != 0, 0)) {
		uint32_t cap = tx_joins(c) ? s->capacity : 0;

		if (credit_tx_cut(&c->credit, len, cap, c->tx_loans) < len &&
		    send_pieces(c, s, len))
			return;
	}
	tx_commit(c, s, VSOCK_OP_RW, len, 0);
}

/* ---- ZV_MORE: a packet that is being filled ---- */

void tx_more_commit(struct zv_conn *c)
{
	TAILQ_REMOVE(&c->q->more, c, morelink);
	c->flags &= ~CF_MORE;
	c->tx_reserved -= c->more_max;
	tx_credit_back(c);
	if (c->more_len) {
		send_packet(c, &c->more, c->more_len);
		tx_sched_charge(&c->q->sched, &c->flow, c->more_len);
	} else {
		c->q->tq->ops->tx_cancel(c->q->tq, c->more.token);
	}
}

void tx_more_drop(struct zv_conn *c)
{
	if (!(c->flags & CF_MORE))
		return;
	c->more_len = 0;
	tx_more_commit(c);
}

void tx_more_flush(struct zv_queue *q)
{
	struct zv_conn *c;

	while ((c = TAILQ_FIRST(&q->more)))
		tx_more_commit(c);
}

/* Bytes of @data that went into the connection's open packet, opening one if there is none. */
static uint32_t more_append(struct zv_conn *c, const uint8_t *data, size_t len)
{
	struct zv_queue *q = c->q;
	uint32_t n;

	if (!(c->flags & CF_MORE)) {
		uint32_t left = tx_credit_left(c);

		if (!left || !tx_sched_left(&c->q->sched, &c->flow) ||
		    !q->tq->ops->tx_reserve(q->tq, &c->more, 1, q->max_pkt, 0))
			return 0;
		c->more_max = c->more.capacity < q->max_pkt ? c->more.capacity : q->max_pkt;
		c->more_max = c->more_max < left ? c->more_max : left;
		c->tx_reserved += c->more_max;
		c->more_len = 0;
		c->flags |= CF_MORE;
		TAILQ_INSERT_TAIL(&q->more, c, morelink);
	}
	n = c->more_max - c->more_len;
	n = len < n ? (uint32_t)len : n;
	memcpy(c->more.data + c->more_len, data, n);
	c->more_len += n;
	if (c->more_len == c->more_max)
		tx_more_commit(c);
	return n;
}

/* ---- copying send ---- */

static ssize_t send_stream(struct zv_conn *c, const uint8_t *data, size_t len, uint32_t flags)
{
	struct zv_queue *q = c->q;
	uint32_t before = c->credit.pkt_unread;
	size_t done = 0;
	bool credit = true;

	while (done < len) {
		uint32_t left = tx_credit_left(c), n;
		struct tx_slot s;

		if ((c->flags & CF_MORE) || (flags & ZV_MORE)) {
			n = more_append(c, data + done, len - done);
			done += n;
			if (n)
				continue;
		}
		credit = left != 0;
		if (!left || !tx_sched_left(&c->q->sched, &c->flow))
			break;
		n = len - done < left ? (uint32_t)(len - done) : left;
		n = n < q->max_pkt ? n : q->max_pkt;
		if (!q->tq->ops->tx_reserve(q->tq, &s, 1, n, 0))
			break;
		n = n < s.capacity ? n : s.capacity;
		if (__builtin_expect(c->credit.pkt_limit != 0, 0))
			n = credit_tx_cut(&c->credit, n, tx_joins(c) ? s.capacity : 0, c->tx_loans);
		memcpy(s.data, data + done, n);
		tx_commit(c, &s, VSOCK_OP_RW, n, 0);
		tx_sched_charge(&c->q->sched, &c->flow, n);
		done += n;
	}
	if ((c->flags & CF_MORE) && !(flags & ZV_MORE))
		tx_more_commit(c);
	if (done == len)
		c->flags &= ~CF_WANT_OUT;
	else
		(void)tx_blocked(c, !credit, 1);
	tx_credit_ahead(c, before);
	return done ? (ssize_t)done : -EAGAIN;
}

/*
 * 0, or -EINVAL for a packet without payload: it leaves no trace in fwd_cnt, so a peer that does
 * not count it as a byte cannot say that it has been read, and would be flooded.
 */
static int tx_empty_ok(const struct zv_queue *q, const char *call)
{
	if (queue_caps(q) & ZV_CAP_EMPTY_MSG)
		return 0;
	return zv_err(-EINVAL, "%s: a stock virtio-vsock peer cannot take empty messages", call);
}

/*
 * There are too few buffers for a message of @len bytes: @n of them, of which @max can ever be had,
 * hold @room. Waits for as many as it would need of these, and for one more than there are.
 */
static int wait_for_buffers(struct zv_conn *c, size_t len, size_t room, unsigned n, unsigned max)
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
	(void)tx_blocked(c, false, len ? (uint32_t)len : 1);
	tx_sched_wait(&q->sched, &c->flow, need < max ? (uint32_t)need : max);
	return -EAGAIN;
}

/* A whole message or nothing: buffers for all of it first, then commit. */
static ssize_t send_message(struct zv_conn *c, const uint8_t *data, size_t len, uint32_t flags)
{
	uint32_t before = c->credit.pkt_unread;
	struct zv_queue *q = c->q;
	unsigned n = 0, max = q->tq->ops->tx_max(q->tq);
	size_t room = 0, done = 0, charge = len ? len : 1;

	max = max < ZV_SLOTS ? max : ZV_SLOTS;
	if (!len && tx_empty_ok(q, "zv_send"))
		return -EINVAL;
	if (c->msg_pkts)
		return zv_err(
			-EINVAL,
			"zv_send: zv_buf_send has begun a message (%u bytes so far): end that "
			"with ZV_EOM first",
			c->msg_bytes);
	if (charge > c->credit.peer_buf_alloc)
		return zv_err(-EMSGSIZE,
			      "zv_send: message of %zu bytes, but the peer takes at most %u", len,
			      c->credit.peer_buf_alloc);
	if (charge > tx_credit_left(c))
		return tx_blocked(c, true, (uint32_t)charge);
	if (!tx_sched_left(
		    &c->q->sched,
		    &c->flow)) /* a message is never cut, so the last one may exceed the turn */
		return tx_blocked(c, false, (uint32_t)charge);
	do {
		uint32_t want = len - room < q->max_pkt ? (uint32_t)(len - room) : q->max_pkt;

		if (n == max || !q->tq->ops->tx_reserve(q->tq, &q->slots[n], 1, want, 0))
			break;
		if (q->slots[n].capacity > q->max_pkt)
			q->slots[n].capacity = q->max_pkt;
		room += q->slots[n++].capacity;
	} while (room < len);
	if (room < len || n == 0 || n > credit_tx_packets(&c->credit)) {
		for (unsigned i = 0; i < n; i++)
			q->tq->ops->tx_cancel(q->tq, q->slots[i].token);
		if (room < len || n == 0)
			return wait_for_buffers(c, len, room, n, max);
		if (n > c->credit.pkt_limit)
			return zv_err(
				-EMSGSIZE,
				"zv_send: message of %zu bytes needs %u packets, but the peer "
				"takes at most %u unread",
				len, n, c->credit.pkt_limit);
		(void)tx_blocked(c, true, (uint32_t)charge);
		c->want_pkts = n;
		return -EAGAIN;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t part = len - done < q->slots[i].capacity ? (uint32_t)(len - done)
								  : q->slots[i].capacity;

		if (part)
			memcpy(q->slots[i].data, data + done, part);
		done += part;
		tx_sched_charge(&c->q->sched, &c->flow, part);
		tx_commit(c, &q->slots[i], VSOCK_OP_RW, part,
			  seq_tx_flags((uint32_t)done, (uint32_t)len, flags & ZV_EOR));
	}
	c->flags &= ~CF_WANT_OUT;
	tx_credit_ahead(c, before);
	return (ssize_t)len;
}

ssize_t tx_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	if (len == 0 && c->type == ZV_STREAM) {
		if ((c->flags & CF_MORE) && !(flags & ZV_MORE))
			tx_more_commit(c);
		return 0;
	}
	if (c->pending & (CP_REQUEST | CP_RESPONSE)) /* nothing may overtake them */
		return tx_blocked(c, false, 1);
	return c->type == ZV_STREAM ? send_stream(c, data, len, flags)
				    : send_message(c, data, len, flags);
}

/* ---- zero-copy send ---- */

/*
 * How many of @n more buffers @c may hold unsent: a queue lends at most half of what it has, a
 * connection at most half of what the others leave of that. So whoever comes next finds some, also
 * beside several that never send theirs.
 */
static unsigned may_hold(const struct zv_conn *c, unsigned n)
{
	const struct zv_queue *q = c->q;
	unsigned max = q->tq->ops->tx_max(q->tq) / 2, all = q->tx.app_loans, most;

	if (all >= max)
		return 0;
	most = (max - (all - c->tx_loans) + 1) / 2;
	if (c->tx_loans >= most)
		return 0;
	n = n < max - all ? n : max - all;
	return n < most - c->tx_loans ? n : most - c->tx_loans;
}

/*
 * The open message fills the peer's buffer, or its packets the budget: its reader waits for the
 * end, and nothing will come back before. What is reserved may still end it.
 */
static bool message_full(const struct zv_conn *c)
{
	const struct vsock_credit *cr = &c->credit;

	return c->msg_pkts && !c->tx_loans &&
	       (c->msg_bytes >= cr->peer_buf_alloc ||
		(cr->pkt_limit && c->msg_pkts >= cr->pkt_limit));
}

/* Bytes that the open message, or the next one, may still have. */
static uint32_t message_room(const struct zv_conn *c)
{
	uint32_t most = c->credit.peer_buf_alloc;

	return most > c->msg_bytes ? most - c->msg_bytes : 0;
}

int tx_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len)
{
	struct zv_queue *q = c->q;
	uint32_t left, want, each, turn, pkts;
	unsigned got, used = 0;
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	if (c->pending & (CP_REQUEST | CP_RESPONSE))
		return tx_blocked(c, false, 1);
	if (c->flags & CF_MORE)
		tx_more_commit(c); /* keeps the order of bytes */
	if (message_full(c))
		return zv_err(
			-EMSGSIZE,
			"zv_buf_alloc: the message that zv_buf_send has begun has %u bytes in %u "
			"packets, all that the peer can take before its end",
			c->msg_bytes, c->msg_pkts);
	left = tx_credit_left(c);
	left = left < message_room(c) ? left : message_room(c);
	pkts = credit_tx_packets(&c->credit);
	pkts = pkts > c->tx_loans ? pkts - c->tx_loans : 0;
	if (!left || !pkts)
		return tx_blocked(c, true, 1);
	turn = tx_sched_left(&c->q->sched, &c->flow);
	if (!turn)
		return tx_blocked(c, false, 1);
	want = len < q->max_pkt ? (uint32_t)len : q->max_pkt;
	n = n < ZV_SLOTS ? n : ZV_SLOTS;
	n = n < pkts ? n : pkts;
	/* No more buffers than credit fills: what is left over would have to be cancelled. */
	if ((uint64_t)n * want > left)
		n = (left + want - 1) / want;
	each = want > TX_PKT_CHARGE ? want : TX_PKT_CHARGE;
	if ((uint64_t)n * each > turn)
		n = (turn + each - 1) / each;
	n = may_hold(c, n);
	if (!n)
		return zv_err(-ENOBUFS,
			      "zv_buf_alloc: %u buffers are reserved on the connection, %u on "
			      "the queue, and not sent: send or cancel some",
			      c->tx_loans, q->tx.app_loans);
	got = q->tq->ops->tx_reserve(q->tq, q->slots, n, want, 0);
	if (!got)
		return tx_blocked(c, false, 1);
	for (unsigned i = 0; i < got; i++) {
		struct tx_slot *s = &q->slots[i];
		uint32_t cap = s->capacity < want ? s->capacity : want, cookie = LOAN_NONE;

		cap = cap < left ? cap : left;
		if (cap)
			cookie = loan_tx_get(&q->tx, &(struct tx_loan){.conn_id = c->id,
								       .token = s->token,
								       .capacity = cap,
								       .room = s->capacity});
		if (cookie == LOAN_NONE) {
			q->tq->ops->tx_cancel(q->tq, s->token);
			continue;
		}
		left -= cap;
		c->tx_reserved += cap;
		c->tx_loans++;
		tx_sched_charge(&c->q->sched, &c->flow, cap);
		bufs[used++] = (struct zv_buf){.data = s->data,
					       .len = cap,
					       .capacity = cap,
					       .cookie = cookie,
					       .serial = q->tx.serial};
	}
	if (!used)
		return tx_blocked(c, false, 1);
	c->flags &= ~CF_WANT_OUT;
	return (int)used;
}

/* The record of a buffer goes back; the buffer is the caller's. */
static struct tx_slot take_back(struct zv_conn *c, const struct zv_buf *b, const struct tx_loan *l)
{
	struct tx_slot s = {.data = b->data, .capacity = l->room, .token = l->token};

	c->tx_reserved -= l->capacity;
	c->tx_loans--;
	tx_credit_back(c);
	loan_tx_put(&c->q->tx, b->cookie);
	return s;
}

/* Takes back those of @bufs that are reserved on @c. The first that is not, or @n. */
static unsigned cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	unsigned odd = n;

	for (unsigned i = 0; i < n; i++) {
		const struct tx_loan *l = loan_tx_find(&c->q->tx, c->id, &bufs[i]);

		if (l)
			c->q->tq->ops->tx_cancel(c->q->tq, take_back(c, &bufs[i], l).token);
		else if (odd == n)
			odd = i;
	}
	return odd;
}

void tx_buf_cancel(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	unsigned odd = cancel(c, bufs, n);

	if (odd < n)
		zv_err(-EINVAL,
		       "zv_buf_cancel: buffer %u of %u is not reserved on this connection (sent "
		       "or cancelled before): ignored",
		       odd, n);
}

static uint32_t seq_flags(const struct zv_conn *c, const struct zv_buf *b)
{
	if (c->type != ZV_SEQPACKET || !(b->flags & (ZV_EOM | ZV_EOR)))
		return 0;
	return VSOCK_SEQ_EOM | (b->flags & ZV_EOR ? VSOCK_SEQ_EOR : 0);
}

/* A packet of a message, and the account of that. */
static void send_piece(struct zv_conn *c, const struct tx_slot *s, uint32_t len, uint32_t flags)
{
	tx_commit(c, s, VSOCK_OP_RW, len, flags);
	c->msg_bytes = flags ? 0 : c->msg_bytes + len;
	c->msg_pkts = flags ? 0 : c->msg_pkts + 1;
}

/* 0, or why none of @bufs can be sent. */
static int check_bufs(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	struct zv_queue *q = c->q;
	uint64_t msg = c->msg_bytes;
	int ret = tx_may_send(c);

	for (unsigned i = 0; i < n && ret == 0; i++) {
		const struct tx_loan *l = loan_tx_find(&q->tx, c->id, &bufs[i]);

		if (!l || bufs[i].len > l->capacity)
			ret = zv_err(-EINVAL, "zv_buf_send: buffer %u of %u %s", i, n,
				     l ? "has len above its capacity"
				       : "is not reserved on this connection (sent or cancelled "
					 "before)");
		else if (bufs[i].flags & ~(ZV_EOM | ZV_EOR))
			ret = zv_err(-EINVAL, "zv_buf_send: buffer %u of %u has unknown flags 0x%x",
				     i, n, bufs[i].flags & ~(ZV_EOM | ZV_EOR));
		else if (!bufs[i].len && seq_flags(c, &bufs[i]))
			ret = tx_empty_ok(q, "zv_buf_send");
		if (ret || c->type != ZV_SEQPACKET)
			continue;
		msg += bufs[i].len;
		if (msg > c->credit.peer_buf_alloc)
			ret = zv_err(-EMSGSIZE,
				     "zv_buf_send: message of %llu bytes or more, but the peer "
				     "takes at most %u",
				     (unsigned long long)msg, c->credit.peer_buf_alloc);
		msg = seq_flags(c, &bufs[i]) ? 0 : msg;
	}
	return ret;
}

int tx_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct zv_queue *q = c->q;
	uint32_t before = c->credit.pkt_unread;
	int ret = check_bufs(c, bufs, n);

	if (c->flags & CF_MORE)
		tx_more_commit(c); /* keeps the order of bytes */
	if (ret) {
		(void)cancel(c, bufs, n);
		return ret;
	}
	for (unsigned i = 0; i < n; i++) {
		const struct tx_loan *l = loan_tx_find(&q->tx, c->id, &bufs[i]);
		uint32_t flags = seq_flags(c, &bufs[i]);
		struct tx_slot s;

		if (!l)
			continue; /* the same buffer twice in one call */
		s = take_back(c, &bufs[i], l);
		if (bufs[i].len == 0 && !flags)
			q->tq->ops->tx_cancel(q->tq, s.token);
		else if (c->type == ZV_STREAM)
			send_packet(c, &s, bufs[i].len);
		else
			send_piece(c, &s, bufs[i].len, flags);
	}
	tx_credit_ahead(c, before);
	return (int)n;
}
