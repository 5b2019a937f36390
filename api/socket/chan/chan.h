/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a connection's channel: attached, looked at, broken, gone. chan_state.h has the theory.
 */
#ifndef ZV_CHAN_H
#define ZV_CHAN_H

#include "chan_state.h"

/*
 * Puts @c's payload on a channel, which takes effect when it is established: before REQUEST is
 * answered by the peer, or RESPONSE is sent, or at least before any payload. *o is copied, *o->desc
 * too. From here on @c grants no credit. 0 or -errno: as shm_channel_attach(); -EINVAL also: @c has
 * a channel, or a bell is out of range or somebody's; -EBUSY: payload has been sent, received or
 * reserved. After a failure @c is as before, and gone() is not called.
 */
int chan_attach(struct zv_conn *c, const struct chan_opts *o);

/* zv_poll's part: bells, and hot channels. Call it when q->chans.n. */
void chans_poll(struct zv_queue *q);
/* q->chans.look_at has come: looks after what nobody tells this side. */
void chans_tick(struct zv_queue *q);
/* Before sleeping: asks all peers to wake this side. True: do not sleep, there is work. */
bool chans_arm(struct zv_queue *q);
void chans_fini(struct zv_queue *q);

/* ---- for the verbs of types ---- */

/* There is, or will soon be, traffic: zv_poll looks at it from here on. */
void chan_heat(struct chan *ch);
/*
 * The peer has broken the channel (-EPROTO), what it sent cannot be held (-ENOMEM), or it has lost
 * its session (-ECONNRESET): resets the connection.
 * Returns what a call returns, -ECONNRESET. @ch may be freed.
 */
int chan_broken(struct chan *ch, int err) __attribute__((cold));
/* After a call has read something. */
void chan_was_read(struct chan *ch);
/* Some loans are back; the last one of a connection that is gone ends the channel. */
void chan_loans_back(struct chan *ch);
/* The channel whose number a received buffer's cookie says; NULL: none. */
static inline struct chan *chan_of(const struct zv_queue *q, uint32_t cookie)
{
	uint32_t i = cookie & ~CHAN_COOKIE;

	return cookie & CHAN_COOKIE && i < q->chans.size ? q->chans.tab[i] : NULL;
}

extern const struct sock_path chan_path;

#endif
