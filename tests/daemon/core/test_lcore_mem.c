/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore that sleeps because of the memory of a peer. What it sleeps is made up: the time that a
 * poll takes is real, what the kernel says about it is this file's.
 */
#include "core/lcore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_S	 60
#define POLL_US	 2000 /* of a queue whose peer does something: more than MEM_SLEEP_NS */
#define HOUR_NS	 3600000000000ull
#define SHORT_NS (MEM_SLEEP_FREE_NS + 2 * MEM_SLEEP_NS) /* a rest of 0.2 s */
#define POLLS	 200u

struct peers {
	struct lcore_queue bad, good;
	struct mem_account account, others;
	unsigned bad_polls, good_polls, rests, overs; /* atomic */
	uint64_t ns; /* that a poll of the bad one sleeps; atomic */
};

static struct peers *peers;
static uint64_t slept; /* in the poll under way */
static char bad, good; /* zv_queues */

/* ---- what the kernel, and a device, would do ---- */

bool __wrap_mem_look_suspects(void);
uint64_t __wrap_mem_look_end(const struct mem_look *l, uint64_t *end);
int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);
int __wrap_zv_arm(struct zv_queue *q);

bool __wrap_mem_look_suspects(void)
{
	return peers && __atomic_load_n(&peers->ns, __ATOMIC_RELAXED);
}

uint64_t __wrap_mem_look_end(const struct mem_look *l, uint64_t *end)
{
	uint64_t ns = slept;

	*end = l->at + 1;
	slept = 0;
	return ns;
}

int __wrap_zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	uint64_t ns = __atomic_load_n(&peers->ns, __ATOMIC_RELAXED);

	(void)max;
	if (q == (struct zv_queue *)&bad && ns) {
		(void)usleep(POLL_US);
		slept = ns;
	}
	events[0] = (struct zv_event){.events = ZV_EV_IN};
	return 1;
}

int __wrap_zv_arm(struct zv_queue *q)
{
	(void)q;
	return 1; /* there is always something */
}

static uint64_t no_map(void)
{
	return 0;
}

static uint64_t a_map_that_lasts(void)
{
	return UINT64_MAX;
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
	p->bad = (struct lcore_queue){.q = (struct zv_queue *)&bad,
				      .event = bad_event,
				      .mem = &p->account,
				      .rests = rests};
	p->good = (struct lcore_queue){
		.q = (struct zv_queue *)&good, .event = good_event, .mem = &p->others};
	lcore_maps_by(no_map);
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
	polls = now(&p.bad_polls);
	wait_for(&p.good_polls, now(&p.good_polls) + POLLS);
	assert_int_equal(now(&p.bad_polls), polls);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 1);
	assert_int_equal(p.overs, 0);
	assert_int_equal(p.others.sleep.settled, 0); /* nobody else is charged */
	assert_false(p.bad.resting);
}

static void after_a_rest_it_is_served(void **state)
{
	struct peers p;

	peers_init(&p, SHORT_NS);
	lcore_call(*state, begin, &p);
	wait_for(&p.rests, 1);
	__atomic_store_n(&p.ns, 0, __ATOMIC_RELAXED);
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
	struct mem_look l;

	peers_init(&p, 0);
	mem_look_begin(&l);
	(void)mem_sleep_charge(&p.account.sleep, l.at, HOUR_NS);
	lcore_call(*state, begin, &p);
	wait_for(&p.good_polls, POLLS);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 1);
	assert_int_equal(p.bad_polls, 0);
}

/* The lcore waited for the lock of the address space: not the doing of whose turn it was. */
static void what_a_map_has_delayed_is_not_charged(void **state)
{
	struct peers p;

	peers_init(&p, HOUR_NS);
	lcore_maps_by(a_map_that_lasts);
	lcore_call(*state, begin, &p);
	wait_for(&p.bad_polls, 20);
	lcore_call(*state, end, NULL);
	assert_int_equal(p.rests, 0);
	assert_int_equal(p.account.sleep.settled, 0);
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
		cmocka_unit_test(what_a_map_has_delayed_is_not_charged),
	};

	return cmocka_run_group_tests_name("lcore_mem", tests, group_start, group_end);
}
