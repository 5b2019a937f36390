/* SPDX-License-Identifier: BSD-3-Clause */
/* Which slow writes are charged to the peer that made the descriptor. Their times are made up. */
#include "wake_cost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SLOW_NS 10000000u /* slow on any machine */

/* @n writes that take @ns each. */
static void writes(struct wake_cost *c, struct wake_limit *l, unsigned n, uint64_t ns)
{
	for (unsigned i = 0; i < n; i++)
		(void)wake_cost_note(c, l, ns, wake_measured(c, l));
}

/* Fast ones, and a slow one by the clock, and by CPU time. */
static void a_slow_pair(struct wake_cost *c, struct wake_limit *l, uint64_t ns)
{
	writes(c, l, WAKE_MEASURED, 1);
	writes(c, l, 2, ns);
}

/* As it is @ns later. */
static void later(struct wake_limit *l, uint64_t ns)
{
	l->measured_until -= l->measured_until ? ns : 0;
	l->free_from -= l->free_from ? ns : 0;
}

/* Of a machine whose hypervisor takes its CPU now and then: no frontend's doing. */
static void a_slow_call_among_fast_ones_is_not_charged(void **state)
{
	struct wake_limit limit = {0};
	struct wake_cost c = {0};

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		a_slow_pair(&c, &limit, SLOW_NS);
		later(&limit, SLOW_NS * WAKE_FREE_PART);
	}
	assert_int_equal(limit.refilled, 0);
	writes(&c, &limit, WAKE_MEASURED - 1, 1);
	writes(&c, &limit, 1, SLOW_NS); /* another, too soon */
	assert_int_not_equal(limit.refilled, 0);
}

#define SLOWEST_NS 2000000000u /* with millions of watches */

/* Or a frontend that chooses which calls are slow would never be charged. */
static void what_is_not_charged_is_little(void **state)
{
	struct wake_limit limit = {0};
	struct wake_cost a = {0}, b = {0};

	(void)state;
	for (unsigned i = 0; !limit.refilled; i++) {
		assert_true(i <
			    100); /* this test is no slower than what it says that a call takes */
		a_slow_pair(&a, &limit, SLOWEST_NS);
		a_slow_pair(&b, &limit, SLOWEST_NS); /* another descriptor of the same device */
	}
}

/* One that leaves after a single slow call, before the limit is used up, is known by it. */
static void a_single_slow_call_is_seen(void **state)
{
	struct wake_limit limit = {0};
	struct wake_cost c = {0};

	(void)state;
	assert_false(wake_limit_used(&limit));
	assert_false(wake_cost_note(&c, &limit, SLOWEST_NS, true));
	assert_false(wake_limit_over(&limit));
	assert_true(wake_limit_used(&limit));
}

/* While CPU time is measured, what only the clock has seen is not charged, however often: the
 * thread had lost its CPU. */
static void a_machine_without_time_costs_no_guest_its_calls(void **state)
{
	struct wake_limit limit = {0};
	struct wake_cost c = {0};

	(void)state;
	writes(&c, &limit, WAKE_MEASURED, 1);
	writes(&c, &limit, 1, SLOWEST_NS);
	assert_true(wake_measured(&c, &limit));
	writes(&c, &limit, 100 * WAKE_MEASURED, 1);
	assert_true(wake_measured(&c, &limit));
	later(&limit, (uint64_t)WAKE_FREE_NS * WAKE_FREE_PART);
	writes(&c, &limit, 1, 1);
	assert_false(wake_measured(&c, &limit));
	assert_int_equal(limit.refilled, 0);
}

/* Or another descriptor for each call would be free. */
static void the_first_call_on_a_descriptor_is_charged(void **state)
{
	struct wake_limit limit = {0};
	struct wake_cost c = {0};

	(void)state;
	writes(&c, &limit, 1, SLOW_NS);
	assert_int_not_equal(limit.refilled, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_call_among_fast_ones_is_not_charged),
		cmocka_unit_test(what_is_not_charged_is_little),
		cmocka_unit_test(a_single_slow_call_is_seen),
		cmocka_unit_test(a_machine_without_time_costs_no_guest_its_calls),
		cmocka_unit_test(the_first_call_on_a_descriptor_is_charged),
	};

	return cmocka_run_group_tests_name("wake_cost", tests, NULL, NULL);
}
