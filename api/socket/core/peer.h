/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the peer of a session can do, which its HELLO says (hello_conn.c) or its silence. Until it
 * has said HELLO, and for ever when it does not, the queue runs plain virtio-vsock.
 */
#ifndef ZV_PEER_H
#define ZV_PEER_H

#include "state.h"

/* The device, for lines of the log. */
static inline const char *queue_device_name(const struct zv_queue *q)
{
	return q->tq->name ? q->tq->name : q->dev->ops->scheme;
}

/* A new session: nothing is known. */
void peer_reset(struct zv_queue *q);
/* A control connection has begun: HELLO is awaited. */
void peer_expected(struct zv_queue *q);
/* q->peer.hello is the peer's and both sides rely on it from here on. */
void peer_said_hello(struct zv_queue *q);
/* There is no HELLO, or no more; @why is for the log. */
void peer_is_plain(struct zv_queue *q, const char *why);
/* The internal connection @c is over, for c->err. */
void peer_hung_up(const struct zv_conn *c);

#endif
