/* SPDX-License-Identifier: BSD-3-Clause */
/* The receiving half of an end of a channel. See channel_int.h. */
#include "channel_int.h"

_Static_assert(RING_LINE1 == 1 && RING_LINE2 == 2, "the kind says how many places");

/* Advances the head over released entries. */
static inline void rx_advance(struct channel_rx *rx)
{
	uint32_t mask = (1u << rx->shift) - 1;

	while (rx->head != rx->pos) {
		uint8_t *held = &rx->held[rx->head & mask];

		if (!(*held & HELD_DONE))
			break;
		rx->head += *held & ~HELD_DONE;
		*held = 0;
	}
	/* The end of a burst publishes it in any case, see shm_channel_notify(). */
	if (rx->head - rx->published > mask / 4)
		rx_publish(rx);
}

static inline uint8_t *rx_line(const struct channel_rx *rx, uint32_t pos)
{
	return rx->lines + (size_t)(pos & ((1u << rx->shift) - 1)) * SHM_CACHE_LINE;
}

/* Fills in *m from the entry at @pos. NULL, or what is wrong. */
static const char *rx_slot(struct channel_rx *rx, uint32_t pos, struct shm_msg *m)
{
	const struct slot_pool *p = rx->pool;
	struct channel_slot_ref ref;
	uint32_t in_pool;

	shm_copy_in(&ref, rx_line(rx, pos), sizeof(ref));
	if (ref.id >= rx->nslots)
		return "a message in a slot that there is not";
	while (ref.id - p->first >= p->slots)
		p++;
	if (ref.offset > p->size || m->len > p->size - ref.offset)
		return "a message that reaches beyond its slot";
	if (rx->slot_held[ref.id])
		return "a message in a slot that has not been given back";
	in_pool = ref.id - p->first;
	rx->slot_held[ref.id] = 1;
	m->data = p->mem + (size_t)in_pool * p->size + ref.offset;
	m->room = p->size - ref.offset;
	m->kind = SHM_MSG_SLOT;
	m->gen = (uint16_t)ref.gen;
	m->id = ref.id;
	return NULL;
}

/* A message that lies in the ring at @pos. NULL, or what is wrong. */
static inline const char *rx_lines(struct channel_rx *rx, uint32_t pos, uint32_t width,
				   uint64_t word, struct shm_msg *m)
{
	uint32_t mask = (1u << rx->shift) - 1;

	if ((uint32_t)word > width * SHM_CACHE_LINE)
		return "a message that is longer than its place";
	/* The ring never holds more than it has entries. */
	if (pos + width - rx->head > mask + 1)
		return "a message in a place that has not been released";
	m->data = rx_line(rx, pos);
	m->len = (uint32_t)word;
	m->room = width * SHM_CACHE_LINE;
	m->kind = SHM_MSG_LINE;
	m->flags = (uint8_t)(word >> RING_FLAGS_SHIFT);
	m->gen = (uint16_t)width;
	m->id = pos;
	rx->held[pos & mask] = (uint8_t)width;
	return NULL;
}

/*
 * Any other message. Its entry is free again: its content has been copied. NULL, or what is wrong.
 */
static const char *rx_other(struct channel_rx *rx, uint32_t pos, uint64_t word, struct shm_msg *m)
{
	uint32_t mask = (1u << rx->shift) - 1;
	const char *wrong = NULL;

	*m = (struct shm_msg){.len = (uint32_t)word,
			      .kind = SHM_MSG_CONTROL,
			      .flags = (uint8_t)(word >> RING_FLAGS_SHIFT)};
	switch ((uint8_t)(word >> RING_KIND_SHIFT)) {
	case RING_SLOT:
		wrong = rx_slot(rx, pos, m);
		break;
	case RING_CONTROL:
		break;
	default:
		return "a message of no known kind";
	}
	if (wrong)
		return wrong;
	if (pos - rx->head > mask)
		return "a message in a place that has not been released";
	rx->held[pos & mask] = 1 | HELD_DONE;
	return NULL;
}

/* Takes the message at @pos. Returns how many entries it takes; 0: there is none; -EPROTO. */
static inline int rx_take(struct shm_channel *ch, uint32_t pos, struct shm_msg *m)
{
	struct channel_rx *rx = &ch->rx;
	const char *wrong;
	uint64_t word;
	uint32_t width;
	int rc = mark_get(rx->marks, pos, rx->shift, &word);

	if (rc <= 0)
		return rc < 0 ? channel_fault(ch, "a mark that is of no lap") : 0;
	width = (uint8_t)(word >> RING_KIND_SHIFT);
	if (__builtin_expect(width == RING_LINE1 || width == RING_LINE2, 1)) {
		wrong = rx_lines(rx, pos, width, word, m);
	} else {
		wrong = rx_other(rx, pos, word, m);
		width = 1;
	}
	return __builtin_expect(wrong != NULL, 0) ? channel_fault(ch, wrong) : (int)width;
}

int shm_channel_pending(struct shm_channel *ch)
{
	uint64_t word;
	int rc;

	if (ch->err)
		return ch->err;
	rc = mark_get(ch->rx.marks, ch->rx.pos, ch->rx.shift, &word);
	return rc < 0 ? channel_fault(ch, "a mark that is of no lap") : rc;
}

int shm_channel_recv(struct shm_channel *ch, struct shm_msg *msgs, unsigned n)
{
	struct channel_rx *rx = &ch->rx;
	uint32_t pos = rx->pos;
	bool passed = false;
	unsigned got;

	if (ch->err)
		return ch->err;
	for (got = 0; got < n; got++) {
		int width = rx_take(ch, pos, &msgs[got]);

		if (width <= 0)
			break;
		pos += (uint32_t)width;
		passed |= msgs[got].kind != SHM_MSG_LINE;
	}
	rx->pos = pos;
	if (!got) {
		/* Fetches the payload while its word is being waited for. */
		shm_prefetch(rx_line(rx, pos));
		return ch->err;
	}
	if (passed) {
		rx_advance(rx);
		ch->released = true;
	}
	ch->stats.received += got;
	return (int)got;
}

static inline bool release_line(struct channel_rx *rx, const struct shm_msg *m)
{
	uint8_t *held = &rx->held[m->id & ((1u << rx->shift) - 1)];

	if (m->id - rx->head >= rx->pos - rx->head || *held != m->gen || !m->gen)
		return false;
	if (__builtin_expect(m->id == rx->head, 1)) {
		*held = 0;
		rx->head += m->gen;
	} else {
		*held |= HELD_DONE;
	}
	return true;
}

static inline bool release_slot(struct channel_rx *rx, const struct shm_msg *m)
{
	if (m->id >= rx->nslots || !rx->slot_held[m->id])
		return false;
	rx->slot_held[m->id] = 0;
	mark_put(rx->returns, rx->ret_pos++, rx->ret_shift,
		 (uint64_t)m->gen << RING_GEN_SHIFT | m->id);
	return true;
}

int shm_channel_release(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n)
{
	struct channel_rx *rx = &ch->rx;
	bool lines = false, ok = true;

	for (unsigned i = 0; i < n && ok; i++) {
		const struct shm_msg *m = &msgs[i];

		if (m->kind == SHM_MSG_LINE) {
			ok = release_line(rx, m);
			lines |= ok;
		} else if (m->kind == SHM_MSG_SLOT) {
			ok = release_slot(rx, m);
		} else {
			ok = m->kind == SHM_MSG_CONTROL;
		}
	}
	if (lines)
		rx_advance(rx);
	ch->released |= n > 0;
	return ok ? 0 : -EINVAL;
}
