/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of a region (channel/buddy.h) and what channels look like (channel/shape.h). */
#include "channel/buddy.h"
#include "channel/shape.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNIT   4096u
#define UNITS  999u /* no power of two */
#define REGION (UNITS * UNIT)
#define STEPS  200000u

static uint32_t rnd(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 20);
}

static void sizes_are_rounded(void **state)
{
	struct buddy *p = buddy_new(16 * UNIT, UNIT);
	struct buddy_block a, b;

	(void)state;
	assert_int_equal(buddy_free_bytes(p), 16 * UNIT);
	assert_int_equal(buddy_largest(p), 16 * UNIT);
	assert_int_equal(buddy_alloc(p, 0, &a), -EINVAL);
	assert_int_equal(buddy_alloc(p, 16 * UNIT + 1, &a), -ENOSPC);
	assert_int_equal(buddy_alloc(p, 1, &a), 0);
	assert_int_equal(a.length, UNIT);
	assert_int_equal(buddy_alloc(p, 2 * UNIT + 1, &b), 0);
	assert_int_equal(b.length, 4 * UNIT);
	assert_int_equal(b.offset % b.length, 0);
	assert_int_equal(buddy_free_bytes(p), 11 * UNIT);
	assert_int_equal(buddy_largest(p), 8 * UNIT);
	assert_int_equal(buddy_free(p, b.offset + UNIT), -EINVAL); /* inside */
	assert_int_equal(buddy_free(p, b.offset + 1), -EINVAL);
	assert_int_equal(buddy_free(p, 16 * UNIT), -EINVAL);
	assert_int_equal(buddy_free(p, UINT64_MAX - UNIT + 1), -EINVAL);
	assert_int_equal(buddy_free(p, b.offset), 0);
	assert_int_equal(buddy_free(p, b.offset), -EINVAL); /* twice */
	assert_int_equal(buddy_free(p, a.offset), 0);
	assert_int_equal(buddy_largest(p), 16 * UNIT);
	buddy_destroy(p);
}

static void what_cannot_be_is_refused(void **state)
{
	struct buddy *p;

	(void)state;
	assert_null(buddy_new(UNIT - 1, UNIT));
	assert_null(buddy_new(0, UNIT));
	assert_null(buddy_new(UINT64_MAX, 1));
	p = buddy_new(UNIT, UNIT);
	assert_int_equal(buddy_free_bytes(p), UNIT);
	buddy_destroy(p);
	buddy_destroy(NULL);
}

/* The part that was used last comes first, with another generation. */
static void warm_parts_come_first(void **state)
{
	struct buddy *p = buddy_new(64 * UNIT, UNIT);
	struct buddy_block a[8], again;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(buddy_alloc(p, UNIT, &a[i]), 0);
	for (unsigned i = 0; i < 8; i += 2)
		assert_int_equal(buddy_free(p, a[i].offset), 0);
	for (unsigned i = 8; i; i -= 2) {
		assert_int_equal(buddy_alloc(p, UNIT, &again), 0);
		assert_int_equal(again.offset, a[i - 2].offset);
		assert_true(again.generation > a[7].generation);
	}
	buddy_destroy(p);
}

/* A model beside it: who has each unit, and the last generation that it was in. */
static uint32_t owner[UNITS], last[UNITS];

struct taken {
	struct buddy_block p;
	bool used;
};

static void model_take(const struct buddy_block *t, uint32_t who)
{
	assert_int_equal(t->offset % t->length, 0);
	assert_true(t->offset + t->length <= REGION);
	assert_true(t->generation);
	for (uint64_t u = t->offset / UNIT; u < (t->offset + t->length) / UNIT; u++) {
		assert_int_equal(owner[u], 0);
		assert_true(last[u] < t->generation); /* no wrap in this test */
		owner[u] = who;
		last[u] = t->generation;
	}
}

static void model_give(const struct buddy_block *t)
{
	for (uint64_t u = t->offset / UNIT; u < (t->offset + t->length) / UNIT; u++)
		owner[u] = 0;
}

static uint64_t model_left(void)
{
	uint64_t n = 0;

	for (unsigned u = 0; u < UNITS; u++)
		n += owner[u] == 0;
	return n * UNIT;
}

/* The largest aligned free block of the model: a power of two of free units. */
static uint64_t model_largest(void)
{
	for (uint32_t size = 512; size; size /= 2)
		for (uint32_t at = 0; at + size <= UNITS; at += size) {
			uint32_t n = 0;

			while (n < size && !owner[at + n])
				n++;
			if (n == size)
				return (uint64_t)size * UNIT;
		}
	return 0;
}

