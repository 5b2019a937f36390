/* SPDX-License-Identifier: BSD-3-Clause */
/* The sending half of an end of a channel. See channel_int.h. */
#include "channel_int.h"
#include "channel_slots.h"

#include <string.h>

/* Entries that become visible together. */
#define BATCH 32u

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

/* Loads the receiver's index if fewer than @n entries are known to be free. */
static uint32_t tx_entries_free(struct shm_channel *ch, uint32_t n)
{
	uint32_t room = tx_free_entries(&ch->tx);

	if (room >= n || tx_refresh(ch))
		return room;
	return tx_free_entries(&ch->tx);
}

int tx_collect(struct shm_channel *ch)
{
	struct channel_tx *tx = &ch->tx;
	uint64_t word;
	int rc = 0;

	if (!tx->nslots)
		return 0;
	for (uint32_t n = 0; n < 1u << tx->ret_shift; n++) {
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
		slot_put(tx, id);
		tx->out--;
		tx->ret_pos++;
	}
	return rc < 0 ? channel_fault(ch, "a returned slot's mark is of no lap") : 0;
}

static inline void take_slot(struct channel_tx *tx, uint32_t c, struct shm_msg *m)
{
	const struct slot_pool *p = &tx->pool[c];
	uint32_t id = slot_take(tx, c);

	m->data = p->mem + (size_t)(id - p->first) * p->size;
	m->len = 0;
	m->room = p->size;
	m->kind = SHM_MSG_SLOT;
	m->flags = 0;
	m->gen = tx->slots[id].gen;
	m->id = id;
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
		uint32_t c, some = slots_for(tx, len, &c);

		if (!some) {
			if (collected)
				break;
			if (tx_collect(ch))
				return got ? (int)got : ch->err;
			collected = true;
			continue;
		}
		for (; some && got < n; some--, got++)
			take_slot(tx, c, &msgs[got]);
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
	room = tx_entries_free(ch, n * width) / width;
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

	/* From the last one: ring entries are given back youngest first. */
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
		slot_put(tx, m->id);
	}
	return 0;
}

static inline uint8_t *tx_line(const struct channel_tx *tx, uint32_t pos)
{
	return tx->lines + (size_t)(pos & ((1u << tx->shift) - 1)) * SHM_CACHE_LINE;
}

/* Entries that a message takes. */
static inline uint32_t tx_width(const struct shm_msg *m)
{
	return m->kind == SHM_MSG_LINE	 ? m->gen
	       : m->kind == SHM_MSG_USER ? (m->len > SHM_CACHE_LINE ? 2 : 1)
					 : 1;
}

/* The following functions write all of a message except its word. 1; 0: no room; -errno. */
static inline int put_user(struct shm_channel *ch, const struct shm_msg *m, uint32_t width)
{
	struct channel_tx *tx = &ch->tx;

	if (m->len > SHM_INLINE_MAX)
		return -EINVAL;
	if (tx->reserved)
		return -EBUSY;
	if (tx_entries_free(ch, width) < width)
		return ch->err;
	if (m->len == SHM_CACHE_LINE)
		memcpy(tx_line(tx, tx->pos), m->data, SHM_CACHE_LINE);
	else if (m->len)
		memcpy(tx_line(tx, tx->pos), m->data, m->len);
	return 1;
}

static inline int put_line(struct channel_tx *tx, const struct shm_msg *m)
{
	uint32_t width = m->gen;

	if (!width || width > 2 || m->len > width * SHM_CACHE_LINE)
		return -EINVAL;
	if (m->id != tx->pos || width > tx->reserved)
		return tx->reserved ? -EBUSY : -EINVAL;
	tx->reserved -= width;
	return 1;
}

static inline int put_slot(struct shm_channel *ch, const struct shm_msg *m)
{
	struct channel_tx *tx = &ch->tx;
	struct slot *s = taken_slot(tx, m);
	struct channel_slot_ref ref;
	const struct slot_pool *p;
	uint64_t offset;

	if (!s)
		return -EINVAL;
	p = &tx->pool[slot_class(tx, m->id)];
	offset = (uintptr_t)m->data - (uintptr_t)(p->mem + (size_t)(m->id - p->first) * p->size);
	if (offset > p->size || m->len > p->size - offset)
		return -EINVAL;
	if (tx->reserved)
		return -EBUSY;
	if (tx_entries_free(ch, 1) < 1)
		return ch->err;
	ref = (struct channel_slot_ref){.id = m->id, .offset = (uint32_t)offset, .gen = ++s->gen};
	s->state = SLOT_SENT;
	tx->out++;
	memcpy(tx_line(tx, tx->pos), &ref, sizeof(ref));
	return 1;
}

