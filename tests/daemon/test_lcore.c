/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore by itself: no kind of work may keep the others waiting, whatever it does to the lists
 * it is on. What fails here does not come back; the alarm ends it.
 */
#include "core/lcore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_S 60
#define MAILS  1000

struct busy {
	struct lcore *lc;
	struct lcore_work again, last;
	bool stop, seen;
	unsigned mails;
};

static void nothing(struct lcore *lc, void *arg)
{
	(void)lc;
	(void)arg;
}

/* ---- work ---- */

/* Always put off again, and takes what lies behind it off the list. */
static void again_run(struct lcore_work *w)
{
	struct busy *b = (struct busy *)(void *)((char *)w - offsetof(struct busy, again));

	lcore_defer_cancel(b->lc, &b->last);
	if (!b->stop)
		lcore_defer(b->lc, w);
}

static void last_run(struct lcore_work *w)
{
	struct busy *b = (struct busy *)(void *)((char *)w - offsetof(struct busy, last));

	b->seen = true;
}

static void two_works(struct lcore *lc, void *arg)
{
	struct busy *b = arg;

	lcore_defer(lc, &b->again);
	lcore_defer(lc, &b->last);
}

static void stop_work(struct lcore *lc, void *arg)
{
	(void)lc;
	((struct busy *)arg)->stop = true;
}

static void work_that_is_put_off_again_waits_for_the_next_round(void **state)
{
	struct busy b = {.lc = *state, .again = {.run = again_run}, .last = {.run = last_run}};

	lcore_call(b.lc, two_works, &b);
	lcore_call(b.lc, stop_work, &b); /* mail is taken once a round */
	lcore_call(b.lc, nothing, NULL);
	assert_false(b.seen);
}

/* ---- mail ---- */

static void mail_again(struct lcore *lc, void *arg)
{
	struct busy *b = arg;

	b->mails++;
	if (b->seen)
		b->stop = true;
	else
		assert_int_equal(lcore_post(lc, mail_again, b), 0);
}

static void work_and_mail(struct lcore *lc, void *arg)
{
	lcore_defer(lc, &((struct busy *)arg)->last);
	mail_again(lc, arg);
}

static void mail_does_not_keep_work_waiting(void **state)
{
	struct busy b = {.lc = *state, .last = {.run = last_run}};

	lcore_call(b.lc, work_and_mail, &b);
	lcore_call(b.lc, nothing, NULL);
	lcore_call(b.lc, nothing, NULL);
	assert_true(b.seen && b.stop);
	assert_in_range(b.mails, 2, 3);
}

static void count(struct lcore *lc, void *arg)
{
	struct busy *b = arg;

	(void)lc;
	b->mails++;
}

static void mail_is_in_order_and_wakes_a_sleeper(void **state)
{
	struct busy b = {.lc = *state};

	for (unsigned i = 0; i < MAILS; i++) {
		assert_int_equal(lcore_post(b.lc, count, &b), 0);
		if (i % 10 == 0) {
			lcore_call(b.lc, nothing, NULL);
			assert_int_equal(b.mails, i + 1);
		}
	}
	lcore_call(b.lc, nothing, NULL);
	assert_int_equal(b.mails, MAILS);
}

/* ---- a CPU that others want ---- */

static bool slices; /* a sched_yield takes as long as if another program had used up its slice */

int __real_sched_yield(void);
int __wrap_sched_yield(void);

int __wrap_sched_yield(void)
{
	static const struct timespec slice = {.tv_nsec = 2000000};

	return __atomic_load_n(&slices, __ATOMIC_RELAXED) ? nanosleep(&slice, NULL)
							  : __real_sched_yield();
}

static void beside_a_program_that_computes_it_sleeps(void **state)
{
	static const struct timespec moment = {.tv_nsec = 1000000};
	struct lcore_stats st = {0};
	struct lcore *lc;

	(void)state;
	__atomic_store_n(&slices, true, __ATOMIC_RELAXED);
	assert_int_equal(lcore_start(&lc, -1, false, UINT32_MAX), 0);
	while (!st.counters.sleeps) { /* or the alarm */
		lcore_call(lc, nothing, NULL);
		(void)nanosleep(&moment, NULL);
		lcore_stats(lc, &st);
	}
	lcore_stop(lc);
	__atomic_store_n(&slices, false, __ATOMIC_RELAXED);
}

static int group_start(void **state)
{
	alarm(LONG_S);
	/* No spinning: it sleeps whenever it may. */
	return lcore_start((struct lcore **)state, -1, false, 0);
}

static int group_end(void **state)
{
	lcore_stop(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_that_is_put_off_again_waits_for_the_next_round),
		cmocka_unit_test(mail_does_not_keep_work_waiting),
		cmocka_unit_test(mail_is_in_order_and_wakes_a_sleeper),
		cmocka_unit_test(beside_a_program_that_computes_it_sleeps),
	};

	return cmocka_run_group_tests(tests, group_start, group_end);
}
