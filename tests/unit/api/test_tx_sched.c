/* SPDX-License-Identifier: BSD-3-Clause */
/* The scheduler of transmit buffers alone: no connection, no ring, any order of calls. */
#include "socket/core/tx_sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FLOWS 64u

static struct tx_sched s;
static struct tx_flow flow[FLOWS];
static uint64_t sent[FLOWS];

static int setup(void **state)
{
	(void)state;
	tx_sched_init(&s);
	memset(flow, 0, sizeof(flow));
	memset(sent, 0, sizeof(sent));
	return 0;
}

/* @i sends packets of @len while it may and there are buffers; then it waits for one. */
static void use_turn(unsigned i, uint32_t len, unsigned *buffers)
{
	while (*buffers && tx_sched_left(&s, &flow[i])) {
		tx_sched_charge(&s, &flow[i], len);
		sent[i] += len;
		--*buffers;
	}
	tx_sched_wait(&s, &flow[i], 1);
}

/* A poll that finds @buffers: those who are woken use them, in packets of @len (each its own). */
static void poll_with(unsigned buffers, const uint32_t *len)
{
	struct tx_flow *woken[FLOWS], *f = tx_sched_wake(&s, buffers);
	unsigned n = 0;

	for (; f; f = TAILQ_NEXT(f, link))
		woken[n++] = f;
	for (unsigned i = 0; i < n; i++)
		use_turn((unsigned)(woken[i] - flow), len[woken[i] - flow], &buffers);
}

/* Lists and states say the same. */
static void check_invariant(unsigned n)
{
	unsigned waiting = 0, woken = 0, listed = 0;
	const struct tx_flow *f;

	for (unsigned i = 0; i < n; i++) {
		waiting += flow[i].turn == TX_WAITING;
		woken += flow[i].turn == TX_WOKEN;
	}
	TAILQ_FOREACH(f, &s.waiters, link) {
		assert_int_equal(f->turn, TX_WAITING);
		listed++;
	}
	assert_int_equal(listed, waiting);
	listed = 0;
	TAILQ_FOREACH(f, &s.woken, link) {
		assert_int_equal(f->turn, TX_WOKEN);
		listed++;
	}
	assert_int_equal(listed, woken);
	assert_int_equal(s.nwoken, woken);
}

static void without_waiters_nobody_is_limited(void **state)
{
	(void)state;
	assert_true(tx_sched_left(&s, &flow[0]) == UINT32_MAX);
	for (unsigned i = 0; i < 1000; i++)
		tx_sched_charge(&s, &flow[0], TX_QUANTUM);
	assert_true(tx_sched_left(&s, &flow[0]) == UINT32_MAX);
	assert_int_equal(tx_sched_least_need(&s), 0);
}

static void nobody_overtakes_the_line(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	assert_int_equal(tx_sched_left(&s, &flow[1]), 0);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[0]);
	assert_int_equal(tx_sched_left(&s, &flow[1]), 0); /* nor the one that was just woken */
	assert_true(tx_sched_left(&s, &flow[0]) == UINT32_MAX);
	tx_sched_charge(&s, &flow[0], 64);
	assert_true(tx_sched_left(&s, &flow[1]) == UINT32_MAX);
}

/* Whoever is alone in line may try by itself, without a poll that wakes it. */
static void the_only_waiter_may_send(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	assert_true(tx_sched_left(&s, &flow[0]) == UINT32_MAX);
	tx_sched_wait(&s, &flow[1], 1);
	assert_int_equal(tx_sched_left(&s, &flow[0]), 0);
}

static void a_turn_ends_at_the_quantum_while_others_wait(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	tx_sched_wait(&s, &flow[1], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[0]);
	assert_int_equal(tx_sched_left(&s, &flow[0]), TX_QUANTUM);
	for (unsigned i = 0; i < TX_QUANTUM / TX_PKT_CHARGE; i++) {
		assert_true(tx_sched_left(&s, &flow[0]) > 0);
		tx_sched_charge(&s, &flow[0], 1); /* small packets take buffers as large ones do */
	}
	assert_int_equal(tx_sched_left(&s, &flow[0]), 0);
	tx_sched_wait(&s, &flow[0], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[1]); /* the other has its turn */
}

