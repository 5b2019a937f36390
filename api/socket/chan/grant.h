/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels for the connections of a driver (docs/protocol.md, "Channels"): regions that the device
 * announces, and ends of channels that it grants, on the control connection (hello_conn.c).
 *
 * An announced region is mapped by the device's control thread, and the result is reported to the
 * device. A grant for a connection that this side has requested takes effect at once; a grant for a
 * connection that the device is about to request waits for its REQUEST. The control connection and
 * the connections share the queue pair, so a grant comes before the REQUEST or RESPONSE that it is
 * for.
 *
 * When an end is no longer used, and its application has returned the last buffer, the device is
 * notified (RELEASE), in this session or the next: the memory can then be reused.
 *
 * Messages to the device wait in a list for a transmit buffer. The list is at most as long as there
 * are channels and regions.
 */
#ifndef ZV_GRANT_H
#define ZV_GRANT_H

#include "socket/core/state.h"

#define GRANT_REGIONS_MAX 64u	 /* regions that may be announced per queue */
#define GRANT_OUT_MAX	  16384u /* messages waiting because the device receives none */
#define GRANT_PENDING_MAX 1024u	 /* grants whose connection has not been requested yet */

/* A message to the device. */
struct ctrl_out {
	STAILQ_ENTRY(ctrl_out) link;
	struct ctrl_msg m;
};

/*
 * To be called when the device has answered HELLO and both sides use channels. Lists the ends still
 * held from an earlier session, and offers regions of this side.
 */
void grants_begin(struct zv_queue *q);
/* To be called when the session is over: what was announced in it, and grants without a connection,
 * become invalid. */
void grants_end(struct zv_queue *q);
/*
 * This side's region has been offered, and the device has not learned yet that it can be used.
 * *since: when that began, in ns of zv_now(); a device that does not want it says nothing.
 */
bool grants_offered(const struct zv_queue *q, uint64_t *since);
/* @out, which was the first in q->grants.out, has been sent and removed from the list. */
void grants_sent(struct zv_queue *q, struct ctrl_out *out);
/* The queue is closed, and with it all channels; no more messages are sent. */
void grants_fini(struct zv_queue *q);

/* Handles a message of the device. False: it violates the protocol. */
bool grant_message(struct zv_queue *q, const struct ctrl_msg *m);
/* Checks whether pending regions have been mapped; called by zv_poll while q->grants.mapping is not
 * 0. */
void grants_check(struct zv_queue *q);

/* The grant for a REQUEST of @key, owned by the caller from now on; NULL: none. */
struct grant *grant_take(struct zv_queue *q, const struct conn_key *key, unsigned type);
/* Attaches @c to its channel. 0; -errno: the grant has been released, and the connection must be
 * refused. */
int grant_use(struct grant *g, struct zv_conn *c);
/* Releases a grant whose connection will not be made. */
void grant_give_up(struct grant *g);

#endif
