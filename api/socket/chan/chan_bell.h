/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bells: how an end of a channel wakes its peer past the device (shm-ring/bell_page.h;
 * docs/protocol.md, "Bells").
 *
 * Theory of operation
 * -------------------
 * A queue may have a page of bells, which its transport gives it with the first region
 * (transport_region_ops.bells). A grant says which of its bells the peer rings, and in which page
 * which bell wakes the peer. What it takes to ring in another queue's page is asked for when it is
 * needed for the first time, that is, when the peer sleeps: connections that nobody sleeps on cost
 * nothing. Until it is there, where it cannot be had, and while the owner of the page does not hear
 * it, the peer is woken by a packet, so neither side has to know what the other has got.
 *
 * All channels to one page share a ringer, and with it the descriptor and the number that was rung
 * for last: one sleep of the peer costs one system call.
 *
 * What wakes is an eventfd. The owner waits for the event, edge-triggered, and never reads, so
 * nothing that is there can delay it. A ringer that finds it full empties it, without waiting, and
 * writes again, and else sends a packet. Whoever has it can clear its O_NONBLOCK, and let others
 * wait who write: so who gives it away (zvsockd) does that among processes of one user only.
 */
#ifndef ZV_CHAN_BELL_H
#define ZV_CHAN_BELL_H

#include "chan_state.h"

/*
 * The queue's page is @m, which is the queue's from here on, whatever is returned: channels that
 * are attached from now on can be rung for. 0, -EINVAL (the map is not what bells_open() takes),
 * -EALREADY, -ENOMEM, -EMFILE.
 */
int chan_bells_open(struct zv_queue *q, struct bell_map *m);
/* Its session is over. Ringers that are in use remain. */
void chan_bells_close(struct zv_queue *q);

/* @ch is rung for by its bell, if the queue has a page. -EINVAL: the bell is taken, or none. */
int chan_bell_enter(struct chan *ch);
void chan_bell_leave(struct chan *ch);

/* Rings for the peer. False: it has to be woken by a packet. */
bool chan_bell_ring(struct chan *ch);

/* Of zv_poll: bits of one word of bells; see bells_take(). */
static inline bool chan_bells_any(const struct zv_queue *q)
{
	return q->chans.bells && bells_any(&q->chans.bells->owner);
}

/*
 * Before sleeping. True: there are bells. chan_bells_disarm() in any case; it leaves the event,
 * which queue_disarm() takes if a sleep has not. One that comes later wakes once more.
 */
bool chan_bells_arm(struct zv_queue *q);
void chan_bells_disarm(struct zv_queue *q);

#endif
