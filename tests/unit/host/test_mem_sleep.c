/* SPDX-License-Identifier: BSD-3-Clause */
/* What sleeping in a peer's memory costs that peer. The times are made up. */
#include "mem_look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define S   1000000000ull
#define NOW (1000 * S)

static void a_little_is_free(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	assert_int_equal(mem_sleep_rest(&s, NOW), 0);
	for (unsigned i = 0; i < 1000; i++) /* too short to be counted */
		assert_int_equal(mem_sleep_charge(&s, NOW, MEM_SLEEP_NS - 1), 0);
	for (unsigned i = 0; i < MEM_SLEEP_FREE_NS / MEM_SLEEP_NS; i++)
		assert_int_equal(mem_sleep_charge(&s, NOW, MEM_SLEEP_NS), 0);
	assert_int_equal(mem_sleep_charge(&s, NOW, MEM_SLEEP_NS), MEM_SLEEP_PART * MEM_SLEEP_NS);
}

static void one_part_of_the_time_is_free(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	for (uint64_t now = NOW, i = 0; i < 10000; i++, now += MEM_SLEEP_PART * 5 * MEM_SLEEP_NS)
		assert_int_equal(mem_sleep_charge(&s, now, 5 * MEM_SLEEP_NS), 0);
}

/* Whatever a peer does: what is slept in a long time, with rests between, is one part of it. */
static void no_more_than_one_part_is_slept(void **state)
{
	static const uint64_t sleeps[] = {MEM_SLEEP_NS, 30 * MEM_SLEEP_NS, S, 5 * S};
	struct mem_sleep s = {0};
	uint64_t slept = 0, now = NOW, rest;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t ns = sleeps[i % (sizeof(sleeps) / sizeof(sleeps[0]))];

		slept += ns;
		now += ns;
		rest = mem_sleep_charge(&s, now, ns);
		assert_int_equal(rest, mem_sleep_rest(&s, now));
		assert_true(!rest || mem_sleep_rest(&s, now + rest - 1) == 1);
		now += rest;
		assert_int_equal(mem_sleep_rest(&s, now), 0);
	}
	assert_true(slept <= (now - NOW) / MEM_SLEEP_PART + MEM_SLEEP_FREE_NS + 5 * S);
}

static void no_sleep_lasts_for_ever(void **state)
{
	struct mem_sleep s = {0};
	uint64_t rest;

	(void)state;
	rest = mem_sleep_charge(&s, NOW, UINT64_MAX);
	assert_int_equal(rest, MEM_SLEEP_PART * (MEM_SLEEP_MOST_NS - MEM_SLEEP_FREE_NS));
}

/* ---- accounts ---- */

#define USER 54321

static uint64_t in_the_future(const struct mem_look *l)
{
	return l->at + 1000 * S;
}

static void a_user_who_comes_again_has_the_same_account(void **state)
{
	struct mem_account *a = mem_account_get(USER), *b = mem_account_get(USER), *other;
	struct mem_look l;

	(void)state;
	mem_look_begin(&l);
	assert_non_null(a);
	assert_ptr_equal(a, b);
	assert_int_not_equal(mem_sleep_charge(&a->sleep, l.at, 5 * S), 0);
	mem_account_put(mem_account_hold(a));
	mem_account_put(a);
	mem_account_put(b);
	other = mem_account_get(USER + 1);
	assert_int_equal(mem_sleep_rest(&other->sleep, l.at), 0);
	mem_account_put(other);
	a = mem_account_get(USER);
	assert_int_not_equal(mem_sleep_rest(&a->sleep, l.at), 0);
	assert_int_not_equal(mem_sleep_rest(&a->sleep, l.at + 400 * S), 0);
	assert_int_equal(mem_sleep_rest(&a->sleep, in_the_future(&l)), 0);
	a->sleep.settled = 0;
	mem_account_put(a);
}

/* Services of root have nothing to do with each other, and VMMs have no user that is known. */
static void others_have_one_for_each_peer(void **state)
{
	static const uid_t uids[] = {MEM_ACCOUNT_OWN, 0};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uid_t uid = i < 2 ? uids[i] : geteuid();
		struct mem_account *a = mem_account_get(uid), *b = mem_account_get(uid);

		assert_non_null(a);
		assert_ptr_not_equal(a, b);
		mem_account_put(a);
		mem_account_put(b);
	}
	assert_null(mem_account_hold(NULL));
	mem_account_put(NULL);
}

/* ---- what a thread has slept ---- */

static void touch(void)
{
	volatile char *page =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(page, MAP_FAILED);
	*page = 1;
	(void)munmap((void *)(uintptr_t)page, 4096);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_with_a_page_fault_counts(void **state)
{
	struct mem_look outer, l;
	uint64_t end, ns;

	(void)state;
	(void)mem_look_suspects();
	mem_look_begin(&outer);
	usleep(100000); /* what was before is forgotten */
	mem_look_begin(&l);
	touch();
	usleep(100000);
	ns = mem_look_end(&l, &end);
	assert_true(ns >= MEM_SLEEP_NS && ns <= end - l.at);
	assert_true(mem_look_suspects());
	/* What the inner one has found is not found again. */
	assert_true(mem_look_end(&outer, &end) + ns <= end - outer.at);
}

static void work_is_no_sleep(void **state)
{
	struct mem_look l;
	uint64_t end, begun;

	(void)state;
	mem_look_begin(&l);
	begun = cpu_ns();
	while (cpu_ns() - begun < 20 * MEM_SLEEP_NS) /* preempted or not */
		touch();
	assert_int_equal(mem_look_end(&l, &end), 0);
}

static void a_map_that_sleeps_is_charged(void **state)
{
	struct mem_account *a = mem_account_get(USER);
	struct mem_look l;
	uint64_t was = mem_maps_slow();

	(void)state;
	mem_map_begin(&l);
	usleep(100000);
	assert_true(mem_maps_slow() == UINT64_MAX);
	mem_map_end(&l, a);
	assert_true(mem_maps_slow() != UINT64_MAX && mem_maps_slow() > was);
	assert_true(a->sleep.settled >= l.at + (uint64_t)MEM_SLEEP_PART * MEM_SLEEP_NS);
	a->sleep.settled = 0;
	mem_map_begin(&l);
	mem_map_end(&l, NULL);
	mem_account_put(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_little_is_free),
		cmocka_unit_test(one_part_of_the_time_is_free),
		cmocka_unit_test(no_more_than_one_part_is_slept),
		cmocka_unit_test(no_sleep_lasts_for_ever),
		cmocka_unit_test(a_user_who_comes_again_has_the_same_account),
		cmocka_unit_test(others_have_one_for_each_peer),
		cmocka_unit_test(sleep_with_a_page_fault_counts),
		cmocka_unit_test(work_is_no_sleep),
		cmocka_unit_test(a_map_that_sleeps_is_charged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
