/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring of waiting datagrams, alone: beside a plain list of what must be in it. */
#include "socket/core/dgram_fifo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZES 5u
#define MOST  (262144u / 3) /* bytes of a datagram */

static uint32_t rnd(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void fill(uint8_t *p, uint32_t len, uint32_t salt)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(salt * 31 + i * 7);
}

/* Writes datagram @salt of @len bytes, in pieces. */
static bool put(struct dgram_fifo *f, uint32_t len, uint32_t salt, uint32_t piece)
{
	static uint8_t data[MOST];
	const struct dgram_msg m = {.src_cid = salt,
				    .dst_cid = ~(uint64_t)salt,
				    .src_port = salt + 1,
				    .dst_port = salt + 2,
				    .len = len};

	if (!dgram_fifo_begin(f, &m))
		return false;
	fill(data, len, salt);
	for (uint32_t at = 0; at < len; at += piece)
		dgram_fifo_add(f, data + at, len - at < piece ? len - at : piece);
	return true;
}

static void expect(struct dgram_fifo *f, uint32_t len, uint32_t salt)
{
	static uint8_t want[MOST], got[MOST];
	struct dgram_msg m;

	dgram_fifo_first(f, &m);
	assert_int_equal(m.src_cid, salt);
	assert_int_equal(m.dst_cid, ~(uint64_t)salt);
	assert_int_equal(m.src_port, salt + 1);
	assert_int_equal(m.dst_port, salt + 2);
	assert_int_equal(m.len, len);
	fill(want, len, salt);
	got[len / 2] = 0xee;
	dgram_fifo_copy(f, got, len / 2);
	assert_memory_equal(got, want, len / 2);
	assert_int_equal(got[len / 2], 0xee);
	dgram_fifo_copy(f, got, len);
	assert_memory_equal(got, want, len);
	dgram_fifo_pop(f);
}

static void as_a_list_would(void **state)
{
	static const uint32_t sizes[SIZES] = {64, 4096, 4104, 70000, 262144};

	(void)state;
	for (unsigned s = 0; s < SIZES; s++) {
		struct dgram_fifo *f = dgram_fifo_new(sizes[s]);
		uint32_t first = 0, next = 0, used = 0, seed = s, lens[9000] = {0};

		assert_non_null(f);
		for (unsigned step = 0; step < 20000; step++) {
			uint32_t len = rnd(&seed) % (sizes[s] / 3), cost = 32 + (len + 7) / 8 * 8;
			bool fits = cost <= sizes[s] - used;

			if (step % 7 == 0)
				len = step % 2;
			cost = 32 + (len + 7) / 8 * 8;
			fits = cost <= sizes[s] - used;
			assert_int_equal(put(f, len, next, 1 + rnd(&seed) % 3000), fits);
			if (fits && rnd(&seed) % 5) { /* or it is given up */
				dgram_fifo_commit(f);
				lens[next++ % 9000] = len;
				used += cost;
			}
			assert_int_equal(dgram_fifo_count(f), next - first);
			while (first != next && rnd(&seed) % 2) {
				len = lens[first % 9000];
				expect(f, len, first++);
				used -= 32 + (len + 7) / 8 * 8;
			}
		}
		assert_true(next > 2000);
		free(f);
	}
}

static void lengths_that_cannot_be(void **state)
{
	struct dgram_fifo *f = dgram_fifo_new(4096);

	(void)state;
	assert_non_null(f);
	assert_false(dgram_fifo_begin(f, &(struct dgram_msg){.len = UINT32_MAX}));
	assert_false(dgram_fifo_begin(f, &(struct dgram_msg){.len = UINT32_MAX - 31}));
	assert_false(dgram_fifo_begin(f, &(struct dgram_msg){.len = 4096 - 31}));
	assert_true(dgram_fifo_begin(f, &(struct dgram_msg){.len = 4096 - 32}));
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_a_list_would),
		cmocka_unit_test(lengths_that_cannot_be),
	};

	return cmocka_run_group_tests_name("dgram_fifo", tests, NULL, NULL);
}
