/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of api/proto share: cmocka's includes in its order, and a repeatable generator. */
#ifndef PROTO_TEST_H
#define PROTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* xorshift64*: the same numbers in every run, so that a failure can be repeated. */
static inline uint32_t test_rand(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return (uint32_t)(x * 0x2545f4914f6cdd1dULL >> 32);
}

/* [lo, hi] */
static inline uint32_t test_between(uint64_t *state, uint32_t lo, uint32_t hi)
{
	return lo + (uint32_t)(test_rand(state) % ((uint64_t)hi - lo + 1));
}

#endif
