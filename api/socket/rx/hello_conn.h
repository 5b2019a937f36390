/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection of each pair, which carries HELLO (docs/protocol.md). The guest connects
 * when a session begins and sends HELLO once it is established; the host answers HELLO_ACK. The
 * connection stays open while the session lives; it ends with it.
 *
 * A HELLO or answer that finds no transmit buffer is due (q->hello.due) and tried again by each
 * poll, for hello_timeout. The host counts the guest as zvsock only once its answer is on its way:
 * what relies on a capability then comes behind that answer, never before it.
 *
 * After HELLO, the connection carries what the two sides say about channels, if both use them: what
 * a device says is for the driver's grant.c, what a driver says waits here, unread, for the
 * application of the device to fetch it (hello_next(), broker.c).
 *
 * A new message: its form in proto/ctrl_msg.[ch], what it asks for in grant.c or broker.c.
 */
#ifndef ZV_HELLO_CONN_H
#define ZV_HELLO_CONN_H

#include "socket/core/state.h"

/* A session has begun: the guest says hello on this pair, the host waits for it. */
void hello_start(struct zv_queue *q);
/* q->peer.again_at has come: a peer that has hung up may be back. */
void hello_again(struct zv_queue *q);
/* Host: a REQUEST for ZV_CTRL_PORT. False: refused, by RST. */
bool hello_accept(struct zv_queue *q, const struct vsock_hdr *h);
void hello_established(struct zv_conn *c);
void hello_data(struct zv_conn *c);
/* Something waits for a buffer. */
static inline bool hello_waits(const struct zv_queue *q)
{
	return q->hello.due || !STAILQ_EMPTY(&q->grants.out);
}
/* Sends what waits, if there are buffers by now: HELLO or its answer, what grant.c has to say. */
void hello_flush(struct zv_queue *q);

/* Both sides use channels in this session. */
static inline bool hello_channels(const struct zv_queue *q)
{
	return q->hello.conn && queue_caps(q) & ZV_CAP_CHANNEL &&
	       (q->host ? q->dev->opts.flags & ZV_OPT_BROKER : q->dev->ops->regions != NULL);
}

/* ---- a device with ZV_OPT_BROKER ---- */

/* Sends @m now. 0; -EAGAIN: there is no room; -EOPNOTSUPP: the driver has no channels. */
int hello_say(struct zv_queue *q, const struct ctrl_msg *m);
/* The next message of the driver. 1, or 0: there is none. A bad one ends the control connection. */
int hello_next(struct zv_queue *q, struct ctrl_msg *m);

#endif
