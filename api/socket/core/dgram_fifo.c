/* SPDX-License-Identifier: BSD-3-Clause */
#include "dgram_fifo.h"

#include <stdlib.h>
#include <string.h>

struct dgram_fifo {
	uint32_t size;
	uint32_t head;	/* offset of the oldest; a multiple of 8, below size */
	uint32_t used;	/* bytes of complete datagrams */
	uint32_t count; /* of them */
	uint32_t begun; /* bytes of the one that is being written: all, and */
	uint32_t added; /* those that are there */
	uint8_t ring[] __attribute__((aligned(8)));
};

struct dgram_fifo *dgram_fifo_new(uint32_t size)
{
	struct dgram_fifo *f = malloc(sizeof(*f) + size);

	if (f)
		*f = (struct dgram_fifo){.size = size};
	return f;
}

static uint32_t after(const struct dgram_fifo *f, uint32_t bytes)
{
	return (uint32_t)(((uint64_t)f->head + bytes) % f->size);
}

/* Bytes that a datagram of @len bytes takes; more than any size when @len is too large. */
static uint64_t cost(uint32_t len)
{
	return DGRAM_COST + (((uint64_t)len + 7) & ~UINT64_C(7));
}

static void get(const struct dgram_fifo *f, uint32_t at, void *to, uint32_t n)
{
	uint32_t most = f->size - at, first = n < most ? n : most;

	memcpy(to, f->ring + at, first);
	memcpy((uint8_t *)to + first, f->ring, n - first);
}

static void put(struct dgram_fifo *f, uint32_t at, const void *from, uint32_t n)
{
	uint32_t most = f->size - at, first = n < most ? n : most;

	memcpy(f->ring + at, from, first);
	memcpy(f->ring, (const uint8_t *)from + first, n - first);
}

bool dgram_fifo_begin(struct dgram_fifo *f, const struct dgram_msg *m)
{
	if (cost(m->len) > f->size - f->used)
		return false;
	f->begun = (uint32_t)cost(m->len);
	f->added = DGRAM_COST;
	put(f, after(f, f->used), m, DGRAM_COST);
	return true;
}

void dgram_fifo_add(struct dgram_fifo *f, const void *data, uint32_t n)
{
	if (!n)
		return;
	put(f, after(f, f->used + f->added), data, n);
	f->added += n;
}

void dgram_fifo_commit(struct dgram_fifo *f)
{
	f->used += f->begun;
	f->begun = 0;
	f->count++;
}

uint32_t dgram_fifo_count(const struct dgram_fifo *f)
{
	return f->count;
}

void dgram_fifo_first(const struct dgram_fifo *f, struct dgram_msg *m)
{
	get(f, f->head, m, DGRAM_COST);
}

void dgram_fifo_copy(const struct dgram_fifo *f, void *data, uint32_t n)
{
	if (n)
		get(f, after(f, DGRAM_COST), data, n);
}

void dgram_fifo_pop(struct dgram_fifo *f)
{
	struct dgram_msg m;
	uint32_t bytes;

	dgram_fifo_first(f, &m);
	bytes = (uint32_t)cost(m.len);
	f->head = after(f, bytes);
	f->used -= bytes;
	f->count--;
}
