/* SPDX-License-Identifier: BSD-3-Clause */
/* Life cycle of a connection's channel. Theory of operation: chan_state.h. */
#ifndef ZV_CHAN_H
#define ZV_CHAN_H

#include "chan_state.h"

/*
 * Moves @c's payload to a channel once @c is established. Call it before the peer answers REQUEST
 * or before RESPONSE is sent, or at least before any payload. *o and *o->desc are copied. From here
 * on @c grants no credit. 0 or -errno: as shm_channel_attach(); also -EINVAL: @c has a channel, or
 * a bell is out of range or in use; -EBUSY: payload has been sent, received or reserved. After a
 * failure @c is unchanged, and gone() is not called.
 */
int chan_attach(struct zv_conn *c, const struct chan_opts *o);

/* Part of zv_poll: serves bells and active channels. Call it when q->chans.n is not 0. */
void chans_poll(struct zv_queue *q);
/* To be called at q->chans.next_tick: checks for changes that no peer reports. */
void chans_tick(struct zv_queue *q);
/*
 * To be called before sleeping: asks all peers to wake this side. True: there is work, do not
 * sleep.
 */
bool chans_arm(struct zv_queue *q);
void chans_fini(struct zv_queue *q);

/* ---- for the socket types ---- */

/* Makes @ch active, because there is or will soon be traffic: zv_poll checks it from here on. */
void chan_activate(struct chan *ch);
/*
 * Resets the connection because the peer has broken the channel (-EPROTO), what it sent cannot be
 * held (-ENOMEM), or its session is over (-ECONNRESET). Returns -ECONNRESET for the caller to
 * return. @ch may be freed.
 */
int chan_broken(struct chan *ch, int err) __attribute__((cold));
/* To be called after a call of the application has read something. */
void chan_was_read(struct chan *ch);
/* To be called when loans have been returned; the last loan of a closed connection ends the
 * channel. */
void chan_loans_back(struct chan *ch);
/* The channel named by the cookie of a received buffer, or NULL. */
static inline struct chan *chan_of(const struct zv_queue *q, uint32_t cookie)
{
	uint32_t i = cookie & ~CHAN_COOKIE;

	return cookie & CHAN_COOKIE && i < q->chans.size ? q->chans.tab[i] : NULL;
}

extern const struct sock_path chan_path;

#endif
