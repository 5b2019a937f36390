/* SPDX-License-Identifier: BSD-3-Clause */
/* What sleeping in a peer's memory costs that peer. The times are made up. */
#include "mem_look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define S   1000000000ull
#define NOW (1000 * S)

/* As mem_sleep_charge(), but not the first. Returns the rest. */
static uint64_t charge(struct mem_sleep *s, uint64_t now, uint64_t ns)
{
	s->noted = UINT64_MAX;
	mem_sleep_charge(s, now, ns);
	return mem_sleep_rest(s, now);
}

/* It may have been for a lock that another thread held. */
static void a_single_sleep_is_only_noted(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		mem_sleep_charge(&s, NOW + i * (MEM_SLEEP_PART * S + 1), S);
	assert_int_equal(s.settled, 0);
	mem_sleep_charge(&s, NOW + 99 * (MEM_SLEEP_PART * S + 1) + S / 2, S); /* at the same time */
	assert_int_equal(s.settled, 0);
	mem_sleep_charge(&s, NOW + 100 * (MEM_SLEEP_PART * S + 1) - 2, S);
	assert_int_not_equal(s.settled, 0);
}

static void a_little_is_free(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	assert_int_equal(mem_sleep_rest(&s, NOW), 0);
	for (unsigned i = 0; i < 1000; i++) /* too short to be counted */
		assert_int_equal(charge(&s, NOW, MEM_SLEEP_NS - 1), 0);
	for (unsigned i = 0; i < MEM_SLEEP_FREE_NS / MEM_SLEEP_NS; i++)
		assert_int_equal(charge(&s, NOW, MEM_SLEEP_NS), 0);
	assert_int_equal(charge(&s, NOW, MEM_SLEEP_NS), MEM_SLEEP_PART * MEM_SLEEP_NS);
}

static void one_part_of_the_time_is_free(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	for (uint64_t now = NOW, i = 0; i < 10000; i++, now += MEM_SLEEP_PART * 5 * MEM_SLEEP_NS)
		assert_int_equal(charge(&s, now, 5 * MEM_SLEEP_NS), 0);
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
		rest = charge(&s, now, ns);
		assert_true(!rest || mem_sleep_rest(&s, now + rest - 1) == 1);
		now += rest;
		assert_int_equal(mem_sleep_rest(&s, now), 0);
	}
	assert_true(slept <= (now - NOW) / MEM_SLEEP_PART + MEM_SLEEP_FREE_NS + 5 * S);
}

static void no_rest_lasts_for_ever(void **state)
{
	struct mem_sleep s = {0};

	(void)state;
	(void)charge(&s, NOW, UINT64_MAX);
	for (unsigned i = 0; i < 100; i++) /* several threads at once */
		assert_true(charge(&s, NOW, S) <= MEM_SLEEP_PART * MEM_SLEEP_MOST_NS);
}

/* ---- accounts ---- */

