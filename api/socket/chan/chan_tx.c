/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGING_BUFS 64u /* per slab */

void chan_tx_init(struct chan *ch, const struct shm_direction *d, bool nested)
{
	uint32_t entries = d->entries / 2 < CHAN_PIECES ? d->entries / 2 : CHAN_PIECES;
	/* Nested slots: the smallest class covers all memory. */
	uint64_t left = nested ? (uint64_t)d->cls[0].slots * d->cls[0].slot_size : UINT64_MAX;

	ch->classes = d->classes;
	ch->room = shm_channel_room(ch->ch);
	ch->free_entries = ch->all_entries = shm_channel_free_entries(ch->ch, UINT32_MAX);
	/* The longest message may fill all slots, up to CHAN_PIECES of them and half of the ring
	 * entries. */
	for (uint32_t i = d->classes; i--;) {
		uint32_t n = d->cls[i].slots < entries ? d->cls[i].slots : entries;

		ch->slot_size[i] = d->cls[i].slot_size;
		if (n > left / ch->slot_size[i])
			n = (uint32_t)(left / ch->slot_size[i]);
		ch->max_msg += (uint64_t)n * ch->slot_size[i];
		left -= (uint64_t)n * ch->slot_size[i];
		entries -= n;
		ch->tx_slots += d->cls[i].slots;
	}
	if (ch->max_msg < SHM_INLINE_MAX)
		ch->max_msg = SHM_INLINE_MAX;
}

void chan_tx_fini(struct chan *ch)
{
	free(ch->out);
}

/* ---- room ---- */

bool chan_entries_refresh(struct chan *ch, uint32_t n)
{
	ch->free_entries = shm_channel_free_entries(ch->ch, ch->promised + n);
	return ch->free_entries >= ch->promised + n;
}

/* The next smaller slot size, after the one for messages of @len bytes; 0: none. */
static uint32_t smaller_slots(const struct chan *ch, size_t len)
{
	uint32_t i = 0;

	while (i + 1 < ch->classes && ch->slot_size[i] < len)
		i++;
	return i ? ch->slot_size[i - 1] : 0;
}

int chan_slots(struct chan *ch, struct shm_msg *msgs, unsigned max, size_t len, size_t *room)
{
	size_t most = UINT32_MAX, want;
	unsigned n = 0;
	int got;

	*room = 0;
	while (n < max && *room < len) {
		want = len - *room < most ? len - *room : most;
		got = shm_channel_alloc(ch->ch, msgs + n, 1, (uint32_t)want);
		if (got < 0)
			return got;
		if (got) {
			*room += msgs[n++].room;
			continue;
		}
		most = smaller_slots(ch, want);
		if (!most)
			break;
	}
	return (int)n;
}

int chan_blocked(struct zv_conn *c, size_t bytes, uint32_t pieces)
{
	c->flags |= CF_WANT_OUT;
	c->blocked = (struct conn_blocked){
		.bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX, .pkts = pieces};
	c->chan->room_reported = false;
	stats_add(&c->q->tq->stats.tx_no_buffer, 1);
	return -EAGAIN;
}

bool chan_has_room(const struct zv_conn *c)
{
	struct chan *ch = c->chan;
	struct shm_msg m[CHAN_PIECES];
	uint32_t bytes = c->blocked.bytes;
	size_t room;
	int n;

	if (ch->over)
		return true; /* the next call returns the reason */
	if (!ch->classes || bytes <= SHM_INLINE_MAX)
		return chan_has_entries(ch, chan_width(ch->classes ? bytes : 1));
	n = chan_slots(ch, m, c->blocked.pkts ? 1 : CHAN_PIECES, bytes, &room);
	if (n <= 0)
		return false;
	(void)shm_channel_cancel(ch->ch, m, (unsigned)n);
	return (c->blocked.pkts || room >= bytes) && chan_has_entries(ch, (uint32_t)n);
}

/* ---- reserved buffers ---- */

static uint8_t *staging_at(const struct zv_queue *q, uint32_t i)
{
	return q->chans.staging.slab[i / STAGING_BUFS] +
	       (size_t)(i % STAGING_BUFS) * SHM_INLINE_MAX;
}

