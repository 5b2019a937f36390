/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings in which each entry itself tells that it is present.
 *
 * Theory of operation
 * -------------------
 * A ring that announces entries by an index costs its reader two cache lines, one after the other:
 * the index, then the entry. Here the reader polls the entry itself. Each entry is one 64-bit word
 * whose upper 16 bits, the *mark*, are the number of the lap: a word with this lap's mark is a new
 * entry, one with the last lap's mark is an old one, and anything else was not written by an honest
 * peer. The word is loaded once and contains everything needed to decide what to do; eight words
 * share a cache line. Data that does not fit into the word is in separate memory, written before
 * the word: barrier pair [R].
 *
 * The writer must not overtake the reader; how it learns the reader's position is not handled in
 * this file. A lap is as long as the ring, and each position is written once per lap, used or not,
 * so a mark that is one lap old is the oldest possible. Marks start at 1, on zeroed memory, and
 * wrap. Sizes are powers of two up to 65536, so a position that wraps at 2^32 wraps together with
 * the mark.
 */
#ifndef ZV_MARK_RING_H
#define ZV_MARK_RING_H

#include "shm_access.h"

#include <stdbool.h>

#define MARK_SHIFT 48

static inline uint16_t mark_of(uint32_t pos, unsigned shift)
{
	return (uint16_t)((pos >> shift) + 1);
}

/* Writes the entry at @pos: what was written before is visible to a reader that sees it. */
static inline void mark_put(uint64_t *words, uint32_t pos, unsigned shift, uint64_t word)
{
	uint64_t marked = (uint64_t)mark_of(pos, shift) << MARK_SHIFT | word;

	shm_store_release64(&words[pos & ((1u << shift) - 1)], marked); /* barrier pair [R] */
}

/* Loads the entry at @pos. 1: it is there; 0: not yet; -1: neither was written by an honest peer.
 */
static inline int mark_get(const uint64_t *words, uint32_t pos, unsigned shift, uint64_t *word)
{
	uint64_t w = shm_load_acquire64(&words[pos & ((1u << shift) - 1)]); /* barrier pair [R] */
	uint16_t ahead = (uint16_t)(mark_of(pos, shift) - (uint16_t)(w >> MARK_SHIFT));

	*word = w;
	return ahead == 0 ? 1 : ahead == 1 ? 0 : -1;
}

#endif