static void any_order_agrees_with_a_model(void **state)
{
	static struct taken taken[300];
	struct buddy *p = buddy_new(REGION + UNIT - 1, UNIT);

	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		uint32_t i = rnd() % 300;
		struct taken *t = &taken[i];

		if (t->used) {
			assert_int_equal(buddy_free(p, t->p.offset), 0);
			model_give(&t->p);
			t->used = false;
		} else {
			uint64_t want = 1 + rnd() % (UNIT << rnd() % 9);
			int ret = buddy_alloc(p, want, &t->p);

			t->used = ret == 0;
			if (ret == 0) {
				assert_true(t->p.length >= want);
				assert_true(t->p.length < 2 * want || t->p.length == UNIT);
				model_take(&t->p, i + 1);
			} else {
				assert_int_equal(ret, -ENOSPC);
				assert_true(model_largest() < want);
			}
		}
		assert_int_equal(buddy_free_bytes(p), model_left());
		if (step % 64 == 0)
			assert_int_equal(buddy_largest(p), model_largest());
		(void)buddy_free(p, (uint64_t)rnd() << 8 | 1); /* nonsense changes nothing */
	}
	for (unsigned i = 0; i < 300; i++)
		if (taken[i].used)
			assert_int_equal(buddy_free(p, taken[i].p.offset), 0);
	assert_int_equal(buddy_free_bytes(p), REGION);
	assert_int_equal(buddy_largest(p), 512 * UNIT);
	buddy_destroy(p);
}

/* ---- shapes ---- */

static void every_size_has_a_valid_shape(void **state)
{
	struct shm_channel_desc d;

	(void)state;
	for (uint64_t bytes = CHANNEL_MIN; bytes <= CHANNEL_MAX;
	     bytes += bytes < 16u << 20 ? SHM_CHANNEL_ALIGN : bytes / 8) {
		uint64_t need;

		channel_shape(&d, bytes);
		need = shm_channel_bytes(&d);
		assert_true(need && need <= bytes);
		assert_true(bytes - need <= bytes / 32); /* little is wasted */
		assert_int_equal(d.length, bytes);
		assert_true(d.dir[0].entries >= 512); /* some batches of 32 */
		assert_memory_equal(&d.dir[0], &d.dir[1], sizeof(d.dir[0]));
		d.offset = 7 * SHM_CHANNEL_ALIGN;
		assert_int_equal(shm_channel_check(&d, d.offset + bytes), 0);
		assert_int_equal(shm_channel_check(&d, d.offset + bytes - 1), -EINVAL);
	}
}

static void a_shape_has_all_sizes_of_slots(void **state)
{
	struct shm_channel_desc d;

	(void)state;
	channel_shape(&d, CHANNEL_MIN);
	assert_int_equal(d.dir[0].classes, 2);
	assert_true(d.dir[0].cls[0].slots >= 4 && d.dir[0].cls[1].slots >= 1);
	channel_shape(&d, 8u << 20);
	assert_int_equal(d.dir[0].entries, 1024);
	assert_int_equal(d.dir[0].classes, 3);
	/* Any size can use all but what the rings take. */
	assert_true(d.dir[0].cls[0].slots >= 990 && d.dir[0].cls[1].slots == 62 &&
		    d.dir[0].cls[2].slots == 3);
}

static void a_region_has_room_for_some(void **state)
{
	(void)state;
	assert_int_equal(channel_bytes(256u << 20, 0), 8u << 20);
	assert_int_equal(channel_bytes(1u << 30, 0), 8u << 20);
	assert_int_equal(channel_bytes(100u << 20, 0), 2u << 20);
	assert_int_equal(channel_bytes(4u << 20, 0), CHANNEL_MIN);
	assert_int_equal(channel_bytes(2 * CHANNEL_MIN, 0), CHANNEL_MIN);
	assert_int_equal(channel_bytes(2 * CHANNEL_MIN - 1, 0), 0);
	assert_int_equal(channel_bytes(0, 0), 0);
	assert_int_equal(channel_bytes(256u << 20, 64u << 20), 64u << 20);
	assert_int_equal(channel_bytes(16u << 20, 64u << 20), 8u << 20);
	assert_int_equal(channel_bytes(256u << 20, CHANNEL_MIN), CHANNEL_MIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_rounded),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(warm_parts_come_first),
		cmocka_unit_test(any_order_agrees_with_a_model),
		cmocka_unit_test(every_size_has_a_valid_shape),
		cmocka_unit_test(a_shape_has_all_sizes_of_slots),
		cmocka_unit_test(a_region_has_room_for_some),
	};

	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