/* The word of a message. */
static inline uint64_t tx_word(enum ring_kind kind, uint8_t flags, uint32_t len)
{
	return (uint64_t)flags << RING_FLAGS_SHIFT | (uint64_t)kind << RING_KIND_SHIFT | len;
}

/* Words of messages that become visible together. */
struct words {
	uint64_t at[BATCH + 1];
	unsigned n;
};

/*
 * The words of a batch are written last, and the first of them last of all: the receiver polls that
 * one, and would otherwise take away the line that it shares with seven others after each write.
 */
static inline void tx_publish(struct channel_tx *tx, struct words *w)
{
	uint64_t *marks = tx->marks;
	unsigned shift = tx->shift;
	uint32_t pos = tx->pos;

	while (w->n)
		mark_put(marks, --pos, shift, w->at[--w->n]);
}

/* Writes all of *m except its words, which are added to @w. 1; 0: no room; -errno. */
static inline int tx_put(struct shm_channel *ch, const struct shm_msg *m, struct words *w)
{
	struct channel_tx *tx = &ch->tx;
	uint32_t width = tx_width(m);
	int rc = m->kind == SHM_MSG_USER   ? put_user(ch, m, width)
		 : m->kind == SHM_MSG_SLOT ? put_slot(ch, m)
		 : m->kind == SHM_MSG_LINE ? put_line(tx, m)
					   : -EINVAL;

	if (__builtin_expect(rc <= 0, 0))
		return rc;
	w->at[w->n++] = tx_word(m->kind == SHM_MSG_SLOT ? RING_SLOT : (enum ring_kind)width,
				m->flags, m->len);
	/* Every entry is written once per lap, see mark_ring.h. */
	if (width == 2)
		w->at[w->n++] = (uint64_t)RING_SKIP << RING_KIND_SHIFT;
	tx->pos += width;
	return 1;
}

/*
 * Sends one message of up to a cache line, without the work that only batches need. 1; 0: no room;
 * -errno.
 */
static inline int send_line(struct shm_channel *ch, const struct shm_msg *m)
{
	struct channel_tx *tx = &ch->tx;
	int rc = put_user(ch, m, 1);

	if (__builtin_expect(rc <= 0, 0))
		return rc;
	mark_put(tx->marks, tx->pos++, tx->shift, tx_word(RING_LINE1, m->flags, m->len));
	ch->sent = true;
	ch->stats.sent++;
	return 1;
}

static int send_batch(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n)
{
	struct words w;
	unsigned done;
	int rc = 1;

	w.n = 0;
	for (done = 0; done < n; done++) {
		rc = tx_put(ch, &msgs[done], &w);
		if (rc <= 0)
			break;
		if (w.n >= BATCH)
			tx_publish(&ch->tx, &w);
	}
	tx_publish(&ch->tx, &w);
	ch->sent |= done > 0;
	ch->stats.sent += done;
	return done ? (int)done : n ? rc : 0;
}

int shm_channel_send(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n)
{
	if (ch->err)
		return ch->err;
	if (n == 1 && msgs->kind == SHM_MSG_USER && msgs->len <= SHM_CACHE_LINE)
		return send_line(ch, msgs);
	return send_batch(ch, msgs, n);
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
	mark_put(tx->marks, tx->pos++, tx->shift, tx_word(RING_CONTROL, flags, number));
	ch->sent = true;
	ch->stats.sent++;
	return 1;
}

uint32_t shm_channel_free_entries(struct shm_channel *ch, uint32_t want)
{
	uint32_t places = ch->err ? 0 : tx_entries_free(ch, want);

	return ch->err ? 0 : places;
}

uint64_t shm_channel_room(struct shm_channel *ch)
{
	struct channel_tx *tx = &ch->tx;
	uint64_t room = 0;
	uint32_t places;

	if (ch->err || tx_refresh(ch) || tx_collect(ch))
		return 0;
	places = tx_free_entries(tx);
	for (uint32_t i = tx->pools; i--;) {
		const struct slot_pool *p = &tx->pool[i];
		uint32_t n = slots_left(tx, i);

		n = n < places ? n : places;

		room += (uint64_t)n * p->size;
		places -= n;
	}
	return room + (uint64_t)places * SHM_CACHE_LINE;
}
