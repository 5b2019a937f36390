/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The payload.
 *
 * Word i (8 bytes, little endian) of message seq on the stream `salt` is
 *
 *     salt + seq * PATTERN_SEQ + i * PATTERN_WORD        (mod 2^64, both factors odd)
 *
 * so no word of a message equals the word at the same place of any other message: a message that is
 * lost, doubled, reordered, shifted or from another connection differs in every word, and a
 * single wrong byte differs from what is expected. A message whose size is not a multiple of
 * 8 ends with the first bytes of its last word.
 *
 * The sender writes every byte, the receiver compares every byte. Both run at several times the
 * rate at which a cache line crosses cores, so that the transport is measured and not the bench.
 */
#ifndef BENCH_PATTERN_H
#define BENCH_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_SEQ  ((uint64_t)0x9e3779b97f4a7c15u)
#define PATTERN_WORD ((uint64_t)0xd1b54a32d192ed03u)

/* Writes bytes [off, off + len) of message @seq. */
void pattern_fill_any(void *dst, size_t len, uint64_t salt, uint64_t seq, size_t off);
/* True when the @len bytes at @src are bytes [off, off + len) of message @seq. */
bool pattern_check_any(const void *src, size_t len, uint64_t salt, uint64_t seq, size_t off);

/* A cache line of words at any address; the compiler splits it into the registers there are. */
typedef uint64_t pattern_line __attribute__((vector_size(64), aligned(1), may_alias));

#define PATTERN_LINE_STEPS                                                                         \
	{                                                                                          \
		0, PATTERN_WORD, 2 * PATTERN_WORD, 3 * PATTERN_WORD, 4 * PATTERN_WORD,             \
			5 * PATTERN_WORD, 6 * PATTERN_WORD, 7 * PATTERN_WORD                       \
	}

/* The 64-byte message, most frequent of all, without a call. */
static inline void pattern_fill(void *dst, size_t len, uint64_t salt, uint64_t seq, size_t off)
{
	if (len == 64 && off == 0) {
		const pattern_line steps = PATTERN_LINE_STEPS;

		*(pattern_line *)dst = steps + (salt + seq * PATTERN_SEQ);
		return;
	}
	pattern_fill_any(dst, len, salt, seq, off);
}

static inline bool pattern_check(const void *src, size_t len, uint64_t salt, uint64_t seq,
				 size_t off)
{
	if (len == 64 && off == 0) {
		const pattern_line steps = PATTERN_LINE_STEPS;
		pattern_line d = *(const pattern_line *)src ^ (steps + (salt + seq * PATTERN_SEQ));

		return (d[0] | d[1] | d[2] | d[3] | d[4] | d[5] | d[6] | d[7]) == 0;
	}
	return pattern_check_any(src, len, salt, seq, off);
}

#endif
