/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An allocator of blocks of a region.
 *
 * Theory of operation
 * -------------------
 * A buddy allocator. The length of a block is a power of two of units, and the block is aligned to
 * it. A block that is too large is split in halves, and two free halves are merged again. All state
 * is in private memory: whoever can write to the region cannot modify it, and the allocator does
 * not touch the pages of the region.
 *
 * Among free blocks of one size the one freed last is allocated first, because its pages exist
 * already.
 *
 * Each allocated block gets the next number as its generation, which distinguishes it from earlier
 * channels at the same offset. Numbers repeat after 2^32 - 1 allocations. A grant in transit cannot
 * be mistaken for a later one: it is invalid after connect_timeout_ms (at most ten minutes), and
 * that many blocks are not allocated in ten minutes.
 *
 * Not thread-safe.
 */
#ifndef ZVD_BUDDY_H
#define ZVD_BUDDY_H

#include <stdint.h>

struct buddy;

struct buddy_block {
	uint64_t offset, length; /* bytes; multiples of the unit */
	uint32_t generation;	 /* never 0 */
};

/* An allocator for @size bytes; a remainder smaller than @unit (a power of two) is not used. NULL:
 * no memory, less than one unit, or more than 2^31 units. */
struct buddy *buddy_new(uint64_t size, uint64_t unit);
void buddy_destroy(struct buddy *p);

/* Allocates at least @bytes, rounded up to a power of two of units. 0; -ENOSPC: no block of that
 * size is free; -EINVAL: 0 bytes. */
int buddy_alloc(struct buddy *p, uint64_t bytes, struct buddy_block *out);

/* Frees the block at @offset. -EINVAL: no block that is in use begins there. */
int buddy_free(struct buddy *p, uint64_t offset);

/* Free bytes, and the size of the largest block that can be allocated. */
uint64_t buddy_free_bytes(const struct buddy *p);
uint64_t buddy_largest(const struct buddy *p);

#endif
