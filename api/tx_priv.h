/* SPDX-License-Identifier: BSD-3-Clause */
/* What tx.c, send.c and ctrl.c share, and nobody else. */
#ifndef ZV_TX_PRIV_H
#define ZV_TX_PRIV_H

#include "socket.h"

/* Commits a reserved buffer as a packet of @c with @len bytes of payload. */
void tx_commit(struct zv_conn *c, const struct tx_slot *s, unsigned op, uint32_t len,
	       uint32_t flags);
/* Payload bytes that credit allows beyond what is reserved. */
uint32_t tx_credit_left(const struct zv_conn *c);
/* 0, or why the connection cannot send at all. */
int tx_may_send(struct zv_conn *c);
/* Reserved credit has come back unused: who waits for it may go on. */
void tx_credit_back(struct zv_conn *c);
/* After data was sent, with @before packets unread until then: asks for credit when half of the
 * packet budget has just been used. */
void tx_credit_ahead(struct zv_conn *c, uint32_t before);
/* No room: remembers what the connection waits for, @want bytes of credit. Returns -EAGAIN. */
int tx_blocked(struct zv_conn *c, bool on_credit, uint32_t want);
/* Sends the packet that ZV_MORE has kept open. */
void tx_more_commit(struct zv_conn *c);

#endif