/* Adds a slab of staging buffers. */
static bool staging_grow(struct zv_queue *q)
{
	uint32_t size = q->chans.staging.size + STAGING_BUFS;
	uint8_t **slab =
		realloc((void *)q->chans.staging.slab, size / STAGING_BUFS * sizeof(*slab));
	struct chan_out *out;
	uint32_t *ids;

	if (!slab)
		return false;
	q->chans.staging.slab = slab;
	ids = realloc(q->chans.staging.free, size * sizeof(*ids));
	if (!ids)
		return false;
	q->chans.staging.free = ids;
	out = realloc(q->chans.staging.out, size * sizeof(*out));
	if (!out)
		return false;
	q->chans.staging.out = out;
	slab += size / STAGING_BUFS - 1;
	*slab = aligned_alloc(SHM_CACHE_LINE, STAGING_BUFS * SHM_INLINE_MAX);
	if (!*slab)
		return false;
	memset(out + q->chans.staging.size, 0, STAGING_BUFS * sizeof(*out));
	while (q->chans.staging.size < size)
		ids[q->chans.staging.nfree++] = q->chans.staging.size++;
	return true;
}

void chan_staging_fini(struct zv_queue *q)
{
	for (uint32_t i = 0; i < q->chans.staging.size; i += STAGING_BUFS)
		free(q->chans.staging.slab[i / STAGING_BUFS]);
	free((void *)q->chans.staging.slab);
	free(q->chans.staging.out);
	free(q->chans.staging.free);
}

/* Hands out *b, with the record @o, whose capacity and width are set. */
static inline void lend(struct chan *ch, struct zv_buf *b, void *data, uint32_t cookie,
			struct chan_out *o)
{
	struct zv_queue *q = ch->q;

	o->serial = ++q->tx.serial;
	o->chan = ch->index;
	ch->promised += o->width;
	ch->c->tx.loans++;
	q->tx.app_loans++;
	b->data = data;
	b->len = b->capacity = o->capacity;
	b->flags = 0;
	b->cookie = cookie;
	b->serial = o->serial;
}

static int reserve_staging(struct chan *ch, struct zv_buf *bufs, unsigned n, uint32_t len)
{
	uint8_t width = (uint8_t)chan_width(len);
	struct zv_queue *q = ch->q;
	unsigned k;

	for (k = 0; k < n && chan_has_entries(ch, width); k++) {
		struct chan_out *o;
		uint32_t i;

		if (__builtin_expect(!q->chans.staging.nfree, 0) && !staging_grow(q))
			break;
		i = q->chans.staging.free[--q->chans.staging.nfree];
		o = &q->chans.staging.out[i];
		o->capacity = len;
		o->width = width;
		lend(ch, &bufs[k], staging_at(q, i), CHAN_COOKIE | i, o);
	}
	return (int)k;
}

/*
 * Allocates slots for up to @n buffers: all in one call, or, if slots of the right size are used
 * up, a smaller one.
 */
static int some_slots(struct chan *ch, struct shm_msg *m, unsigned n, size_t len)
{
	int got = shm_channel_alloc(ch->ch, m, n, len < UINT32_MAX ? (uint32_t)len : UINT32_MAX);
	size_t room;

	return got ? got : chan_slots(ch, m, 1, len, &room);
}

int chan_reserve(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len)
{
	struct chan *ch = c->chan;
	unsigned k = 0;

	if (!ch->classes || len <= SHM_INLINE_MAX)
		return reserve_staging(ch, bufs, n,
				       len < SHM_INLINE_MAX ? (uint32_t)len : SHM_INLINE_MAX);
	if (__builtin_expect(!ch->out, 0)) {
		ch->out = calloc(ch->tx_slots, sizeof(*ch->out));
		if (!ch->out)
			return -ENOMEM;
	}
	while (k < n && chan_has_entries(ch, 1)) {
		struct shm_msg m[CHAN_FIFO];
		uint32_t entries = ch->free_entries - ch->promised;
		unsigned want = n - k < CHAN_FIFO ? n - k : CHAN_FIFO;
		int got = some_slots(ch, m, want < entries ? want : entries, len);

		if (got < 0 && !k) /* after a partial success the next call reports it */
			return got;
		if (got <= 0)
			break;
		for (int i = 0; i < got; i++, k++) {
			struct chan_out *o = &ch->out[m[i].id];

			o->capacity = m[i].room < len ? m[i].room : (uint32_t)len;
			o->width = 1;
			o->gen = m[i].gen;
			lend(ch, &bufs[k], m[i].data, m[i].id, o);
		}
	}
	return (int)k;
}

void chan_out_cancel(struct chan *ch, const struct zv_buf *b, struct chan_out *o)
{
	struct queue_chans *cs = &ch->q->chans;
	struct shm_msg m = chan_slot_msg(b, o);

	o->serial = 0;
	ch->promised -= o->width;
	ch->c->tx.loans--;
	ch->q->tx.app_loans--;
	if (b->cookie & CHAN_COOKIE)
		cs->staging.free[cs->staging.nfree++] = b->cookie & ~CHAN_COOKIE;
	else
		(void)shm_channel_cancel(ch->ch, &m, 1);
	tx_credit_back(ch->c);
}
