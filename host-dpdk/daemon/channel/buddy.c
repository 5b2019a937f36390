/* SPDX-License-Identifier: BSD-3-Clause */
#include "buddy.h"

#include "base/sparse.h"

#include <errno.h>
#include <stddef.h>

#define NONE   UINT32_MAX
#define ORDERS 32u

enum { INSIDE, FREE, TAKEN }; /* INSIDE: no block begins at this unit */

struct block {
	uint32_t next, prev; /* in the list of free blocks of its order */
	uint8_t state, order;
};

struct buddy {
	uint64_t unit, left; /* in bytes; `left`: free */
	uint32_t n;	     /* number of units */
	uint32_t generation; /* of the last block allocated */
	uint32_t free[ORDERS];
	struct block at[]; /* one for each unit */
};

static void list_add(struct buddy *p, uint32_t i, unsigned order)
{
	struct block *b = &p->at[i];

	*b = (struct block){p->free[order], NONE, FREE, (uint8_t)order};
	if (b->next != NONE)
		p->at[b->next].prev = i;
	p->free[order] = i;
}

static void list_remove(struct buddy *p, uint32_t i)
{
	const struct block *b = &p->at[i];

	if (b->next != NONE)
		p->at[b->next].prev = b->prev;
	if (b->prev != NONE)
		p->at[b->prev].next = b->next;
	else
		p->free[b->order] = b->next;
	p->at[i].state = INSIDE;
}

static size_t bytes_of(uint64_t n)
{
	return sizeof(struct buddy) + n * sizeof(struct block);
}

struct buddy *buddy_new(uint64_t size, uint64_t unit)
{
	uint64_t n = size / unit;
	struct buddy *p;

	if (!n || n > 1u << (ORDERS - 1))
		return NULL;
	p = sparse_alloc(bytes_of(n));
	if (!p)
		return NULL;
	p->unit = unit;
	p->n = (uint32_t)n;
	p->left = n * unit;
	for (unsigned k = 0; k < ORDERS; k++)
		p->free[k] = NONE;
	/* The largest blocks that fit, from the beginning; they shrink towards the end. */
	for (uint32_t i = 0; i < p->n;) {
		unsigned order = 31 - (unsigned)__builtin_clz(p->n - i);

		if (i && order > (unsigned)__builtin_ctz(i))
			order = (unsigned)__builtin_ctz(i);
		list_add(p, i, order);
		i += 1u << order;
	}
	return p;
}

void buddy_destroy(struct buddy *p)
{
	if (p)
		sparse_free(p, bytes_of(p->n));
}

static unsigned order_for(const struct buddy *p, uint64_t bytes)
{
	unsigned order = 0;

	while (order < ORDERS && p->unit << order < bytes)
		order++;
	return order;
}

int buddy_alloc(struct buddy *p, uint64_t bytes, struct buddy_block *out)
{
	unsigned want, order;
	uint32_t i;

	if (!bytes)
		return -EINVAL;
	if (bytes > p->left)
		return -ENOSPC;
	want = order = order_for(p, bytes);
	while (order < ORDERS && p->free[order] == NONE)
		order++;
	if (order == ORDERS)
		return -ENOSPC;
	i = p->free[order];
	list_remove(p, i);
	while (order > want) { /* puts the upper half back */
		order--;
		list_add(p, i + (1u << order), order);
	}
	p->at[i] = (struct block){NONE, NONE, TAKEN, (uint8_t)order};
	if (!++p->generation)
		p->generation = 1;
	*out = (struct buddy_block){i * p->unit, p->unit << order, p->generation};
	p->left -= out->length;
	return 0;
}

int buddy_free(struct buddy *p, uint64_t offset)
{
	uint64_t i = offset / p->unit;
	unsigned order;

	if (offset % p->unit || i >= p->n || p->at[i].state != TAKEN)
		return -EINVAL;
	order = p->at[i].order;
	p->left += p->unit << order;
	p->at[i].state = INSIDE;
	for (; order < ORDERS - 1; order++) {
		uint64_t buddy = i ^ (1u << order);

		if (buddy >= p->n || p->at[buddy].state != FREE || p->at[buddy].order != order)
			break;
		list_remove(p, (uint32_t)buddy);
		i &= buddy;
	}
	list_add(p, (uint32_t)i, order);
	return 0;
}

uint64_t buddy_free_bytes(const struct buddy *p)
{
	return p->left;
}

uint64_t buddy_largest(const struct buddy *p)
{
	for (unsigned order = ORDERS; order--;)
		if (p->free[order] != NONE)
			return p->unit << order;
	return 0;
}
