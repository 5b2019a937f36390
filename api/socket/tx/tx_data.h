/* SPDX-License-Identifier: BSD-3-Clause */
/* Data packets: those of a stream, and the packet that ZV_MORE keeps open. */
#ifndef ZV_TX_DATA_H
#define ZV_TX_DATA_H

#include "tx.h"
#include "tx_wait.h"

/*
 * Sends the payload of @s in pieces that the peer merges. False: too few buffers, nothing is sent.
 */
bool tx_data_pieces(struct zv_conn *c, const struct tx_slot *s, uint32_t len)
	__attribute__((noinline, cold));

/* Sends @len bytes of payload of a stream, which are in @s. */
static inline void tx_data(struct zv_conn *c, const struct tx_slot *s, uint32_t len)
{
	if (__builtin_expect(c->credit.pkt_limit != 0, 0)) {
		uint32_t cap = tx_joins(c) ? s->capacity : 0;

		if (credit_tx_pkt_len(&c->credit, len, cap, c->tx.loans) < len &&
		    tx_data_pieces(c, s, len))
			return;
	}
	tx_commit(c, s, VSOCK_OP_RW, len, 0);
}

/*
 * Appends @data to the connection's open packet, opening one if there is none. Returns how many
 * bytes.
 */
uint32_t tx_more_append(struct zv_conn *c, const uint8_t *data, size_t len);
/* Sends the packet that is open. */
void tx_more_commit(struct zv_conn *c);
/* Sends the open packet, if any, so that what comes next stays behind it. */
static inline void tx_more_end(struct zv_conn *c)
{
	if (c->flags & CF_MORE)
		c->sock->more_end(c);
}
/* Drops the open packet. */
void tx_more_drop(struct zv_conn *c);
/* Sends all open packets of a queue. */
void tx_more_flush(struct zv_queue *q);

#endif
