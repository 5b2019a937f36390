/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGES 64u /* of a slab */

void chan_tx_init(struct chan *ch, const struct shm_direction *d, bool nested)
{
	uint32_t places = d->entries / 2 < CHAN_PIECES ? d->entries / 2 : CHAN_PIECES;
	/* Nested slots: the smallest class covers all memory. */
	uint64_t left = nested ? (uint64_t)d->cls[0].slots * d->cls[0].slot_size : UINT64_MAX;

	ch->classes = d->classes;
	ch->room = shm_channel_room(ch->ch);
	ch->places = ch->all_places = shm_channel_places(ch->ch, UINT32_MAX);
	/* The longest message is one that all slots can hold, with half of the ring. */
	for (uint32_t i = d->classes; i--;) {
		uint32_t n = d->cls[i].slots < places ? d->cls[i].slots : places;

		ch->slot_size[i] = d->cls[i].slot_size;
		if (n > left / ch->slot_size[i])
			n = (uint32_t)(left / ch->slot_size[i]);
		ch->max_msg += (uint64_t)n * ch->slot_size[i];
		left -= (uint64_t)n * ch->slot_size[i];
		places -= n;
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

bool chan_places_look(struct chan *ch, uint32_t n)
{
	ch->places = shm_channel_places(ch->ch, ch->promised + n);
	return ch->places >= ch->promised + n;
}

/* The largest slot size below the class that serves messages of @len bytes; 0: none. */
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
	c->chan->room_told = false;
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
		return true; /* the next call reports why there is none */
	if (!ch->classes || bytes <= SHM_INLINE_MAX)
		return chan_places(ch, chan_width(ch->classes ? bytes : 1));
	n = chan_slots(ch, m, c->blocked.pkts ? 1 : CHAN_PIECES, bytes, &room);
	if (n <= 0)
		return false;
	(void)shm_channel_cancel(ch->ch, m, (unsigned)n);
	return (c->blocked.pkts || room >= bytes) && chan_places(ch, (uint32_t)n);
}

/* ---- reserved buffers ---- */

static uint8_t *stage_at(const struct zv_queue *q, uint32_t i)
{
	return q->chans.stage.slab[i / STAGES] + (size_t)(i % STAGES) * SHM_INLINE_MAX;
}

/* One slab more. */
static bool stages_grow(struct zv_queue *q)
{
	uint32_t size = q->chans.stage.size + STAGES;
	uint8_t **slab = realloc((void *)q->chans.stage.slab, size / STAGES * sizeof(*slab));
	struct chan_out *out;
	uint32_t *ids;

	if (!slab)
		return false;
	q->chans.stage.slab = slab;
	ids = realloc(q->chans.stage.free, size * sizeof(*ids));
	if (!ids)
		return false;
	q->chans.stage.free = ids;
	out = realloc(q->chans.stage.out, size * sizeof(*out));
	if (!out)
		return false;
	q->chans.stage.out = out;
	slab += size / STAGES - 1;
	*slab = aligned_alloc(SHM_CACHE_LINE, STAGES * SHM_INLINE_MAX);
	if (!*slab)
		return false;
	memset(out + q->chans.stage.size, 0, STAGES * sizeof(*out));
	while (q->chans.stage.size < size)
		ids[q->chans.stage.nfree++] = q->chans.stage.size++;
	return true;
}

void chan_stages_fini(struct zv_queue *q)
{
	for (uint32_t i = 0; i < q->chans.stage.size; i += STAGES)
		free(q->chans.stage.slab[i / STAGES]);
	free((void *)q->chans.stage.slab);
	free(q->chans.stage.out);
	free(q->chans.stage.free);
}

/* Lends @o, whose capacity and width are set, to the application. */
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

static int reserve_stages(struct chan *ch, struct zv_buf *bufs, unsigned n, uint32_t len)
{
	uint8_t width = (uint8_t)chan_width(len);
	struct zv_queue *q = ch->q;
	unsigned k;

	for (k = 0; k < n && chan_places(ch, width); k++) {
		struct chan_out *o;
		uint32_t i;

		if (__builtin_expect(!q->chans.stage.nfree, 0) && !stages_grow(q))
			break;
		i = q->chans.stage.free[--q->chans.stage.nfree];
		o = &q->chans.stage.out[i];
		o->capacity = len;
		o->width = width;
		lend(ch, &bufs[k], stage_at(q, i), CHAN_COOKIE | i, o);
	}
	return (int)k;
}

/*
 * Slots for up to @n buffers: in one call, or, when slots of the right size are used up, smaller
 * ones one by one.
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
		return reserve_stages(ch, bufs, n,
				      len < SHM_INLINE_MAX ? (uint32_t)len : SHM_INLINE_MAX);
	if (__builtin_expect(!ch->out, 0)) {
		ch->out = calloc(ch->tx_slots, sizeof(*ch->out));
		if (!ch->out)
			return -ENOMEM;
	}
	while (k < n && chan_places(ch, 1)) {
		struct shm_msg m[CHAN_FIFO];
		uint32_t places = ch->places - ch->promised;
		unsigned want = n - k < CHAN_FIFO ? n - k : CHAN_FIFO;
		int got = some_slots(ch, m, want < places ? want : places, len);

		if (got < 0 && !k) /* otherwise the next call finds it again */
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
		cs->stage.free[cs->stage.nfree++] = b->cookie & ~CHAN_COOKIE;
	else
		(void)shm_channel_cancel(ch->ch, &m, 1);
	tx_credit_back(ch->c);
}
