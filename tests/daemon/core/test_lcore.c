/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore by itself: no kind of work may keep the others waiting, whatever it does to the lists
 * it is on. What fails here does not come back; the alarm ends it.
 */
#include "base/clock.h"
#include "core/lcore.h"
#include "core/log.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
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

/* What zv_poll() of an lcore_queue finds is this file's. */
static char dear, cheap; /* two of them */

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

/* ---- an lcore that does not answer ---- */

static char lines[2][256];
static unsigned n_lines; /* atomic */

void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...);

void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(lines[n_lines % 2], sizeof(lines[0]), fmt, ap);
	va_end(ap);
	assert_int_equal(level, ZV_LOG_WARN);
	assert_null(guest);
	__atomic_add_fetch(&n_lines, 1, __ATOMIC_RELEASE);
}

/* Stands still until that has been noticed, or the alarm ends it. */
static void silence(struct lcore *lc, void *arg)
{
	(void)lc;
	(void)arg;
	while (!__atomic_load_n(&n_lines, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
}

static void who_waits_for_an_lcore_says_so(void **state)
{
	n_lines = 0;
	lcore_call(*state, silence, NULL);
	assert_int_equal(n_lines, 2);
	assert_non_null(strstr(lines[0], "lcore 7 has not answered for "));
	assert_non_null(strstr(lines[0], " ms (silence): "));
	/* It has slept in between, unless somebody else had the CPU for most of the time. */
	assert_true(strstr(lines[0], "it was stopped, or waits for another process") ||
		    strstr(lines[0], "other programs have its CPU") ||
		    strstr(lines[0], "does another program have its CPU?"));
	assert_non_null(strstr(lines[1], "lcore 7 has answered after "));
	assert_non_null(strstr(lines[1], " ms (silence)"));
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
	assert_int_equal(lcore_start(&lc, 1, -1, false, UINT32_MAX), 0);
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
	return lcore_start((struct lcore **)state, 7, -1, false, 0);
}

static int group_end(void **state)
{
	lcore_stop(*state);
	return 0;
}

/* ---- queues ---- */

#define POLLS 2000u /* of the queue that costs nothing */
#define COSTS 32u   /* charges of an event of the other one */

struct polled {
	struct lcore_queue dear, cheap;
	unsigned dear_polls, cheap_polls;
	bool enough;
};

int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);

int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	(void)q;
	(void)max;
	events[0] = (struct zv_event){.events = ZV_EV_IN};
	return 1;
}

static void dear_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	struct polled *p = (struct polled *)(void *)((char *)lq - offsetof(struct polled, dear));

	(void)ev;
	p->dear_polls++;
	for (unsigned i = 0; i < COSTS; i++)
		lcore_charge(lq);
}

static void cheap_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	struct polled *p = (struct polled *)(void *)((char *)lq - offsetof(struct polled, cheap));

	(void)ev;
	if (++p->cheap_polls == POLLS)
		__atomic_store_n(&p->enough, true, __ATOMIC_RELEASE);
}

static void queues_begin(struct lcore *lc, void *arg)
{
	struct polled *p = arg;

	lcore_queue_add(lc, &p->dear);
	lcore_queue_add(lc, &p->cheap);
}

/* In the round in which there is enough. */
static void queues_end(struct lcore *lc, void *arg)
{
	struct polled *p = arg;

	lcore_queue_remove(lc, &p->dear);
	lcore_queue_remove(lc, &p->cheap);
}

