/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sender's slots: which are free, and how nested ones are split and joined.
 *
 * Theory of operation
 * -------------------
 * Slots are used in the order in which they came back, so that memory rotates: what was written
 * long ago has left the caches of both CPUs, and is written faster than what the other CPU has just
 * read. For the same reason nested slots (SHM_CHANNEL_NESTED) are split and joined before the
 * completion ring is looked at, so messages of one size soon use all of the memory.
 *
 * A nested slot is in one of these states:
 *
 *	inside	part of a larger slot that is not split
 *	free	in its pool's free list
 *	taken, sent
 *	split	its parts are slots of the class below; it is *whole* while all of them are free or
 *		whole themselves, and is then in its pool's list of whole slots
 *
 * In a split slot, `parts` counts the parts that are free or whole. Joining takes the parts out of
 * their lists; nothing is searched.
 */
#ifndef ZV_CHANNEL_SLOTS_H
#define ZV_CHANNEL_SLOTS_H

#include "channel_int.h"

/* Makes all slots free, the largest ones unsplit. 0 or -ENOMEM. */
int slots_init(struct channel_tx *tx);

/*
 * Splits larger slots, or joins smaller ones, until class @c has a free slot. False: not possible.
 */
bool slots_make(struct channel_tx *tx, uint32_t c);

/* Slots of class @c that are free or whole, and not part of a larger slot that is. */
uint32_t slots_left(const struct channel_tx *tx, uint32_t c);

static inline void slot_list_add(struct channel_tx *tx, struct slot_list *l, uint32_t id)
{
	struct slot *s = &tx->slots[id];

	s->next = SLOT_NONE;
	s->prev = l->tail;
	if (l->tail == SLOT_NONE)
		l->head = id;
	else
		tx->slots[l->tail].next = id;
	l->tail = id;
	l->n++;
}

static inline void slot_list_remove(struct channel_tx *tx, struct slot_list *l, uint32_t id)
{
	const struct slot *s = &tx->slots[id];

	if (l->head == id) /* prev of the head is not valid */
		l->head = s->next;
	else
		tx->slots[s->prev].next = s->next;
	if (l->tail == id)
		l->tail = l->head == SLOT_NONE ? SLOT_NONE : s->prev;
	else if (s->next != SLOT_NONE)
		tx->slots[s->next].prev = s->prev;
	l->n--;
}

/* The slot that @id of class @c is part of, or SLOT_NONE. */
static inline uint32_t slot_above(const struct channel_tx *tx, uint32_t c, uint32_t id)
{
	const struct slot_pool *p = &tx->pool[c];
	uint32_t k;

	if (!tx->nested || c + 1 == tx->pools)
		return SLOT_NONE;
	k = (id - p->first) >> p[1].parts_shift;
	return k < p[1].slots ? p[1].first + k : SLOT_NONE;
}

/*
 * Updates the slots above when @id of class @c becomes free or whole (@there), or stops being so.
 */
static inline void slots_above_update(struct channel_tx *tx, uint32_t c, uint32_t id, bool there)
{
	while ((id = slot_above(tx, c, id)) != SLOT_NONE) {
		struct slot_pool *p = &tx->pool[++c];
		struct slot *s = &tx->slots[id];
		uint32_t all = 1u << p->parts_shift;

		if (there) {
			if (++s->parts < all)
				return;
			slot_list_add(tx, &p->whole, id);
		} else {
			if (s->parts-- < all)
				return;
			slot_list_remove(tx, &p->whole, id);
		}
	}
}

/* The class of @id, which must be a valid slot. */
static inline uint32_t slot_class(const struct channel_tx *tx, uint32_t id)
{
	uint32_t c = 0;

	while (id - tx->pool[c].first >= tx->pool[c].slots)
		c++;
	return c;
}

/* Returns @id to its free list. */
static inline void slot_put(struct channel_tx *tx, uint32_t id)
{
	uint32_t c = slot_class(tx, id);

	tx->slots[id].state = SLOT_FREE;
	slot_list_add(tx, &tx->pool[c].free, id);
	slots_above_update(tx, c, id, true);
}

/* Takes a free slot of class @c, which must have one. */
static inline uint32_t slot_take(struct channel_tx *tx, uint32_t c)
{
	uint32_t id = tx->pool[c].free.head;

	slot_list_remove(tx, &tx->pool[c].free, id);
	tx->slots[id].state = SLOT_TAKEN;
	slots_above_update(tx, c, id, false);
	return id;
}

/*
 * Selects the class for messages of @len bytes. Returns how many free slots it has for them, or 0.
 */
static inline uint32_t slots_for(struct channel_tx *tx, uint32_t len, uint32_t *cls)
{
	uint32_t c = 0, last = tx->pools - 1;
	const struct slot_pool *p;

	while (c < last && tx->pool[c].size < len)
		c++;
	*cls = c;
	p = &tx->pool[c];
	if (p->free.n || (tx->nested && slots_make(tx, c)))
		return p->free.n;
	/* Small messages may use larger slots, but not so that large ones starve. */
	if (tx->nested || c == last || p[1].free.n <= p[1].slots / 2)
		return 0;
	*cls = c + 1;
	return p[1].free.n - p[1].slots / 2;
}

/* Is there a slot for a message of @len bytes, as far as known? */
static inline bool slots_have(struct channel_tx *tx, uint32_t len)
{
	uint32_t c;

	return tx->pools && slots_for(tx, len, &c);
}

#endif
