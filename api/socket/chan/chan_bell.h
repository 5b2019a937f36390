/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bells: how an end of a channel wakes its peer without the device (shm-ring/bell_page.h;
 * docs/protocol.md, "Bells").
 *
 * Theory of operation
 * -------------------
 * A queue may have a page of bells, which its transport provides with the first region
 * (transport_region_ops.bells). A grant tells which bell of that page the peer rings, and which
 * bell in which page wakes the peer. Access to another queue's page is requested the first time it
 * is needed, that is, when the peer sleeps; connections whose ends never sleep do not need it.
 * While the request is pending or access is unavailable, and while the owner of the page does not
 * listen, the peer is woken by a packet. So neither side has to know what the other one supports.
 *
 * All channels to one page share a ringer, and with it the descriptor and the number of the sleep
 * that was last rung for: one sleep of the peer costs one system call.
 *
 * The wake-up is an eventfd. The owner waits for it edge-triggered and never reads it, so that
 * nothing in it can block the owner. A ringer that finds its counter full reads it without blocking
 * and writes again; if that fails, it sends a packet. Anyone who has the eventfd can clear its
 * O_NONBLOCK and so block those who write to it; therefore zvsockd hands it out only among
 * processes of one user.
 */
#ifndef ZV_CHAN_BELL_H
#define ZV_CHAN_BELL_H

#include "chan_state.h"

/*
 * Makes @m the queue's page and takes ownership of it, whatever is returned: channels attached from
 * now on can be woken by bells. 0, -EINVAL (bells_open() refuses the map), -EALREADY, -ENOMEM,
 * -EMFILE.
 */
int chan_bells_open(struct zv_queue *q, struct bell_map *m);
/* To be called when the session is over. Ringers in use remain. */
void chan_bells_close(struct zv_queue *q);

/*
 * Assigns its bell to @ch, if the queue has a page. -EINVAL: the bell is in use or does not exist.
 */
int chan_bell_enter(struct chan *ch);
void chan_bell_leave(struct chan *ch);

/* Rings the peer's bell. False: the peer has to be woken by a packet. */
bool chan_bell_ring(struct chan *ch);

/* Some bell may have been rung; see bells_any(). */
static inline bool chan_bells_any(const struct zv_queue *q)
{
	return q->chans.bells && bells_any(&q->chans.bells->owner);
}

/*
 * To be called before sleeping. True: bells have been rung already. Call chan_bells_disarm() in any
 * case. It leaves a pending event in place, which queue_disarm() takes if the sleep has not. An
 * event that comes later causes one more wake-up.
 */
bool chan_bells_arm(struct zv_queue *q);
void chan_bells_disarm(struct zv_queue *q);

#endif
