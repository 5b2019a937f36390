/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit of a connection as its queue sees it: what it may send beyond what is reserved, what the
 * peer is told and when, and how much it is promised of the device's memory. The arithmetic is in
 * proto/vsock_credit.h.
 */
#ifndef ZV_CREDIT_H
#define ZV_CREDIT_H

#include "state.h"

#define ZV_RX_SHARE 64u /* of the receive memory that is left, for one connection */

/* ---- towards the peer ---- */

/* Payload bytes that credit allows beyond what is reserved. */
static inline uint32_t tx_credit_left(const struct zv_conn *c)
{
	uint32_t bytes = credit_tx_bytes(&c->credit);

	if (credit_tx_packets(&c->credit) <= c->tx.loans)
		return 0;
	return bytes > c->tx.reserved ? bytes - c->tx.reserved : 0;
}

/* Payload bytes that credit lets @c send now; 0 when it cannot send at all. */
uint32_t tx_credit_now(const struct zv_conn *c);
/* The credit that the last blocked call of @c needs is there. */
bool tx_has_credit(const struct zv_conn *c);

/*
 * The peer of @c, if it is a stock one, joins small packets of a stream in its queue: it is a
 * guest, whose kernel has posted buffers and keeps what is left of them. A host kernel's have no
 * such room.
 */
static inline bool tx_joins(const struct zv_conn *c)
{
	return c->q->host && !c->sock->framed;
}

/* Sets the budget of unread packets that the peer calls for (vsock_credit.h). */
void conn_pkt_budget(struct zv_conn *c);
/*
 * What the peer can do has changed: so has what its connections may have unread. A guest may say
 * HELLO, or hang up, as often as it likes, so the polls to come go through the table, piece by
 * piece: a table of usual size in the next one.
 */
void queue_budgets_begin(struct zv_queue *q);
void queue_budgets_some(struct zv_queue *q);

/* ---- from the peer ---- */

/*
 * Receive credit for a new connection, out of what the queue has left (zv_opts.rx_memory). What it
 * can cost is promised with it: bytes, and the entry of each message of a SEQPACKET (rx_loan.c
 * bounds these).
 */
uint32_t rx_promise(struct zv_conn *c);
void rx_promise_back(struct zv_conn *c);

/* The peer is told of consumed bytes a moment from now, unless a packet does before. */
void credit_update_later(struct zv_conn *c);
void credit_update_cancel(struct zv_conn *c);
/* The next connection whose moment has come at q->clock.now, off the list; NULL: none. */
struct zv_conn *credit_update_next(struct zv_queue *q);

#endif
