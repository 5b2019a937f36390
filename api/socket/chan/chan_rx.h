/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Received messages of a channel: out of the ring, to the application, and back.
 *
 * What is given back is seen by a peer that polls. Waking one that sleeps costs a full barrier
 * (barrier pair [D]), so it is told at the end of a burst: after CHAN_TELL messages, or by the next
 * call that sends, finds nothing to receive, or arms the queue, or polls it and finds nothing new;
 * of a slot by any poll. A channel whose peer has to be told, `tell`, is hot.
 */
#ifndef ZV_CHAN_RX_H
#define ZV_CHAN_RX_H

#include "chan_state.h"
#include "socket/conn/rx_loan.h"

/* The region is lost; use chan_copied() behind a copy. */
static inline bool chan_is_cut(const struct chan *ch)
{
	return __builtin_expect(shm_load32(ch->cut) != 0, 0);
}

/* Behind a copy to @dst: it is the peer's, not of a region that was lost meanwhile. */
static inline bool chan_copied(const struct chan *ch, const void *dst)
{
	rx_copied(dst);
	return !chan_is_cut(ch);
}

/* Messages wait for the application. */
static inline bool chan_fifo_empty(const struct chan *ch)
{
	return ch->head == ch->tail;
}

/*
 * Takes what is in the ring, as much as the fifo has room for. 1: something has come, data or the
 * end; 0: nothing; -EPROTO, -ENOMEM, -ECONNRESET (CHAN_CUT): the connection has to be reset.
 */
int chan_pull(struct chan *ch);
/* Takes all that was in the ring at the time of the call. 0, or -errno as above. */
int chan_pull_all(struct chan *ch);

/* Tells the peer of what was released. */
static inline void chan_tell(struct chan *ch)
{
	ch->tell = 0;
	(void)shm_channel_notify(ch->ch);
}

/* The first @n messages of the fifo are read: @bytes of payload. */
void chan_read(struct chan *ch, unsigned n, uint64_t bytes);
/* Lends the first message of the fifo to the application. */
void chan_lend(struct chan *ch, struct zv_buf *b);
/* Takes loans of @ch back, up to the first one that is none. How many. */
unsigned chan_take_back(struct chan *ch, const struct zv_buf *bufs, unsigned n);
/* Drops what waits. */
void chan_rx_drop(struct zv_conn *c);

/* Makes the receiving part. 0 or -ENOMEM. */
int chan_rx_init(struct chan *ch, const struct shm_direction *d);
void chan_rx_fini(struct chan *ch);

#endif
