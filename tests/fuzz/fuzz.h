/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every fuzz target starts from.
 *
 * Theory of operation
 * -------------------
 * A target is one file fuzz_NAME.c with the function that libFuzzer calls. It reads its input as a
 * small program: a few bytes of set-up, then operations (a byte of opcode, then operands) until the
 * input is used up; missing operand bytes read as 0. So a mutation changes what happens and in what
 * order, and cutting an input leaves one that means something. A run does work in proportion to the
 * length of its input: a loop without end in the code under test shows as libFuzzer's timeout.
 *
 * Memory faults are AddressSanitizer's to find, so memory that the code under test may touch is
 * allocated to the byte. What else must hold is said by FZ_CHECK, which works in every build:
 * the same files, linked with main.c instead of libFuzzer, run the committed seeds as tests.
 */
#ifndef ZV_FUZZ_H
#define ZV_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FZ_CHECK(cond)                                                                             \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			(void)fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The input, and how much of it is left. */
struct fz {
	const uint8_t *p;
	size_t left;
};

/* Copies @n bytes to @dst; zeroes where the input has ended. */
static inline void fz_bytes(struct fz *z, void *dst, size_t n)
{
	size_t have = n < z->left ? n : z->left;

	memset(dst, 0, n);
	if (have)
		memcpy(dst, z->p, have);
	z->p += have;
	z->left -= have;
}

static inline uint8_t fz_u8(struct fz *z)
{
	uint8_t v;

	fz_bytes(z, &v, sizeof(v));
	return v;
}

static inline uint16_t fz_u16(struct fz *z)
{
	uint16_t v;

	fz_bytes(z, &v, sizeof(v));
	return v;
}

static inline uint32_t fz_u32(struct fz *z)
{
	uint32_t v;

	fz_bytes(z, &v, sizeof(v));
	return v;
}

static inline uint64_t fz_u64(struct fz *z)
{
	uint64_t v;

	fz_bytes(z, &v, sizeof(v));
	return v;
}

/* A number below @n, which is not 0. */
static inline uint32_t fz_below(struct fz *z, uint32_t n)
{
	return (n <= 256 ? fz_u8(z) : n <= 65536 ? fz_u16(z) : fz_u32(z)) % n;
}

#endif
