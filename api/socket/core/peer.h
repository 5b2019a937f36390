/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities of the peer of a session, known from its HELLO (hello_conn.c) or the lack of one.
 * Until the peer has sent HELLO, and for good when it does not, the queue runs plain virtio-vsock.
 */
#ifndef ZV_PEER_H
#define ZV_PEER_H

#include "state.h"

/* Name of the device for log messages. */
static inline const char *queue_device_name(const struct zv_queue *q)
{
	return q->tq->name ? q->tq->name : q->dev->ops->scheme;
}

/* A new session begins: nothing is known of the peer. */
void peer_reset(struct zv_queue *q);
/* A control connection has begun: HELLO is awaited, by the host once a session. */
void peer_expected(struct zv_queue *q);
/* q->peer.hello has been received: both sides rely on it from here on. */
void peer_on_hello(struct zv_queue *q);
/* The peer sends no HELLO, or has withdrawn it; @why is for the log. */
void peer_is_plain(struct zv_queue *q, const char *why);
/* Tells who serves the device (ZV_OPT_BROKER), and may wait for HELLO. */
void peer_has_no_channels(struct zv_queue *q);
/* The internal connection @c has ended with c->err. */
void peer_hung_up(const struct zv_conn *c);

#endif
