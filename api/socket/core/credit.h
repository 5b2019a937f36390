/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit of a connection as its queue sees it: what it may send beyond what is reserved, what the
 * peer is told and when, and how much receive memory is promised to it. The arithmetic is in
 * proto/vsock/vsock_credit.h.
 */
#ifndef ZV_CREDIT_H
#define ZV_CREDIT_H

#include "state.h"

#define ZV_RX_SHARE 64u /* one connection gets at most 1/64 of the receive memory left */

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
 * The peer of @c, if it is not zvsock, merges small packets of a stream in its queue. That holds
 * for a guest, whose kernel keeps the unused room of the buffers it posted; a host kernel has no
 * such room.
 */
static inline bool tx_joins(const struct zv_conn *c)
{
	return c->q->host && !c->sock->framed;
}

/* Sets the budget of unread packets that suits the peer (vsock_credit.h). */
void conn_pkt_budget(struct zv_conn *c);
/*
 * To be called when the peer's capabilities have changed, and with them the packet budgets of its
 * connections. A guest may send HELLO, or hang up, as often as it likes, so the next polls go
 * through the table in parts; a table of usual size takes one poll.
 */
void queue_budgets_begin(struct zv_queue *q);
void queue_budgets_some(struct zv_queue *q);

/* ---- from the peer ---- */

/*
 * Receive credit for a new connection, out of what the queue has left (zv_opts.rx_memory). This
 * promises all the memory that the connection can cost: the bytes, and an entry for each message of
 * a SEQPACKET (rx_loan.c bounds these).
 */
uint32_t rx_promise(struct zv_conn *c);
void rx_promise_back(struct zv_conn *c);

/* Sends a CREDIT_UPDATE a moment from now, unless another packet tells the peer before. */
void credit_update_later(struct zv_conn *c);
void credit_update_cancel(struct zv_conn *c);
/* The next connection whose update is due at q->clock.now, taken off the list; NULL: none. */
struct zv_conn *credit_update_next(struct zv_queue *q);

#endif
