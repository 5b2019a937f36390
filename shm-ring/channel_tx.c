/* SPDX-License-Identifier: BSD-3-Clause */
/* The sending half of an end of a channel. See channel_int.h. */
#include "channel_int.h"

#include <string.h>

int tx_refresh(struct shm_channel *ch)
{
	struct channel_tx *tx = &ch->tx;
	uint32_t cons = shm_load_acquire32(tx->cons_word); /* barrier pair [R] */

	if (__builtin_expect(tx->pos - cons > tx->pos - tx->cons, 0))
		return channel_fault(ch,
				     "the receiver's index has gone back, or beyond what was sent");
	tx->cons = cons;
	return 0;
}

/* Looks at the receiver's index if fewer than @n places are free as far as known. */
static uint32_t tx_room(struct shm_channel *ch, uint32_t n)
{
	uint32_t room = tx_places(&ch->tx);

	if (room >= n || tx_refresh(ch))
		return room;
	return tx_places(&ch->tx);
}

int tx_collect(struct shm_channel *ch)
{
	struct channel_tx *tx = &ch->tx;
	uint64_t word;
	int rc = 0;

	if (!tx->nslots)
		return 0;
	for (uint32_t n = 0; n < 1u << tx->ret_shift; n++) {
		struct slot_pool *p;
		struct slot *s;
		uint32_t id;

		rc = mark_get(tx->returns, tx->ret_pos, tx->ret_shift, &word);
		if (rc <= 0)
			break;
		id = (uint32_t)word;
		if (id >= tx->nslots)
			return channel_fault(ch, "a slot came back that there is not");
		s = &tx->slots[id];
		if (s->state != SLOT_SENT || s->gen != (uint16_t)(word >> RING_GEN_SHIFT))
			return channel_fault(ch, "a slot came back that was not sent, or twice");
		s->state = SLOT_FREE;
		p = &tx->pool[s->cls];
		p->ids[p->free++] = (uint16_t)id;
		tx->ret_pos++;
	}
	return rc < 0 ? channel_fault(ch, "a returned slot's mark is of no lap") : 0;
}

/* The pool to serve messages of @len bytes from; NULL: nothing is free for them. */
static struct slot_pool *tx_pool(struct channel_tx *tx, uint32_t len)
{
	struct slot_pool *p = tx->pool, *last = tx->pool + tx->pools - 1;

	while (p < last && p->size < len)
		p++;
	if (p->free)
		return p;
	/* Small messages may use larger slots, but not so that large ones starve. */
	if (p < last && p[1].free > p[1].slots / 2)
		return p + 1;
	return NULL;
}

bool tx_slot_free(struct channel_tx *tx, uint32_t len)
{
	return tx->pools && tx_pool(tx, len);
}

int shm_channel_alloc(struct shm_channel *ch, struct shm_msg *msgs, unsigned n, uint32_t len)
{
	struct channel_tx *tx = &ch->tx;
	bool collected = false;
	unsigned got = 0;

	if (ch->err)
		return ch->err;
	if (!tx->pools || !len)
		return -EINVAL;
	while (got < n) {
		struct slot_pool *p = tx_pool(tx, len);
		uint32_t id;

		if (!p) {
			if (collected)
				break;
			if (tx_collect(ch))
				return got ? (int)got : ch->err;
			collected = true;
			continue;
		}
		id = p->ids[--p->free];
		tx->slots[id].state = SLOT_TAKEN;
		msgs[got++] = (struct shm_msg){
			.data = p->mem + (size_t)(id - p->first) * p->size,
			.room = p->size,
			.kind = SHM_MSG_SLOT,
			.gen = tx->slots[id].gen,
			.id = id,
		};
	}
	return (int)got;
}

int shm_channel_reserve(struct shm_channel *ch, struct shm_msg *msgs, unsigned n, uint32_t len)
{
	struct channel_tx *tx = &ch->tx;
	uint32_t width = len > SHM_CACHE_LINE ? 2 : 1, room;

	if (ch->err)
		return ch->err;
	if (len > SHM_INLINE_MAX)
		return -EINVAL;
	if (n > SHM_ENTRIES_MAX)
		n = SHM_ENTRIES_MAX;
	room = tx_room(ch, n * width) / width;
	if (ch->err)
		return ch->err;
	if (n > room)
		n = room;
	for (unsigned i = 0; i < n; i++) {
		uint32_t pos = tx->pos + tx->reserved;
		uint32_t place = pos & ((1u << tx->shift) - 1);

		msgs[i] = (struct shm_msg){
			.data = tx->lines + (size_t)place * SHM_CACHE_LINE,
			.room = width * SHM_CACHE_LINE,
			.kind = SHM_MSG_LINE,
			.gen = (uint16_t)width,
			.id = pos,
		};
		tx->reserved += width;
	}
	return (int)n;
}

static struct slot *taken_slot(struct channel_tx *tx, const struct shm_msg *m)
{
	struct slot *s = m->id < tx->nslots ? &tx->slots[m->id] : NULL;

	return s && s->state == SLOT_TAKEN && s->gen == m->gen ? s : NULL;
}

