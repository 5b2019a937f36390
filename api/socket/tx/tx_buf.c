/* SPDX-License-Identifier: BSD-3-Clause */
#include "tx_buf.h"

#include "tx_data.h"

#include <errno.h>
#include <stdlib.h>

/* A new connection may have a FIRST_SHARE of the buffers that may be lent, or FIRST_LEAST. */
#define FIRST_SHARE 8u
#define FIRST_LEAST 8u

/* Makes more records. False: no memory. */
static __attribute__((noinline)) bool tx_loans_grow(struct tx_loans *t)
{
	uint32_t size = t->size ? t->size * 2 : 64;
	struct tx_loan *l = realloc(t->l, (size_t)size * sizeof(*l));

	if (!l)
		return false;
	t->l = l;
	for (uint32_t i = t->size; i < size; i++) {
		l[i].next = i + 1 < size ? i + 1 : LOAN_NONE;
		l[i].serial = 0;
	}
	t->free = t->size;
	t->size = size;
	return true;
}

/*
 * Makes a record for a reserved buffer, with the serial t->serial; the caller fills in the rest.
 * NULL: no memory.
 */
static struct tx_loan *tx_loan_get(struct tx_loans *t)
{
	struct tx_loan *l;

	if (__builtin_expect(t->free == LOAN_NONE, 0) && !tx_loans_grow(t))
		return NULL;
	l = &t->l[t->free];
	t->free = l->next;
	l->serial = ++t->serial;
	l->next = LOAN_NONE;
	t->app_loans++;
	return l;
}

/*
 * How many of @n more buffers @c may hold unsent: a queue lends at most half of its buffers, and a
 * connection gets at most half of what the others leave of that. So the next connection always
 * finds some, even beside several that never send theirs. As with received buffers (rx_loan.h), a
 * connection begins with an eighth of what the queue lends, 8 in a small ring, and gets as many
 * more as it has given back. So one that never sends any holds a sixteenth of the ring.
 */
static unsigned may_hold(const struct zv_conn *c, unsigned n)
{
	const struct zv_queue *q = c->q;
	unsigned max = q->tq->ops->tx_max(q->tq) / 2, all = q->tx.app_loans, most, first;

	if (all >= max)
		return 0;
	most = (max - (all - c->tx.loans) + 1) / 2;
	first = max / FIRST_SHARE > FIRST_LEAST ? max / FIRST_SHARE : FIRST_LEAST;
	if (first < most && c->tx.returned < most - first)
		most = first + c->tx.returned;
	if (c->tx.loans >= most)
		return 0;
	n = n < max - all ? n : max - all;
	return n < most - c->tx.loans ? n : most - c->tx.loans;
}

/*
 * The open message fills the peer's buffer, or its packets the budget: its reader waits for the
 * end, so no credit comes back before. Buffers already reserved may still end it.
 */
static bool message_full(const struct zv_conn *c)
{
	const struct vsock_credit *cr = &c->credit;

	return c->tx.msg_pkts && !c->tx.loans &&
	       (c->tx.msg_bytes >= cr->peer_buf_alloc ||
		(cr->pkt_limit && c->tx.msg_pkts >= cr->pkt_limit));
}

/* Bytes that the open message, or else the next one, may still have. */
static uint32_t message_left(const struct zv_conn *c)
{
	uint32_t most = c->credit.peer_buf_alloc;

	return most > c->tx.msg_bytes ? most - c->tx.msg_bytes : 0;
}

/*
 * How many of @n buffers of @want bytes @c may have: as many as @left bytes and @pkts packets of
 * credit can fill, because the rest would have to be cancelled, and as its turn and may_hold()
 * allow. None of these is 0.
 */
static unsigned may_reserve(const struct zv_conn *c, unsigned n, uint32_t want, uint32_t left,
			    uint32_t pkts, uint32_t turn)
{
	uint32_t each = want > TX_PKT_CHARGE ? want : TX_PKT_CHARGE;

	n = n < ZV_SLOTS ? n : ZV_SLOTS;
	n = n < pkts ? n : pkts;
	if ((uint64_t)n * want > left)
		n = (left + want - 1) / want;
	if ((uint64_t)n * each > turn)
		n = (turn + each - 1) / each;
	return may_hold(c, n);
}

