/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of a region: which are free, and who was the last to use which.
 *
 * Theory of operation
 * -------------------
 * A buddy allocator. A block has a power of two of units, and lies at a multiple of its size; one
 * that is too large is halved, and of two free halves the whole is made again. All it knows is in
 * private memory: whoever can write to the region cannot touch it, and the region's pages are not.
 *
 * Among blocks of one size the one that was given back last is taken first: its pages are there.
 *
 * Each part that is taken gets the next number as its generation, so an end of a channel that was
 * there before is told from it. Numbers begin again after 2^32 - 1: what must not be mistaken by
 * then is a grant on its way, which is dead after connect_timeout_ms, ten minutes at most, and that
 * many parts are not taken in ten minutes.
 *
 * Not for two threads at once.
 */
#ifndef ZVD_PARTS_H
#define ZVD_PARTS_H

#include <stdint.h>

struct parts;

struct part {
	uint64_t offset, length; /* bytes; multiples of the unit */
	uint32_t generation;	 /* never 0 */
};

/* Of @size bytes, from which what does not fill a @unit (a power of two) is left out. NULL: no
 * memory, or not one unit. */
struct parts *parts_new(uint64_t size, uint64_t unit);
void parts_destroy(struct parts *p);

/* Takes at least @bytes, rounded up to a power of two. 0; -ENOSPC: no block of that size is free;
 * -EINVAL: 0 bytes. */
int parts_take(struct parts *p, uint64_t bytes, struct part *out);

/* Gives the part at @offset back. -EINVAL: none that is taken begins there. */
int parts_give(struct parts *p, uint64_t offset);

/* Bytes that are free, and those of the largest part that can be taken. */
uint64_t parts_left(const struct parts *p);
uint64_t parts_largest(const struct parts *p);

#endif