#define USER 54321

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void a_user_who_comes_again_has_the_same_account(void **state)
{
	struct mem_account *a = mem_account_get(USER), *b = mem_account_get(USER), *other;
	uint64_t now = now_ns();

	(void)state;
	assert_non_null(a);
	assert_ptr_equal(a, b);
	mem_sleep_charge(&a->sleep, now, 5 * S); /* noted */
	mem_account_put(a);
	mem_account_put(b);
	a = mem_account_get(USER);
	mem_sleep_charge(&a->sleep, now + 5 * S, 5 * S);
	mem_account_put(mem_account_hold(a));
	mem_account_put(a);
	other = mem_account_get(USER + 1);
	assert_int_equal(mem_sleep_rest(&other->sleep, now), 0);
	mem_account_put(other);
	a = mem_account_get(USER);
	assert_int_not_equal(mem_sleep_rest(&a->sleep, now + 400 * S), 0);
	assert_int_equal(mem_sleep_rest(&a->sleep, now + 1000 * S), 0);
	a->sleep = (struct mem_sleep){0};
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

/* Does the kernel say how long threads have waited for a CPU? Without that nothing is charged. */
static bool schedstat_counts(void)
{
	uint64_t begun = cpu_ns(), ran = 0;
	FILE *f;

	while (cpu_ns() - begun < 50000000)
		;
	f = fopen("/proc/thread-self/schedstat", "re");
	if (f && fscanf(f, "%" SCNu64, &ran) != 1)
		ran = 0;
	if (f)
		(void)fclose(f);
	return ran;
}

static void need_schedstat(void)
{
	if (schedstat_counts())
		return;
	print_message(
		"skipped: this kernel has no /proc/thread-self/schedstat, or counts nothing\n");
	skip();
}

/* @a pays for everything that is slept, from the first time. */
static uint64_t begin(struct mem_account *a)
{
	*a = (struct mem_account){.sleep.noted = UINT64_MAX};
	(void)mem_for(a);
	return now_ns();
}

/* What @a has been charged since begin() returned @at; the thread works for nobody. */
static uint64_t end(struct mem_account *a, uint64_t at)
{
	assert_ptr_equal(mem_for(NULL), a);
	return a->sleep.settled ? (a->sleep.settled - at) / MEM_SLEEP_PART : 0;
}

static void sleep_with_a_page_fault_is_charged(void **state)
{
	struct mem_account a;
	uint64_t at;

	(void)state;
	need_schedstat();
	(void)mem_look_suspects();
	usleep(100000); /* what was before is nobody's */
	at = begin(&a);
	touch();
	usleep(100000);
	touch();
	assert_true(end(&a, at) >= 100000000 / 2); /* much of it, if the machine is busy */
	assert_true(mem_look_suspects());
	assert_false(mem_look_suspects());
}

static void each_sleep_has_one_payer(void **state)
{
	struct mem_account a, b;
	uint64_t at;

	(void)state;
	need_schedstat();
	at = begin(&a);
	b = (struct mem_account){.sleep.noted = UINT64_MAX};
	for (unsigned i = 0; i < 10; i++) {
		assert_ptr_equal(mem_for(&b), &a);
		touch();
		usleep(5000);
		assert_ptr_equal(mem_for(&a), &b);
		touch();
	}
	assert_int_equal(end(&a, at), 0);
	assert_int_not_equal(b.sleep.settled, 0);
}

static void work_is_no_sleep(void **state)
{
	struct mem_account a;
	uint64_t at = begin(&a), begun = cpu_ns();

	(void)state;
	while (cpu_ns() - begun < 200 * MEM_SLEEP_NS) /* preempted or not */
		touch();
	assert_int_equal(end(&a, at), 0);
}

static long faults(void)
{
	struct rusage u;

	assert_int_equal(getrusage(RUSAGE_THREAD, &u), 0);
	return u.ru_minflt + u.ru_majflt;
}

static void a_sleep_without_a_page_fault_is_not_the_memorys(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		long before = faults();
		struct mem_account a;
		uint64_t at = begin(&a), ns;

		usleep(1000);
		ns = end(&a, at);
		if (faults() != before) /* of libc, or a sanitizer */
			continue;
		assert_int_equal(ns, 0);
		return;
	}
	fail_msg("there is always a page fault");
}

static void a_map_that_sleeps_is_charged(void **state)
{
	struct mem_account a;
	uint64_t at;

	(void)state;
	need_schedstat();
	at = begin(&a);
	(void)end(&a, at);
	assert_null(mem_map_begin(&a));
	usleep(100000);
	mem_map_end(NULL);
	assert_null(mem_payer());
	assert_int_not_equal(a.sleep.settled, 0);
	assert_true(mem_others_took(at, now_ns()) >= 100000000 / 2);
	assert_int_equal(mem_others_took(now_ns(), now_ns() + 1), 0);
}

/* ---- behind another thread ---- */

static struct other {
	struct mem_account *(*call)(struct mem_account *a);
	struct mem_account account;
	pthread_barrier_t begun, over;
	pthread_t thread;
} other;

