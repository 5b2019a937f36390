/* SPDX-License-Identifier: BSD-3-Clause */
#include "tx_data.h"

#include <string.h>

#define PIECES_MAX (CREDIT_TAIL_MAX / CREDIT_SMALL) /* no larger buffer is cut */

/*
 * Sends the payload of @s in pieces that the peer merges (vsock_credit.h): the first stays where it
 * is, the others are copied. False: there are not enough buffers, and nothing has been sent.
 */
bool tx_data_pieces(struct zv_conn *c, const struct tx_slot *s, uint32_t len)
{
	struct zv_queue *q = c->q;
	uint32_t at = CREDIT_SMALL, want = (len - 1) / CREDIT_SMALL, n;
	struct tx_slot more[PIECES_MAX];
	unsigned got;

	if (want > PIECES_MAX)
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

/* ---- ZV_MORE: a packet that is being filled ---- */

void tx_more_commit(struct zv_conn *c)
{
	TAILQ_REMOVE(&c->q->more, c, more.link);
	c->flags &= ~CF_MORE;
	c->tx.reserved -= c->more.max;
	tx_credit_back(c);
	if (c->more.len) {
		tx_data(c, &c->more.slot, c->more.len);
		tx_turn_charge(c, c->more.len);
	} else {
		c->q->tq->ops->tx_cancel(c->q->tq, c->more.slot.token);
	}
}

void tx_more_drop(struct zv_conn *c)
{
	if (!(c->flags & CF_MORE))
		return;
	c->more.len = 0;
	c->sock->more_end(c);
}

void tx_more_flush(struct zv_queue *q)
{
	struct zv_conn *c;

	while ((c = TAILQ_FIRST(&q->more)))
		c->sock->more_end(c);
}

/* Bytes of @data that went into the connection's open packet, opening one if there is none. */
uint32_t tx_more_append(struct zv_conn *c, const uint8_t *data, size_t len)
{
	struct zv_queue *q = c->q;
	uint32_t n;

	if (!(c->flags & CF_MORE)) {
		uint32_t left = tx_credit_left(c);

		if (!left || !tx_turn_left(c) ||
		    !q->tq->ops->tx_reserve(q->tq, &c->more.slot, 1, q->peer.max_pkt, 0))
			return 0;
		c->more.max = c->more.slot.capacity < q->peer.max_pkt ? c->more.slot.capacity
								      : q->peer.max_pkt;
		c->more.max = c->more.max < left ? c->more.max : left;
		c->tx.reserved += c->more.max;
		c->more.len = 0;
		c->flags |= CF_MORE;
		TAILQ_INSERT_TAIL(&q->more, c, more.link);
	}
	n = c->more.max - c->more.len;
	n = len < n ? (uint32_t)len : n;
	memcpy(c->more.slot.data + c->more.len, data, n);
	c->more.len += n;
	if (c->more.len == c->more.max)
		tx_more_commit(c);
	return n;
}
