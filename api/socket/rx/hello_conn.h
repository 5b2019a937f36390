/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection of each queue pair, which carries HELLO (docs/protocol.md). The guest
 * connects when a session begins and sends HELLO once it is established; the host answers
 * HELLO_ACK. The connection stays open as long as the session.
 *
 * A HELLO or HELLO_ACK that finds no transmit buffer stays due (q->hello.due) and is retried by
 * each poll, for hello_timeout. The host treats the guest as zvsock only once its HELLO_ACK is on
 * its way: anything that relies on a capability then follows that answer, and never precedes it.
 *
 * After HELLO, the connection carries the messages about channels, if both sides use them: grant.c
 * handles what a device sends; what a driver sends waits here, unread, until the application of the
 * device fetches it (hello_next(), broker.c).
 *
 * To add a message: define its format in proto/ctrl_msg.[ch], handle it in grant.c or broker.c.
 */
#ifndef ZV_HELLO_CONN_H
#define ZV_HELLO_CONN_H

#include "socket/core/state.h"

/* A session has begun: the guest sends HELLO on this pair, the host waits for it. */
void hello_start(struct zv_queue *q);
/* To be called at q->peer.retry_at: a peer that has hung up may be back. */
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
/* Sends what waits, if there are buffers now: HELLO or its answer, and the messages of grant.c. */
void hello_flush(struct zv_queue *q);

/* Both sides use channels in this session. */
static inline bool hello_channels(const struct zv_queue *q)
{
	return q->hello.conn && queue_caps(q) & ZV_CAP_CHANNEL &&
	       (q->host ? q->dev->opts.flags & ZV_OPT_BROKER : q->dev->ops->regions != NULL);
}

/* ---- a device with ZV_OPT_BROKER ---- */

/* Sends @m now. 0; -EAGAIN: there is no room; -EOPNOTSUPP: the driver has no channels. */
int hello_send(struct zv_queue *q, const struct ctrl_msg *m);
/*
 * Gets the next message of the driver. 1, or 0: there is none. A bad one ends the control
 * connection.
 */
int hello_next(struct zv_queue *q, struct ctrl_msg *m);

#endif