/* Each poll of the one costs what it may pay in four rounds. */
static void who_costs_much_is_polled_less(void **state)
{
	struct polled p = {.dear = {.q = (struct zv_queue *)&dear, .event = dear_event},
			   .cheap = {.q = (struct zv_queue *)&cheap, .event = cheap_event}};

	lcore_call(*state, queues_begin, &p);
	while (!__atomic_load_n(&p.enough, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	lcore_call(*state, queues_end, &p);
	assert_in_range(p.dear_polls, p.cheap_polls / 4 / (COSTS / LCORE_PAYS) - 1,
			p.cheap_polls / 4 / (COSTS / LCORE_PAYS) + 1);
}

/* What one is charged beyond all measure is forgotten: it is polled again before long. */
static void debts_are_forgotten(void **state)
{
	struct polled p = {.dear = {.q = (struct zv_queue *)&dear, .event = dear_event},
			   .cheap = {.q = (struct zv_queue *)&cheap, .event = cheap_event}};

	for (unsigned i = 0; i < 1000000; i++)
		lcore_charge(&p.dear);
	assert_int_equal(p.dear.debt, LCORE_DEBT_MAX);
	lcore_call(*state, queues_begin, &p);
	while (!__atomic_load_n(&p.enough, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	lcore_call(*state, queues_end, &p);
	assert_true(p.dear_polls > 0);
}

/* ---- turns ---- */

#define TURNS 40u

struct turns {
	struct lcore_queue queue[3]; /* two of one guest, and one of another */
	struct lcore_turn turn;
	unsigned polls[3], both; /* both: rounds in which the guest had two turns */
	uint64_t round[3];
	bool enough;
};

/* Each event of the guest takes as long as a turn. */
static void long_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	unsigned i = (unsigned)(uintptr_t)lq->q - 1;
	struct turns *t = (struct turns *)(void *)(lq - i);
	uint64_t start = now_ns();

	(void)ev;
	t->polls[i]++;
	t->round[i] = lcore_round(lq->lc) + 1;
	if (i < 2)
		t->both += t->round[0] == t->round[1];
	while (i < 2 && now_ns() - start < LCORE_TURN_NS)
		;
	if (t->polls[0] + t->polls[1] == TURNS)
		__atomic_store_n(&t->enough, true, __ATOMIC_RELEASE);
}

static void turns_begin(struct lcore *lc, void *arg)
{
	struct turns *t = arg;

	for (unsigned i = 0; i < 3; i++) {
		t->queue[i] = (struct lcore_queue){.q = (struct zv_queue *)(uintptr_t)(i + 1),
						   .event = long_event,
						   .turn = i < 2 ? &t->turn : NULL};
		lcore_queue_add(lc, &t->queue[i]);
	}
}

static void turns_end(struct lcore *lc, void *arg)
{
	for (unsigned i = 0; i < 3; i++)
		lcore_queue_remove(lc, &((struct turns *)arg)->queue[i]);
}

/* As long_event(). */
static void single_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	struct turns *t = (struct turns *)(void *)lq;
	uint64_t start = now_ns();

	(void)ev;
	t->both += t->polls[0]++ && t->round[0] == lcore_round(lq->lc);
	t->round[0] = lcore_round(lq->lc);
	while (now_ns() - start < LCORE_TURN_NS)
		;
	if (t->polls[0] == TURNS)
		__atomic_store_n(&t->enough, true, __ATOMIC_RELEASE);
}

static void single_begin(struct lcore *lc, void *arg)
{
	struct turns *t = arg;

	t->queue[0] =
		(struct lcore_queue){.q = (struct zv_queue *)(uintptr_t)1, .event = single_event};
	lcore_queue_add(lc, &t->queue[0]);
}

static void single_end(struct lcore *lc, void *arg)
{
	lcore_queue_remove(lc, &((struct turns *)arg)->queue[0]);
}

/* However long its queues take, a guest has one turn in a round, and its queues take turns. */
static void a_guest_has_one_turn_in_a_round(void **state)
{
	struct turns t = {.polls = {0}};

	lcore_call(*state, turns_begin, &t);
	while (!__atomic_load_n(&t.enough, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	lcore_call(*state, turns_end, &t);
	assert_int_equal(t.both, 0);
	assert_in_range(t.polls[0], t.polls[1], t.polls[1] + 1);
	assert_in_range(t.polls[2], t.polls[0] + t.polls[1] - 1, UINT_MAX);
}

/* So has a guest with one queue, except in the round in which it begins to be busy. */
static void a_single_queue_has_one_turn_in_a_round(void **state)
{
	struct turns t = {.polls = {0}};

	lcore_call(*state, single_begin, &t);
	while (!__atomic_load_n(&t.enough, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	lcore_call(*state, single_end, &t);
	assert_in_range(t.both, 0, 1);
}

#define MANY 20u /* more queues than are polled several times a round */

struct many {
	struct lcore_queue queue[MANY];
	struct lcore_turn turn;
	unsigned polls[MANY], all;
	bool enough;
};

/* A turn is enough for two of them. */
static void short_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	unsigned i = (unsigned)(uintptr_t)lq->q - 1;
	struct many *m = (struct many *)(void *)(lq - i);
	uint64_t start = now_ns();

	(void)ev;
	m->polls[i]++;
	while (now_ns() - start < LCORE_TURN_NS * 6 / 10)
		;
	if (++m->all == 10 * MANY)
		__atomic_store_n(&m->enough, true, __ATOMIC_RELEASE);
}

static void many_begin(struct lcore *lc, void *arg)
{
	struct many *m = arg;

	for (unsigned i = 0; i < MANY; i++) {
		m->queue[i] = (struct lcore_queue){.q = (struct zv_queue *)(uintptr_t)(i + 1),
						   .event = short_event,
						   .turn = &m->turn};
		lcore_queue_add(lc, &m->queue[i]);
	}
}

static void many_end(struct lcore *lc, void *arg)
{
	for (unsigned i = 0; i < MANY; i++)
		lcore_queue_remove(lc, &((struct many *)arg)->queue[i]);
}

/* Those that a turn does not reach come first in the next round. */
static void a_turn_reaches_all_queues(void **state)
{
	struct many m = {.all = 0};

	lcore_call(*state, many_begin, &m);
	while (!__atomic_load_n(&m.enough, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	lcore_call(*state, many_end, &m);
	for (unsigned i = 0; i < MANY; i++)
		assert_in_range(m.polls[i], m.all / MANY - 1, m.all / MANY + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(work_that_is_put_off_again_waits_for_the_next_round),
		cmocka_unit_test(mail_does_not_keep_work_waiting),
		cmocka_unit_test(mail_is_in_order_and_wakes_a_sleeper),
		cmocka_unit_test(who_waits_for_an_lcore_says_so),
		cmocka_unit_test(beside_a_program_that_computes_it_sleeps),
		cmocka_unit_test(who_costs_much_is_polled_less),
		cmocka_unit_test(debts_are_forgotten),
		cmocka_unit_test(a_guest_has_one_turn_in_a_round),
		cmocka_unit_test(a_single_queue_has_one_turn_in_a_round),
		cmocka_unit_test(a_turn_reaches_all_queues),
	};

	return cmocka_run_group_tests(tests, group_start, group_end);
}
