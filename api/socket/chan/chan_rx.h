/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Received messages of a channel: from the ring to the application, and back.
 *
 * A polling peer sees by itself what was released. Waking a sleeping one costs a full barrier
 * (barrier pair [D]), so the peer is notified at the end of a burst: after CHAN_NOTIFY_MSGS
 * messages, or by the next call that sends, finds nothing to receive, arms the queue, or polls it
 * and finds nothing new; after a slot was released, by any poll. A channel whose peer still has to
 * be notified (`unnotified`) stays active.
 */
#ifndef ZV_CHAN_RX_H
#define ZV_CHAN_RX_H

#include "chan_state.h"
#include "socket/conn/rx_loan.h"

/* The region is lost. After copying from it, call chan_copied() instead. */
static inline bool chan_is_truncated(const struct chan *ch)
{
	return __builtin_expect(shm_load32(ch->truncated) != 0, 0);
}

/*
 * To be called after a copy to @dst. True: the data is the peer's, because the region was not lost
 * before the end of the copy.
 */
static inline bool chan_copied(const struct chan *ch, const void *dst)
{
	rx_copied(dst);
	return !chan_is_truncated(ch);
}

/* No message waits for the application. */
static inline bool chan_fifo_empty(const struct chan *ch)
{
	return ch->head == ch->tail;
}

/*
 * Moves messages from the ring to the fifo, as many as fit. 1: something has arrived, data or the
 * end; 0: nothing; -EPROTO, -ENOMEM, -ECONNRESET (CHAN_ABORT): the connection has to be reset.
 */
int chan_pull(struct chan *ch);
/* Moves all that was in the ring at the time of the call. 0, or -errno as above. */
int chan_pull_all(struct chan *ch);

/* Notifies the peer of what was released. */
static inline void chan_notify(struct chan *ch)
{
	ch->unnotified = 0;
	(void)shm_channel_notify(ch->ch);
}

/* Releases the first @n messages of the fifo, which were read and had @bytes of payload. */
void chan_read(struct chan *ch, unsigned n, uint64_t bytes);
/* Prepares for chan_lend(), once; channels whose application copies do not need that memory. False:
 * no memory. */
bool chan_lends(struct chan *ch);
static inline bool chan_may_lend(struct chan *ch)
{
	return __builtin_expect(ch->slot_lent != NULL, 1) || chan_lends(ch);
}
/* Lends the first message of the fifo to the application; after chan_may_lend(). */
void chan_lend(struct chan *ch, struct zv_buf *b);
/* Takes back loans of @ch, up to the first buffer that is not on loan from it. Returns how many. */
unsigned chan_take_back(struct chan *ch, const struct zv_buf *bufs, unsigned n);
/* Releases everything in the fifo. */
void chan_rx_drop(struct zv_conn *c);

/* Sets up the receiving part. 0 or -ENOMEM. */
int chan_rx_init(struct chan *ch, const struct shm_direction *d);
void chan_rx_fini(struct chan *ch);

#endif