int shm_channel_cancel(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n)
{
	struct channel_tx *tx = &ch->tx;

	/* From the last one: places of the ring are given back youngest first. */
	while (n--) {
		const struct shm_msg *m = &msgs[n];
		struct slot *s;

		if (m->kind == SHM_MSG_LINE) {
			if (!m->gen || m->gen > 2 || m->gen > tx->reserved ||
			    m->id + m->gen != tx->pos + tx->reserved)
				return -EINVAL;
			tx->reserved -= m->gen;
			continue;
		}
		s = m->kind == SHM_MSG_SLOT ? taken_slot(tx, m) : NULL;
		if (!s)
			return -EINVAL;
		s->state = SLOT_FREE;
		tx->pool[s->cls].ids[tx->pool[s->cls].free++] = (uint16_t)m->id;
	}
	return 0;
}

/* Makes the message of @width places at tx->pos visible. */
static inline void tx_put(struct channel_tx *tx, enum ring_kind kind, uint32_t width, uint8_t flags,
			  uint32_t len)
{
	uint64_t word =
		(uint64_t)flags << RING_FLAGS_SHIFT | (uint64_t)kind << RING_KIND_SHIFT | len;

	/* Every place is written once a lap, see mark_ring.h. */
	if (width == 2)
		mark_put(tx->marks, tx->pos + 1, tx->shift, (uint64_t)RING_SKIP << RING_KIND_SHIFT);
	mark_put(tx->marks, tx->pos, tx->shift, word);
	tx->pos += width;
}

static inline uint8_t *tx_line(const struct channel_tx *tx)
{
	return tx->lines + (size_t)(tx->pos & ((1u << tx->shift) - 1)) * SHM_CACHE_LINE;
}

/* 1 sent, 0 no room, -errno. */
static inline int send_user(struct shm_channel *ch, const struct shm_msg *m)
{
	struct channel_tx *tx = &ch->tx;
	uint32_t width = m->len > SHM_CACHE_LINE ? 2 : 1;

	if (m->len > SHM_INLINE_MAX)
		return -EINVAL;
	if (tx->reserved)
		return -EBUSY;
	if (tx_room(ch, width) < width)
		return ch->err;
	if (m->len == SHM_CACHE_LINE)
		memcpy(tx_line(tx), m->data, SHM_CACHE_LINE);
	else if (m->len)
		memcpy(tx_line(tx), m->data, m->len);
	tx_put(tx, width == 2 ? RING_LINE2 : RING_LINE1, width, m->flags, m->len);
	return 1;
}

static inline int send_line(struct shm_channel *ch, const struct shm_msg *m)
{
	struct channel_tx *tx = &ch->tx;
	uint32_t width = m->gen;

	if (!width || width > 2 || m->len > width * SHM_CACHE_LINE)
		return -EINVAL;
	if (m->id != tx->pos || width > tx->reserved)
		return tx->reserved ? -EBUSY : -EINVAL;
	tx->reserved -= width;
	tx_put(tx, width == 2 ? RING_LINE2 : RING_LINE1, width, m->flags, m->len);
	return 1;
}

static inline int send_slot(struct shm_channel *ch, const struct shm_msg *m)
{
	struct channel_tx *tx = &ch->tx;
	struct slot *s = taken_slot(tx, m);
	struct channel_slot_ref ref;
	const struct slot_pool *p;
	uint64_t offset;

	if (!s)
		return -EINVAL;
	p = &tx->pool[s->cls];
	offset = (uintptr_t)m->data - (uintptr_t)(p->mem + (size_t)(m->id - p->first) * p->size);
	if (offset > p->size || m->len > p->size - offset)
		return -EINVAL;
	if (tx->reserved)
		return -EBUSY;
	if (tx_room(ch, 1) < 1)
		return ch->err;
	ref = (struct channel_slot_ref){.id = m->id, .offset = (uint32_t)offset, .gen = ++s->gen};
	s->state = SLOT_SENT;
	memcpy(tx_line(tx), &ref, sizeof(ref));
	tx_put(tx, RING_SLOT, 1, m->flags, m->len);
	return 1;
}

int shm_channel_send(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n)
{
	unsigned done;
	int rc = 1;

	if (ch->err)
		return ch->err;
	for (done = 0; done < n; done++) {
		const struct shm_msg *m = &msgs[done];

		rc = m->kind == SHM_MSG_LINE   ? send_line(ch, m)
		     : m->kind == SHM_MSG_SLOT ? send_slot(ch, m)
		     : m->kind == SHM_MSG_USER ? send_user(ch, m)
					       : -EINVAL;
		if (rc <= 0)
			break;
	}
	ch->sent |= done > 0;
	ch->stats.sent += done;
	return done ? (int)done : n ? rc : 0;
}

int shm_channel_control(struct shm_channel *ch, uint32_t number, uint8_t flags)
{
	struct channel_tx *tx = &ch->tx;

	if (ch->err)
		return ch->err;
	if (tx->reserved)
		return -EBUSY;
	if (tx->pos - tx->cons == 1u << tx->shift && tx_refresh(ch))
		return ch->err;
	if (tx->pos - tx->cons == 1u << tx->shift)
		return 0;
	tx_put(tx, RING_CONTROL, 1, flags, number);
	ch->sent = true;
	ch->stats.sent++;
	return 1;
}

uint64_t shm_channel_room(struct shm_channel *ch)
{
	struct channel_tx *tx = &ch->tx;
	uint64_t room = 0;
	uint32_t places;

	if (ch->err || tx_refresh(ch) || tx_collect(ch))
		return 0;
	places = tx_places(tx);
	for (uint32_t i = tx->pools; i--;) {
		const struct slot_pool *p = &tx->pool[i];
		uint32_t n = p->free < places ? p->free : places;

		room += (uint64_t)n * p->size;
		places -= n;
	}
	return room + (uint64_t)places * SHM_CACHE_LINE;
}