int tx_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len)
{
	struct zv_queue *q = c->q;
	uint32_t left, want, turn, pkts;
	unsigned got, used = 0;
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	if (tx_behind_ctrl(c))
		return tx_blocked_on_buffers(c, 1, 1);
	tx_more_end(c); /* keeps the order of bytes */
	if (message_full(c))
		return zv_err(
			-EMSGSIZE,
			"zv_buf_alloc: the message that zv_buf_send has begun has %u bytes in %u "
			"packets, all that the peer can take before its end",
			c->tx.msg_bytes, c->tx.msg_pkts);
	left = tx_credit_left(c);
	left = left < message_left(c) ? left : message_left(c);
	pkts = credit_tx_packets(&c->credit);
	pkts = pkts > c->tx.loans ? pkts - c->tx.loans : 0;
	if (!left || !pkts)
		return tx_blocked_on_credit(c, 1, 1);
	turn = tx_turn_left(c);
	if (!turn)
		return tx_blocked_on_buffers(c, 1, 1);
	want = len < q->peer.max_pkt ? (uint32_t)len : q->peer.max_pkt;
	if (n > 1 || q->tx.app_loans) /* a single one may always be reserved */
		n = may_reserve(c, n, want, left, pkts, turn);
	if (!n)
		return zv_err(-ENOBUFS,
			      "zv_buf_alloc: %u buffers are reserved on the connection, %u on "
			      "the queue, and not sent: send or cancel some",
			      c->tx.loans, q->tx.app_loans);
	got = q->tq->ops->tx_reserve(q->tq, q->slots, n, want, 0);
	if (!got)
		return tx_blocked_on_buffers(c, 1, 1);
	for (unsigned i = 0; i < got; i++) {
		struct tx_slot *s = &q->slots[i];
		uint32_t cap = s->capacity < want ? s->capacity : want;
		struct tx_loan *l;

		cap = cap < left ? cap : left;
		l = cap ? tx_loan_get(&q->tx) : NULL;
		if (__builtin_expect(!l, 0)) {
			q->tq->ops->tx_cancel(q->tq, s->token);
			continue;
		}
		l->conn_id = c->id;
		l->token = s->token;
		l->capacity = cap;
		l->room = s->capacity;
		left -= cap;
		c->tx.reserved += cap;
		c->tx.loans++;
		tx_turn_charge(c, cap);
		bufs[used++] = (struct zv_buf){.data = s->data,
					       .len = cap,
					       .capacity = cap,
					       .cookie = (uint32_t)(l - q->tx.l),
					       .serial = q->tx.serial};
	}
	if (!used)
		return tx_blocked_on_buffers(c, 1, 1);
	c->flags &= ~CF_WANT_OUT;
	return (int)used;
}

unsigned tx_buf_cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	unsigned odd = n;

	for (unsigned i = 0; i < n; i++) {
		struct tx_loan *l = tx_buf_find(c, &bufs[i]);

		if (l)
			c->q->tq->ops->tx_cancel(c->q->tq, tx_buf_take(c, &bufs[i], l).token);
		else if (odd == n)
			odd = i;
	}
	return odd;
}

int tx_buf_bad(const struct zv_buf *b, const struct tx_loan *l, unsigned i, unsigned n)
{
	if (!l || b->len > l->capacity)
		return zv_err(-EINVAL, "zv_buf_send: buffer %u of %u %s", i, n,
			      l ? "has len above its capacity"
				: "is not reserved on this connection (sent or cancelled before)");
	return zv_err(-EINVAL, "zv_buf_send: buffer %u of %u has unknown flags 0x%x", i, n,
		      b->flags & ~(ZV_EOM | ZV_EOR));
}

void tx_buf_fini(struct zv_queue *q)
{
	free(q->tx.l);
}
