/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore that sleeps because of the memory of a peer. What it sleeps is made up: the time that a
 * poll takes is real, what is charged for it is this file's.
 */
#include "core/lcore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_S	 60
#define POLL_US	 2000 /* of a queue whose peer does something */
#define HOUR_NS	 3600000000000ull
#define SHORT_NS (MEM_SLEEP_FREE_NS + 2 * MEM_SLEEP_NS) /* a rest of 0.2 s */
#define POLLS	 200u

struct peers {
	struct lcore_queue bad, good;
	struct mem_account account, others;
	struct lcore_work work;
	unsigned bad_polls, good_polls, rests, overs, works, looks; /* atomic */
	uint64_t ns;				/* that a poll of the bad one sleeps; atomic */
	bool once;				/* ... until it rests */
	void (*watched)(void *lq, bool enters); /* of the bad one */
};

static struct peers *peers;

static uint64_t clock_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char bad, good; /* zv_queues */

/* ---- what the kernel, and a device, would do ---- */

bool __wrap_mem_look_suspects(void);
uint64_t __wrap_mem_look_slept(void);
int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);
int __wrap_zv_arm(struct zv_queue *q);

bool __wrap_mem_look_suspects(void)
{
	return peers && __atomic_load_n(&peers->ns, __ATOMIC_RELAXED);
}

uint64_t __wrap_mem_look_slept(void)
{
	return __wrap_mem_look_suspects() ? POLL_US * 1000u : 0;
}

static void watch(struct lcore_queue *lq, void (*fn)(void *lq, bool enters))
{
	if (lq == &peers->bad)
		peers->watched = fn;
}

int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	uint64_t ns = __atomic_load_n(&peers->ns, __ATOMIC_RELAXED);
	struct lcore_queue *lq = &peers->bad;

	(void)max;
	if (q == (struct zv_queue *)&bad && lq->resting)
		return 0;
	if (q == (struct zv_queue *)&bad && ns) {
		(void)usleep(POLL_US);
		if (peers->watched) {
			peers->watched(lq, true);
			assert_ptr_equal(mem_payer(), &peers->account);
			mem_sleep_charge(&mem_payer()->sleep, clock_ns(), ns);
			peers->watched(lq, false);
		}
	}
	events[0] = (struct zv_event){.events = ZV_EV_IN};
	return 1;
}

int __wrap_zv_arm(struct zv_queue *q)
{
	(void)q;
	return 1; /* there is always something */
}

/* ---- the queues ---- */

static void bad_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	(void)lq;
	(void)ev;
	__atomic_add_fetch(&peers->bad_polls, 1, __ATOMIC_RELAXED);
}

static void good_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	(void)lq;
	(void)ev;
	__atomic_add_fetch(&peers->good_polls, 1, __ATOMIC_RELAXED);
}

static void rests(struct lcore_queue *lq, uint64_t ns)
{
	assert_ptr_equal(lq, &peers->bad);
	assert_true(lq->resting == (ns != 0));
	if (ns && peers->once)
		__atomic_store_n(&peers->ns, 0, __ATOMIC_RELAXED);
	__atomic_add_fetch(ns ? &peers->rests : &peers->overs, 1, __ATOMIC_RELAXED);
}

static void begin(struct lcore *lc, void *arg)
{
	peers = arg;
	lcore_queue_add(lc, &peers->bad);
	lcore_queue_add(lc, &peers->good);
}

static void end(struct lcore *lc, void *arg)
{
	(void)arg;
	lcore_queue_remove(lc, &peers->bad);
	lcore_queue_remove(lc, &peers->good);
	peers = NULL;
}

static void peers_init(struct peers *p, uint64_t ns)
{
	memset(p, 0, sizeof(*p));
	p->ns = ns;
	p->account.sleep.noted = UINT64_MAX; /* what is slept is not the first */
	p->bad = (struct lcore_queue){.q = (struct zv_queue *)&bad,
				      .event = bad_event,
				      .mem = &p->account,
				      .watch = watch,
				      .rests = rests};
	p->good = (struct lcore_queue){.q = (struct zv_queue *)&good,
				       .event = good_event,
				       .mem = &p->others,
				       .watch = watch,
				       .rests = rests};
}

/* Or the alarm. */
static void wait_for(const unsigned *what, unsigned n)
{
	while (__atomic_load_n(what, __ATOMIC_RELAXED) < n)
		(void)usleep(1000);
}

static unsigned now(const unsigned *what)
{
	return __atomic_load_n(what, __ATOMIC_RELAXED);
}

/* ---- tests ---- */

static void whose_memory_is_slept_on_rests(void **state)
{
	struct peers p;
	unsigned polls;

	peers_init(&p, HOUR_NS);
	lcore_call(*state, begin, &p);
	wait_for(&p.rests, 1);
	wait_for(&p.good_polls, now(&p.good_polls) + POLLS); /* that round is over */
	polls = now(&p.bad_polls);
	wait_for(&p.good_polls, now(&p.good_polls) + POLLS);
	assert_int_equal(now(&p.bad_polls), polls);
	assert_int_equal(now(&p.overs), 0);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 1);
	assert_int_equal(p.overs, 1);		     /* its rings are not left like that */
	assert_int_equal(p.others.sleep.settled, 0); /* nobody else is charged */
	assert_false(p.bad.resting);
}

static void after_a_rest_it_is_served(void **state)
{
	struct peers p;

	peers_init(&p, SHORT_NS);
	p.once = true;
	lcore_call(*state, begin, &p);
	wait_for(&p.overs, 1);
	wait_for(&p.bad_polls, now(&p.bad_polls) + POLLS);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 1);
	assert_int_equal(p.overs, 1);
}

/* A frontend that comes again, or another application of that user. */
static void who_has_to_rest_is_not_polled_at_first(void **state)
{
	struct peers p;

	peers_init(&p, 1); /* the lcore looks, because of others */
	mem_sleep_charge(&p.account.sleep, clock_ns(), HOUR_NS);
	lcore_call(*state, begin, &p);
	wait_for(&p.good_polls, POLLS);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 1);
	assert_int_equal(p.bad_polls, 0);
}

/* What is done for a queue, but not in a call on it. */
static void work(struct lcore_work *w)
{
	assert_ptr_equal(mem_payer(), lcore_looks(w->lq->lc) ? w->lq->mem : NULL);
	__atomic_add_fetch(&peers->works, 1, __ATOMIC_RELAXED);
}

static void defer(struct lcore *lc, void *arg)
{
	(void)arg;
	if (lcore_looks(lc))
		__atomic_store_n(&peers->looks, 1, __ATOMIC_RELAXED);
	lcore_defer(lc, &peers->work);
}

static void work_is_charged_to_its_queue(void **state)
{
	struct peers p;

	peers_init(&p, 1);
	p.work.run = work;
	p.work.lq = &p.good;
	lcore_call(*state, begin, &p);
	while (!now(&p.looks)) {
		lcore_call(*state, defer, NULL);
		(void)usleep(1000);
	}
	wait_for(&p.works, 1);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 0);
}

static int group_start(void **state)
{
	alarm(LONG_S);
	return lcore_start((struct lcore **)state, 7, -1, false, 0);
}

static int group_end(void **state)
{
	lcore_stop(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whose_memory_is_slept_on_rests),
		cmocka_unit_test(after_a_rest_it_is_served),
		cmocka_unit_test(who_has_to_rest_is_not_polled_at_first),
		cmocka_unit_test(work_is_charged_to_its_queue),
	};

	return cmocka_run_group_tests_name("lcore_mem", tests, group_start, group_end);
}
