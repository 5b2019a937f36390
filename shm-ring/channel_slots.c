/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel_slots.h"

#include <stdlib.h>

int slots_init(struct channel_tx *tx)
{
	tx->slots = calloc(tx->nslots, sizeof(*tx->slots));
	if (!tx->slots)
		return -ENOMEM;
	for (uint32_t c = 0; c < tx->pools; c++) {
		struct slot_pool *p = &tx->pool[c];

		p->free = p->whole = (struct slot_list){SLOT_NONE, SLOT_NONE, 0};
		if (tx->nested && c)
			p->parts_shift = (unsigned)__builtin_ctz(p->size / p[-1].size);
	}
	for (uint32_t c = 0; c < tx->pools; c++) {
		struct slot_pool *p = &tx->pool[c];
		uint32_t k = 0;

		if (tx->nested && c + 1 < tx->pools) /* the rest is inside larger ones */
			k = p[1].slots << p[1].parts_shift;
		/* In ascending order: slots that are never used are never touched. */
		for (; k < p->slots; k++) {
			tx->slots[p->first + k].state = SLOT_FREE;
			slot_list_add(tx, &p->free, p->first + k);
		}
	}
	return 0;
}

/* The first part of the split slot @id of class @c. */
static uint32_t first_part(const struct channel_tx *tx, uint32_t c, uint32_t id)
{
	const struct slot_pool *p = &tx->pool[c];

	return p[-1].first + ((id - p->first) << p->parts_shift);
}

/* Splits a free slot of class @c. */
static void split(struct channel_tx *tx, uint32_t c)
{
	struct slot_pool *p = &tx->pool[c];
	uint32_t id = p->free.head, part = first_part(tx, c, id);

	slot_list_remove(tx, &p->free, id);
	tx->slots[id].state = SLOT_SPLIT;
	tx->slots[id].parts = 1u << p->parts_shift;
	slot_list_add(tx, &p->whole, id);
	for (uint32_t n = tx->slots[id].parts; n--; part++) {
		tx->slots[part].state = SLOT_FREE;
		slot_list_add(tx, &p[-1].free, part);
	}
}

/* Joins the whole slot @id of class @c, which is then in no list. */
static void join(struct channel_tx *tx, uint32_t c, uint32_t id)
{
	uint32_t part = first_part(tx, c, id);
	struct slot_pool *p = &tx->pool[c];

	slot_list_remove(tx, &p->whole, id);
	for (uint32_t n = 1u << p->parts_shift; n--; part++) {
		if (tx->slots[part].state == SLOT_SPLIT)
			join(tx, c - 1, part); /* NOLINT(misc-no-recursion): as deep as classes */
		else
			slot_list_remove(tx, &p[-1].free, part);
		tx->slots[part].state = SLOT_INSIDE;
	}
	tx->slots[id].parts = 0;
}

bool slots_make(struct channel_tx *tx, uint32_t c)
{
	struct slot_pool *p = &tx->pool[c];
	uint32_t from = c + 1;

	while (from < tx->pools && !tx->pool[from].free.n)
		from++;
	if (from < tx->pools) {
		while (from > c)
			split(tx, from--);
	} else if (p->whole.n) {
		uint32_t id = p->whole.head;

		join(tx, c, id);
		tx->slots[id].state = SLOT_FREE;
		slot_list_add(tx, &p->free, id);
	}
	return p->free.n != 0;
}

uint32_t slots_left(const struct channel_tx *tx, uint32_t c)
{
	const struct slot_pool *p = &tx->pool[c];
	uint32_t n = p->free.n + p->whole.n;

	/* All parts of a whole one are free, or whole. */
	return tx->nested && c + 1 < tx->pools ? n - (p[1].whole.n << p[1].parts_shift) : n;
}
