/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers by themselves: each expires once, whatever others do meanwhile, and who has many that are
 * not due does not make those that are dear. What fails there does not come back; the alarm ends
 * it.
 */
#include "base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_S 60
#define MANY   200000u
#define LAP    (WHEEL_SLOTS * (uint64_t)WHEEL_NS)
#define SOON   (2u * WHEEL_NS)

struct one {
	struct lcore_timer t;
	struct wheel *w;
	struct one *stops, *starts;
	unsigned ran;
};

static void expired(struct lcore_timer *t)
{
	struct one *o = (struct one *)(void *)t; /* t is first */

	o->ran++;
	if (o->stops)
		wheel_stop(o->w, &o->stops->t);
	if (o->starts)
		wheel_start(o->w, &o->starts->t, SOON + WHEEL_NS, SOON);
}

static struct one *make(struct wheel *w, unsigned n, uint64_t ns)
{
	struct one *o = calloc(n, sizeof(*o));

	assert_non_null(o);
	for (unsigned i = 0; i < n; i++) {
		o[i].w = w;
		o[i].t.expired = expired;
		wheel_start(w, &o[i].t, 0, ns);
	}
	return o;
}

static unsigned ran(const struct one *o, unsigned n)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += o[i].ran;
	return sum;
}

/* Both are in one slot. */
static void timers_of_later_laps_cost_once(void **state)
{
	struct one *later, *now;
	struct wheel w = {0};

	(void)state;
	wheel_init(&w);
	later = make(&w, MANY, SOON + LAP);
	now = make(&w, MANY, SOON);
	alarm(LONG_S);
	assert_true(wheel_run(&w, SOON + WHEEL_NS));
	alarm(0);
	assert_int_equal(ran(now, MANY), MANY);
	assert_int_equal(ran(later, MANY), 0);
	assert_true(wheel_run(&w, SOON + WHEEL_NS + LAP));
	assert_int_equal(ran(later, MANY), MANY);
	assert_int_equal(w.n_timers, 0);
	free(later);
	free(now);
}

/* One stops the next, the one before, itself and the last; one starts itself and the next. */
static void timers_change_others(void **state)
{
	struct wheel w = {0};
	struct one *o;

	(void)state;
	wheel_init(&w);
	o = make(&w, 8, SOON);
	o[0].stops = &o[1];
	o[2].stops = &o[0];
	o[3].stops = &o[3];
	o[4].starts = &o[5];
	o[6].starts = &o[6];
	o[6].stops = &o[7];
	assert_true(wheel_run(&w, SOON + WHEEL_NS));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(o[i].ran, i != 1 && i != 5 && i != 7);
	assert_int_equal(w.n_timers, 2);
	o[6].starts = NULL;
	assert_true(wheel_run(&w, 2 * SOON + 2 * WHEEL_NS));
	assert_int_equal(o[5].ran, 1);
	assert_int_equal(o[6].ran, 2);
	assert_int_equal(w.n_timers, 0);
	assert_false(wheel_run(&w, LAP));
	free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_of_later_laps_cost_once),
		cmocka_unit_test(timers_change_others),
	};

	return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
