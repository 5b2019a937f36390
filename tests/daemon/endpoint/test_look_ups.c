/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest asks for thousands of names while no name server answers: what that costs its lcore does
 * not grow with their number. The clock and the resolver are this file's.
 */
#include "base/wheel.h"
#include "endpoint/tcp_out/look_ups.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MANY  5000u
#define POLLS 100u

static struct guest guest;
static struct look_ups look_ups;
static struct look_up ups[MANY];
static unsigned order[MANY], n_over, over_err;
static struct wheel wheel;
static uint64_t now;

/* ---- what the rest of the daemon would do ---- */

struct resolve {
	bool used, is_over;
};

static struct resolve asked[RESOLVE_SHARE];
static unsigned asks, looks, polls;
static bool no_memory;

int __wrap_resolve_begin(struct resolve **out, const char *name, uint64_t owner);
bool __wrap_resolve_is_over(const struct resolve *r);
const struct addrinfo *__wrap_resolve_result(const struct resolve *r);
void __wrap_resolve_end(struct resolve *r);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);

int __wrap_resolve_begin(struct resolve **out, const char *name, uint64_t owner)
{
	assert_string_equal(name, "name");
	assert_int_equal(owner, 7);
	asks++;
	if (no_memory)
		return -ENOMEM;
	for (unsigned i = 0; i < RESOLVE_SHARE; i++)
		if (!asked[i].used) {
			asked[i] = (struct resolve){.used = true};
			*out = &asked[i];
			return 0;
		}
	return -EBUSY;
}

bool __wrap_resolve_is_over(const struct resolve *r)
{
	looks++;
	return r->is_over;
}

const struct addrinfo *__wrap_resolve_result(const struct resolve *r)
{
	assert_true(r->used && r->is_over);
	return NULL;
}

void __wrap_resolve_end(struct resolve *r)
{
	assert_true(r->used);
	r->used = false;
}

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	wheel_start(&wheel, t, now, ns);
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	wheel_stop(&wheel, t);
}

/* ---- helpers ---- */

static void over(struct look_up *u, const struct addrinfo *found, int err)
{
	assert_null(found);
	assert_false(u->waits);
	assert_true(n_over < MANY);
	over_err += err == -ENOMEM;
	order[n_over++] = (unsigned)(u - ups);
}

/* Time passes; no two timers are needed at once. */
static void pass(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		assert_true(wheel.n_timers <= 1);
		now += LOOK_UPS_POLL_NS + WHEEL_NS;
		polls += wheel_run(&wheel, now);
	}
}

static void answer_all(void)
{
	for (unsigned i = 0; i < RESOLVE_SHARE; i++)
		asked[i].is_over = true;
}

static int setup(void **state)
{
	(void)state;
	memset(&guest, 0, sizeof(guest));
	memset(ups, 0, sizeof(ups));
	memset(asked, 0, sizeof(asked));
	guest.serial = 7;
	guest.queues[0].guest = &guest;
	look_ups_init(&look_ups, &guest.queues[0]);
	wheel_init(&wheel);
	asks = looks = polls = n_over = over_err = 0;
	no_memory = false;
	for (unsigned i = 0; i < MANY; i++) {
		ups[i].name = "name";
		ups[i].over = over;
	}
	return 0;
}

static void begin(unsigned first, unsigned last)
{
	for (unsigned i = first; i < last; i++)
		look_up_begin(&look_ups, &ups[i]);
}

/* ---- cases ---- */

static void many_wait_in_line(void **state)
{
	(void)state;
	begin(0, MANY);
	pass(POLLS);
	assert_int_equal(polls, POLLS);
	assert_int_equal(n_over, 0);
	/* Once each, one more that found no room; then one try and RESOLVE_SHARE looks a poll. */
	assert_in_range(asks, RESOLVE_SHARE, RESOLVE_SHARE + 1 + POLLS);
	assert_in_range(looks, 1, POLLS * RESOLVE_SHARE);
	assert_int_equal(guest.queues[0].lq.debt, RESOLVE_SHARE); /* threads were started */
	while (n_over < MANY) {
		unsigned before = n_over;

		answer_all();
		pass(1);
		assert_in_range(n_over, before + 1, before + RESOLVE_SHARE);
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(order[i], i); /* first come, first served */
	pass(1);
	assert_int_equal(wheel.n_timers, 0);
	assert_int_equal(polls, POLLS + (MANY + RESOLVE_SHARE - 1) / RESOLVE_SHARE);
}

static void some_give_up(void **state)
{
	(void)state;
	begin(0, 100);
	for (unsigned i = 0; i < 100; i += 2) { /* asked ones, and ones in line */
		look_up_end(&look_ups, &ups[i]);
		look_up_end(&look_ups, &ups[i]);
	}
	for (unsigned i = 0; i < 50 && n_over < 50; i++) {
		answer_all();
		pass(1);
	}
	assert_int_equal(n_over, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(order[i], 2 * i + 1);
	begin(0, 100);
	for (unsigned i = 0; i < 100; i++)
		look_up_end(&look_ups, &ups[i]);
	assert_int_equal(wheel.n_timers, 0);
	for (unsigned i = 0; i < RESOLVE_SHARE; i++)
		assert_false(asked[i].used);
	assert_int_equal(n_over, 50);
}

static void without_memory(void **state)
{
	(void)state;
	no_memory = true;
	begin(0, 40);
	assert_int_equal(n_over, 40);
	assert_int_equal(over_err, 40);
	assert_int_equal(wheel.n_timers, 0);
	no_memory = false;
	begin(40, 41);
	answer_all();
	pass(1);
	assert_int_equal(n_over, 41);
	assert_int_equal(over_err, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(many_wait_in_line, setup),
		cmocka_unit_test_setup(some_give_up, setup),
		cmocka_unit_test_setup(without_memory, setup),
	};

	return cmocka_run_group_tests_name("look_ups", tests, NULL, NULL);
}