/* A turn without contenders has no end, and what is charged must not wrap to "has not sent". */
static void a_turn_of_4_gib_is_still_one(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[0]);
	for (unsigned i = 0; i < 70000; i++)
		tx_sched_charge(&s, &flow[0], 65536);
	assert_int_equal(flow[0].turn, TX_SENDING);
	tx_sched_wait(&s, &flow[1], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[1]);
	check_invariant(2);
}

/* The smallest share of @flows that send packets of @len is @percent of the mean or more. */
static void shares_are_fair(unsigned flows, const uint32_t *len, unsigned buffers, unsigned percent)
{
	uint64_t least = UINT64_MAX, sum = 0;

	for (unsigned i = 0; i < flows; i++)
		tx_sched_wait(&s, &flow[i], 1);
	for (unsigned r = 0; r < 20000; r++) {
		poll_with(buffers, len);
		check_invariant(flows);
	}
	for (unsigned i = 0; i < flows; i++) {
		uint64_t charged =
			len[i] > TX_PKT_CHARGE ? sent[i] : sent[i] / len[i] * TX_PKT_CHARGE;

		least = charged < least ? charged : least;
		sum += charged;
	}
	assert_true(least > 0);
	if (least < sum / flows * percent / 100)
		fail_msg("%llu of a mean of %llu", (unsigned long long)least,
			 (unsigned long long)sum / flows);
}

static void equal_flows_get_equal_shares(void **state)
{
	uint32_t len[FLOWS];

	for (unsigned i = 0; i < FLOWS; i++)
		len[i] = 512;
	for (unsigned buffers = 1; buffers <= 256; buffers *= 4) {
		setup(state);
		shares_are_fair(FLOWS, len, buffers, 95);
	}
}

static void small_packets_cost_what_large_ones_do(void **state)
{
	uint32_t len[8] = {65536, 1, 4096, 64, 512, 9000, 1, 2048};

	(void)state;
	shares_are_fair(8, len, 32, 50);
}

/* One that waits for many buffers is passed by, so the others go on; it gets its turn. */
static void a_flow_that_needs_many_does_not_hold_up_the_line(void **state)
{
	const uint32_t len[2] = {512, 512};
	unsigned looks = 0;

	(void)state;
	tx_sched_wait(&s, &flow[0], 100);
	tx_sched_wait(&s, &flow[1], 1);
	while (!sent[1] && looks++ < 2 * TX_MISSES)
		poll_with(8, len);
	assert_in_range(looks, 1, TX_MISSES + 1);
	assert_ptr_equal(TAILQ_FIRST(&s.waiters), &flow[0]);
	assert_ptr_equal(tx_sched_wake(&s, 100), &flow[0]);
}

/* It is not woken before there are as many, or it would be writable and unable to send. */
static void nobody_is_woken_for_too_few_buffers(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 5);
	for (unsigned i = 0; i < 1000; i++)
		assert_null(tx_sched_wake(&s, 4));
	assert_int_equal(tx_sched_least_need(&s), 5);
	tx_sched_wait(&s, &flow[1], 3);
	assert_int_equal(tx_sched_least_need(&s), 3);
	assert_ptr_equal(tx_sched_wake(&s, 5), &flow[0]);
	assert_int_equal(tx_sched_least_need(&s), 3);
}

/* A woken one that found too few keeps its place, but cannot keep the others from theirs. */
static void a_flow_that_never_fits_goes_to_the_end(void **state)
{
	unsigned turns = 0;

	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	tx_sched_wait(&s, &flow[1], 1);
	while (tx_sched_wake(&s, 1) == &flow[0] && turns++ < 2 * TX_MISSES)
		tx_sched_wait(&s, &flow[0], 1); /* it has sent nothing */
	assert_int_equal(turns, TX_MISSES);
	assert_int_equal(flow[1].turn, TX_WOKEN);
	check_invariant(2);
}

