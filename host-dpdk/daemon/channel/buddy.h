/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An allocator of blocks of a region.
 *
 * Theory of operation
 * -------------------
 * A buddy allocator. A block has a power of two of units and is aligned to its size. A block that
 * is too large is split in halves, and two free halves are merged again. All state is in private
 * memory: whoever can write to the region cannot modify it, and the allocator does not touch the
 * pages of the region.
 *
 * Among blocks of one size the one returned last is taken first, because its pages are already
 * there.
 *
 * Each block taken gets the next number as its generation, which tells it from an earlier end of a
 * channel at the same place. Numbers repeat after 2^32 - 1. That is safe for a grant in transit,
 * because it is dead after connect_timeout_ms (at most ten minutes), and that many blocks are not
 * taken in ten minutes.
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

/* For @size bytes, without a remainder that does not fill a @unit (a power of two). NULL: no
 * memory, or less than one unit. */
struct buddy *buddy_new(uint64_t size, uint64_t unit);
void buddy_destroy(struct buddy *p);

/* Takes at least @bytes, rounded up to a power of two. 0; -ENOSPC: no block of that size is free;
 * -EINVAL: 0 bytes. */
int buddy_alloc(struct buddy *p, uint64_t bytes, struct buddy_block *out);

/* Returns the block at @offset. -EINVAL: no block that is in use begins there. */
int buddy_free(struct buddy *p, uint64_t offset);

/* Free bytes, and the size of the largest block that can be allocated. */
uint64_t buddy_free_bytes(const struct buddy *p);
uint64_t buddy_largest(const struct buddy *p);

#endif
