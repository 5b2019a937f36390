/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels for the connections of a driver (docs/protocol.md, "Channels"): regions that the device
 * announces, and ends of channels that it grants, on the control connection (hello_conn.c).
 *
 * A region is mapped when it is announced, by the device's own thread, and the device is told how
 * that ended. A grant for a connection that this side has asked for takes effect at once; one for
 * a connection that the device is about to ask for waits for its REQUEST. Control connection and
 * connections share the pair, so a grant comes before the REQUEST or RESPONSE that it is for.
 *
 * When an end is not used any more, its application having given back the last buffer, the device
 * is told (RELEASE), in this session or the next: the memory can then be used for something else.
 *
 * What this side has to say waits in a list for a buffer. It is as long as there are channels and
 * regions, at most.
 */
#ifndef ZV_GRANT_H
#define ZV_GRANT_H

#include "socket/core/state.h"

#define GRANT_REGIONS_MAX 64u	 /* announced on a queue */
#define GRANT_OUT_MAX	  16384u /* answers that the device does not take */
#define GRANT_PENDING_MAX 1024u	 /* connections that are granted and not asked for yet */

/* A message to the device. */
struct ctrl_out {
	STAILQ_ENTRY(ctrl_out) link;
	struct ctrl_msg m;
};

/* The device has answered HELLO, and both sides use channels: offers what there is. */
void grants_begin(struct zv_queue *q);
/* The session is over: what was announced and granted in it is void. */
void grants_end(struct zv_queue *q);
/* @out, which was the first of q->grants.out, has been sent, and is off the list. */
void grants_said(struct zv_queue *q, struct ctrl_out *out);
/* No more messages either: the queue is closed, and with it all channels. */
void grants_fini(struct zv_queue *q);

/* What the device says. False: it breaks the rules. */
bool grant_message(struct zv_queue *q, const struct ctrl_msg *m);
/* Looks after regions whose mapping is under way; of zv_poll, while q->grants.mapping. */
void grants_look(struct zv_queue *q);

/* The grant for a REQUEST of @key, which is the caller's from now on; NULL: there is none. */
struct grant *grant_take(struct zv_queue *q, const struct conn_key *key, unsigned type);
/* Gives @c its channel. 0; or -errno: the grant is given up, and the connection must not live. */
int grant_use(struct grant *g, struct zv_conn *c);
/* There will be no such connection. */
void grant_give_up(struct grant *g);

#endif