static void a_woken_flow_that_does_not_send_loses_its_turn(void **state)
{
	unsigned polls = 0;
	struct tx_flow *f;

	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	tx_sched_wait(&s, &flow[1], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[0]);
	while (!(f = tx_sched_wake(&s, 1)) && polls++ < 2 * TX_IDLE_POLLS)
		;
	assert_int_equal(polls, TX_IDLE_POLLS - 1);
	assert_ptr_equal(f, &flow[1]);
	assert_int_equal(flow[0].turn, TX_IDLE);
	check_invariant(2);
}

static void a_limit_ends_with_the_contention(void **state)
{
	(void)state;
	tx_sched_wait(&s, &flow[0], 1);
	tx_sched_wait(&s, &flow[1], 1);
	assert_ptr_equal(tx_sched_wake(&s, 1), &flow[0]);
	tx_sched_leave(&s, &flow[1]);
	tx_sched_idle(&s);
	assert_true(s.limited); /* who was woken last has not had its turn */
	tx_sched_charge(&s, &flow[0], 1);
	tx_sched_idle(&s);
	assert_false(s.limited);
	assert_true(tx_sched_left(&s, &flow[0]) == UINT32_MAX);
	assert_true(tx_sched_left(&s, &flow[2]) == UINT32_MAX);
}

static void who_leaves_is_on_no_list(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		tx_sched_wait(&s, &flow[i], 1);
	tx_sched_wake(&s, 1);
	tx_sched_leave(&s, &flow[0]); /* woken */
	tx_sched_leave(&s, &flow[2]); /* waiting */
	tx_sched_leave(&s, &flow[3]); /* idle */
	check_invariant(4);
	assert_int_equal(s.nwoken, 0);
	assert_ptr_equal(TAILQ_FIRST(&s.waiters), &flow[1]);
	assert_null(TAILQ_NEXT(&flow[1], link));
}

/* Any order of calls leaves lists and states in agreement, and in the end everybody is served. */
static void any_order_keeps_the_invariant(void **state)
{
	uint32_t x = 12345;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct tx_flow *f;

		x = x * 1664525u + 1013904223u;
		f = &flow[x >> 8 & (FLOWS - 1)];
		switch (x >> 28) {
		case 0 ... 5:
			tx_sched_wait(&s, f, 1 + (x >> 16 & 7));
			break;
		case 6:
			tx_sched_leave(&s, f);
			break;
		case 7 ... 11:
			if (tx_sched_left(&s, f))
				tx_sched_charge(&s, f, x >> 16 & 8191);
			break;
		default:
			if (tx_sched_waiting(&s))
				tx_sched_wake(&s, 1 + (x >> 16 & 31));
			else
				tx_sched_idle(&s);
		}
		if (i % 16 == 0)
			check_invariant(FLOWS);
	}
	for (unsigned i = 0; i < FLOWS * 2 * (TX_IDLE_POLLS + TX_MISSES); i++)
		if (tx_sched_waiting(&s))
			tx_sched_wake(&s, 64);
	assert_false(tx_sched_waiting(&s));
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_waiters_nobody_is_limited),
		T(nobody_overtakes_the_line),
		T(the_only_waiter_may_send),
		T(a_turn_ends_at_the_quantum_while_others_wait),
		T(a_turn_of_4_gib_is_still_one),
		T(equal_flows_get_equal_shares),
		T(small_packets_cost_what_large_ones_do),
		T(a_flow_that_needs_many_does_not_hold_up_the_line),
		T(nobody_is_woken_for_too_few_buffers),
		T(a_flow_that_never_fits_goes_to_the_end),
		T(a_woken_flow_that_does_not_send_loses_its_turn),
		T(a_limit_ends_with_the_contention),
		T(who_leaves_is_on_no_list),
		T(any_order_keeps_the_invariant),
	};

	return cmocka_run_group_tests_name("tx_sched", tests, NULL, NULL);
}
