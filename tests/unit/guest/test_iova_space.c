/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of an IOMMU's address space: taken, given back, and never two owners at a time. */
#include "pci/device/iova_space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

#define UNIT IOVA_ALIGN

static struct iova_space s;

static int begin(void **state)
{
	(void)state;
	s = (struct iova_space){.next = 0};
	iova_space_range(&s, IOVA_FIRST, IOVA_FIRST + 256 * UNIT - 1);
	return 0;
}

static void ranges(void **state)
{
	struct iova_space r = {.next = 0};

	(void)state;
	assert_int_equal(iova_space_alloc(&r, 1), 0); /* none yet */
	iova_space_range(&r, 0, IOVA_FIRST - 1);      /* all below */
	assert_int_equal(r.next, 0);
	iova_space_range(&r, 2 * IOVA_FIRST + 5, UINT64_MAX);
	assert_int_equal(r.next, 2 * IOVA_FIRST + UNIT);
	iova_space_range(&r, 0, 2 * IOVA_FIRST - 1); /* holds the first */
	assert_int_equal(r.next, IOVA_FIRST);
	iova_space_range(&r, 3 * IOVA_FIRST, UINT64_MAX);
	assert_int_equal(r.next, IOVA_FIRST);
	assert_int_equal(iova_space_alloc(&r, 0), 0);
	assert_int_equal(iova_space_alloc(&r, UINT64_MAX), 0);
	assert_int_equal(iova_space_alloc(&r, IOVA_FIRST + UNIT), 0);
	assert_int_equal(iova_space_alloc(&r, 1), IOVA_FIRST);
	assert_int_equal(iova_space_alloc(&r, 1), IOVA_FIRST + UNIT);
}

static void what_is_given_back_is_found_again(void **state)
{
	uint64_t a = iova_space_alloc(&s, 3 * UNIT), b = iova_space_alloc(&s, UNIT),
		 c = iova_space_alloc(&s, 2 * UNIT);

	(void)state;
	assert_int_equal(b, a + 3 * UNIT);
	iova_space_free(&s, a, 3 * UNIT);
	assert_int_equal(iova_space_alloc(&s, 4 * UNIT), c + 2 * UNIT); /* too large for the hole */
	assert_int_equal(iova_space_alloc(&s, UNIT), a + 2 * UNIT);
	iova_space_free(&s, b, UNIT);
	iova_space_free(&s, a + 2 * UNIT, UNIT); /* between two holes */
	assert_int_equal(iova_space_alloc(&s, 4 * UNIT), a);
}

static void the_last_goes_back_to_the_range(void **state)
{
	uint64_t a = iova_space_alloc(&s, UNIT), b = iova_space_alloc(&s, UNIT + 1);

	(void)state;
	iova_space_free(&s, a, UNIT);
	iova_space_free(&s, b, UNIT + 1);
	assert_int_equal(s.next, IOVA_FIRST);
	for (unsigned i = 0; i < IOVA_HOLES_MAX; i++)
		assert_int_equal(s.holes[i].len, 0);
}

/* Takes and gives at random; @owner says who has a unit. */
static void no_address_has_two_owners(void **state)
{
	static bool owner[256];
	struct {
		uint64_t at, len;
	} mine[32] = {{0}};
	unsigned taken = 0;

	(void)state;
	srand(1);
	for (unsigned round = 0; round < 200000; round++) {
		unsigned i = (unsigned)rand() % 32;
		uint64_t n = (uint64_t)rand() % 12 + 1;

		if (mine[i].len) {
			for (uint64_t k = 0; k < mine[i].len; k++)
				owner[(mine[i].at - IOVA_FIRST) / UNIT + k] = false;
			iova_space_free(&s, mine[i].at, mine[i].len * UNIT);
			mine[i].len = 0;
			continue;
		}
		mine[i].at = iova_space_alloc(&s, n * UNIT);
		if (!mine[i].at)
			continue;
		taken++;
		mine[i].len = n;
		for (uint64_t k = 0; k < n; k++) {
			uint64_t unit = (mine[i].at - IOVA_FIRST) / UNIT + k;

			assert_true(unit < 256);
			assert_false(owner[unit]);
			owner[unit] = true;
		}
	}
	assert_true(taken > 50000);
	for (unsigned i = 0; i < 32; i++)
		if (mine[i].len)
			iova_space_free(&s, mine[i].at, mine[i].len * UNIT);
	assert_int_equal(s.next, IOVA_FIRST); /* nothing has been lost */
}

#define T(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ranges),
		T(what_is_given_back_is_found_again),
		T(the_last_goes_back_to_the_range),
		T(no_address_has_two_owners),
	};

	return cmocka_run_group_tests_name("iova_space", tests, NULL, NULL);
}
