/* SPDX-License-Identifier: BSD-3-Clause */
#include "pattern.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are compared as they lie");

/*
 * The same loop for each generation of vector registers, chosen when the program is loaded. A
 * sanitizer instruments the chooser, which runs before the sanitizer is ready: plain code then.
 */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&      \
	!defined(__clang__)
#define PATTERN_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PATTERN_CLONES
#endif

/* @lines whole cache lines, the first of which starts with word value @w. */
PATTERN_CLONES static void fill_lines(unsigned char *p, size_t lines, uint64_t w)
{
	const pattern_line steps = PATTERN_LINE_STEPS;
	pattern_line v = steps + w;

	for (size_t i = 0; i < lines; i++) {
		*(pattern_line *)(p + i * 64) = v;
		v += 8 * PATTERN_WORD;
	}
}

PATTERN_CLONES static uint64_t diff_lines(const unsigned char *p, size_t lines, uint64_t w)
{
	const pattern_line steps = PATTERN_LINE_STEPS;
	pattern_line v = steps + w, d = {0};

	for (size_t i = 0; i < lines; i++) {
		d |= *(const pattern_line *)(p + i * 64) ^ v;
		v += 8 * PATTERN_WORD;
	}
	return d[0] | d[1] | d[2] | d[3] | d[4] | d[5] | d[6] | d[7];
}

/* Bytes of message base value @w from @off: returns how many leave @off a multiple of 8, or all. */
static size_t head_len(size_t len, size_t off)
{
	size_t n = (8 - (off & 7)) & 7;

	return n < len ? n : len;
}

void pattern_fill_any(void *dst, size_t len, uint64_t salt, uint64_t seq, size_t off)
{
	uint64_t base = salt + seq * PATTERN_SEQ, w;
	unsigned char *p = dst;
	size_t n = head_len(len, off);

	if (n) {
		w = base + (off / 8) * PATTERN_WORD;
		memcpy(p, (unsigned char *)&w + (off & 7), n);
		p += n;
		off += n;
		len -= n;
	}
	fill_lines(p, len / 64, base + (off / 8) * PATTERN_WORD);
	n = len & ~(size_t)63;
	p += n;
	off += n;
	len -= n;
	for (; len; p += n, off += n, len -= n) {
		n = len < 8 ? len : 8;
		w = base + (off / 8) * PATTERN_WORD;
		memcpy(p, &w, n);
	}
}

bool pattern_check_any(const void *src, size_t len, uint64_t salt, uint64_t seq, size_t off)
{
	uint64_t base = salt + seq * PATTERN_SEQ, w;
	const unsigned char *p = src;
	size_t n = head_len(len, off);

	if (n) {
		w = base + (off / 8) * PATTERN_WORD;
		if (memcmp(p, (unsigned char *)&w + (off & 7), n) != 0)
			return false;
		p += n;
		off += n;
		len -= n;
	}
	if (diff_lines(p, len / 64, base + (off / 8) * PATTERN_WORD) != 0)
		return false;
	n = len & ~(size_t)63;
	p += n;
	off += n;
	len -= n;
	for (; len; p += n, off += n, len -= n) {
		n = len < 8 ? len : 8;
		w = base + (off / 8) * PATTERN_WORD;
		if (memcmp(p, &w, n) != 0)
			return false;
	}
	return true;
}