static void *call_for_a_while(void *none)
{
	struct mem_account *was;

	(void)none;
	mem_thread_begin();
	was = other.call(&other.account);
	pthread_barrier_wait(&other.begun);
	if (other.call == mem_for)
		touch();
	pthread_barrier_wait(&other.over);
	if (other.call == mem_for)
		(void)mem_for(was);
	else
		mem_map_end(was);
	mem_thread_end();
	return NULL;
}

/* Another thread is in such a call; what it sleeps is charged. */
static void other_begins(struct mem_account *(*call)(struct mem_account *a))
{
	other = (struct other){.call = call, .account.sleep.noted = UINT64_MAX};
	pthread_barrier_init(&other.begun, NULL, 2);
	pthread_barrier_init(&other.over, NULL, 2);
	assert_int_equal(pthread_create(&other.thread, NULL, call_for_a_while, NULL), 0);
	pthread_barrier_wait(&other.begun);
}

static void other_ends(void)
{
	pthread_barrier_wait(&other.over);
	pthread_join(other.thread, NULL);
	assert_int_not_equal(other.account.sleep.settled, 0);
}

static uint64_t sleep_in_a_page_fault(void)
{
	struct mem_account a;
	uint64_t at = begin(&a);

	touch();
	usleep(50000);
	return end(&a, at);
}

static uint64_t sleep_in_a_map(void)
{
	struct mem_account a;
	uint64_t at = begin(&a);

	(void)end(&a, at);
	mem_map_end(mem_map_begin(&a)); /* does not sleep */
	(void)mem_map_begin(&a);
	usleep(50000);
	mem_map_end(NULL);
	return a.sleep.settled;
}

/* The lock of the address space is the other thread's. */
static void what_anothers_map_delays_is_not_charged(void **state)
{
	(void)state;
	need_schedstat();
	other_begins(mem_map_begin);
	assert_int_equal(sleep_in_a_page_fault(), 0);
	assert_int_equal(sleep_in_a_map(), 0);
	other_ends();
}

/* Page faults do not need it then. */
static void an_unmap_delays_only_maps(void **state)
{
	(void)state;
	need_schedstat();
	other_begins(mem_unmap_begin);
	assert_int_not_equal(sleep_in_a_page_fault(), 0);
	assert_int_equal(sleep_in_a_map(), 0);
	other_ends();
}

/* A thread that sleeps in a page fault may have the lock too. */
static void a_page_fault_delays_what_comes_later(void **state)
{
	struct mem_account a;
	uint64_t at;

	(void)state;
	need_schedstat();
	at = begin(&a); /* before the other one */
	other_begins(mem_for);
	touch();
	usleep(50000);
	assert_int_not_equal(end(&a, at), 0);
	assert_int_equal(sleep_in_a_page_fault(), 0);
	assert_int_equal(sleep_in_a_map(), 0);
	other_ends();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_single_sleep_is_only_noted),
		cmocka_unit_test(a_little_is_free),
		cmocka_unit_test(one_part_of_the_time_is_free),
		cmocka_unit_test(no_more_than_one_part_is_slept),
		cmocka_unit_test(no_rest_lasts_for_ever),
		cmocka_unit_test(a_user_who_comes_again_has_the_same_account),
		cmocka_unit_test(others_have_one_for_each_peer),
		cmocka_unit_test(sleep_with_a_page_fault_is_charged),
		cmocka_unit_test(each_sleep_has_one_payer),
		cmocka_unit_test(work_is_no_sleep),
		cmocka_unit_test(a_sleep_without_a_page_fault_is_not_the_memorys),
		cmocka_unit_test(a_map_that_sleeps_is_charged),
		cmocka_unit_test(what_anothers_map_delays_is_not_charged),
		cmocka_unit_test(an_unmap_delays_only_maps),
		cmocka_unit_test(a_page_fault_delays_what_comes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
