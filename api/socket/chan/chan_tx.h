/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending over a channel: ring entries, slots, and the memory of short reserved buffers.
 *
 * Theory of operation
 * -------------------
 * Up to SHM_INLINE_MAX bytes are copied into the ring; longer messages are in slots. zv_buf_send
 * cannot fail for lack of room, so ring entries are promised to each buffer that the application
 * has reserved, and everything else that is sent leaves that many free.
 *
 * Ring entries have to be sent in the order in which they are reserved, but reserved buffers may be
 * sent in any order. So a short reserved buffer is private memory (a *staging buffer* of the
 * queue), which is copied into the ring when it is sent. The copy touches only one cache line,
 * which is probably cached; a slot would cost the peer one more.
 */
#ifndef ZV_CHAN_TX_H
#define ZV_CHAN_TX_H

#include "chan_state.h"
#include "socket/tx/tx_wait.h"

/* Number of ring entries that @len bytes take. */
static inline uint32_t chan_width(size_t len)
{
	return len > SHM_CACHE_LINE ? 2 : 1;
}

/* The slow half of chan_has_entries(). */
bool chan_entries_refresh(struct chan *ch, uint32_t n);

/* True: there are @n free ring entries that are not promised to a reserved buffer. */
static inline bool chan_has_entries(struct chan *ch, uint32_t n)
{
	return __builtin_expect(ch->free_entries >= ch->promised + n, 1) ||
	       chan_entries_refresh(ch, n);
}

/* Copies a short message into the ring. 1; 0: the ring is full; -EPROTO. */
static inline int chan_send_line(struct chan *ch, const void *data, size_t len, uint32_t flags)
{
	struct shm_msg m = {
		.data = (void *)(uintptr_t)data, .len = (uint32_t)len, .flags = (uint8_t)flags};
	int n;

	if (!chan_has_entries(ch, chan_width(len)))
		return shm_channel_error(ch->ch);
	n = shm_channel_send(ch->ch, &m, 1);
	ch->free_entries -= n > 0 ? chan_width(len) : 0;
	return n;
}

/*
 * Allocates up to @max slots for @len bytes in total, large ones first. Returns how many, or
 * -EPROTO; *room: bytes in them. Each also needs a ring entry (chan_has_entries()).
 */
int chan_slots(struct chan *ch, struct shm_msg *msgs, unsigned max, size_t len, size_t *room);

/*
 * Records the room that the caller needs and does not have. @pieces 1: a buffer for any part of
 * @bytes is enough; 0: room for all @bytes. Returns -EAGAIN.
 */
int chan_blocked(struct zv_conn *c, size_t bytes, uint32_t pieces);
bool chan_has_room(const struct zv_conn *c);

/* Counts what was sent. */
static inline void chan_sent(struct zv_conn *c, uint64_t bytes)
{
	c->totals.tx_bytes += bytes;
	stats_add(&c->q->tq->stats.tx_bytes, bytes);
}

/*
 * Reserves up to @n buffers of @len bytes, each with its promised ring entries. Returns how many,
 * or -EPROTO, -ENOMEM.
 */
int chan_reserve(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len);

/* The tables of records; computed once per call. */
struct chan_outs {
	struct chan_out *staging, *slot;
	uint32_t nstaging, slots, chan;
};

static inline struct chan_outs chan_outs(const struct chan *ch)
{
	return (struct chan_outs){.staging = ch->q->chans.staging.out,
				  .slot = ch->out,
				  .nstaging = ch->q->chans.staging.size,
				  .slots = ch->out ? ch->tx_slots : 0,
				  .chan = ch->index};
}

/* The record that the cookie of @b names, or NULL. */
static inline struct chan_out *chan_out_at(const struct chan_outs *r, const struct zv_buf *b)
{
	uint32_t i = b->cookie & ~CHAN_COOKIE;

	if (b->cookie & CHAN_COOKIE)
		return i < r->nstaging ? &r->staging[i] : NULL;
	return i < r->slots ? &r->slot[i] : NULL;
}

/* The record of @b, or NULL if @b is not reserved on that channel. */
static inline struct chan_out *chan_out_find(const struct chan_outs *r, const struct zv_buf *b)
{
	struct chan_out *o = chan_out_at(r, b);

	return o && b->serial && o->serial == b->serial && o->chan == r->chan ? o : NULL;
}

/* The message for the reserved slot @b. */
static inline struct shm_msg chan_slot_msg(const struct zv_buf *b, const struct chan_out *o)
{
	return (struct shm_msg){.data = b->data,
				.len = b->len,
				.kind = SHM_MSG_SLOT,
				.gen = o->gen,
				.id = b->cookie};
}

/* Returns @b unsent and withdraws the promise of its ring entries. */
void chan_out_cancel(struct chan *ch, const struct zv_buf *b, struct chan_out *o);

void chan_tx_init(struct chan *ch, const struct shm_direction *d, bool nested);
void chan_tx_fini(struct chan *ch);
void chan_staging_fini(struct zv_queue *q);

#endif
