/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of a program's control connection (channel/broker.h): whoever has thousands wait for it,
 * and then closes it, does not choose what a round of the lcore costs.
 */
#include "channel/broker.h"
#include "channel/reach.h"
#include "channel/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_broker.h>

#include <cmocka.h>

#define SIZE  (16u << 20)
#define MANY  (3 * BROKER_CLOSE_ROUND + 5)
#define PARTS 8u

/* ---- the lcore, and the library ---- */

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);

static struct lcore_work *work;

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	assert_true(!work || work == w);
	work = w;
}

void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	if (work == w)
		work = NULL;
}

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc, (void)t, (void)ns;
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc, (void)t;
}

/* A round. False: there was nothing to do. */
static bool turn(void)
{
	struct lcore_work *w = work;

	work = NULL;
	if (w)
		w->run(w);
	return w != NULL;
}

/* ---- a program ---- */

static bool gone;
static unsigned told;

static int announce(struct guest_queue *gq, void *arg, const struct zv_region *r)
{
	(void)gq, (void)r;
	assert_false(gone);
	assert_ptr_equal(arg, &gone);
	told++;
	return 0;
}

static void poll(void *arg)
{
	assert_false(gone);
	assert_ptr_equal(arg, &gone);
}

static const struct broker_conn_ops ops = {.who = "a program", .announce = announce, .poll = poll};

static struct cfg_guest cfg = {.role = CFG_AS_HOST};
static struct guest guest = {.name = "g", .serial = 1, .cfg = &cfg, .n_queues = 1};
static struct guest_queue *const gq = &guest.queues[0];
static struct broker *line;
static struct region *own;

/* ---- those who wait, and users ---- */

struct waiter {
	struct broker_wait w; /* first */
	struct broker_user u;
};

static struct waiter many[MANY];
static unsigned looks, cuts;

static void wake_up(struct broker_wait *w)
{
	struct waiter *me = (struct waiter *)(void *)w;

	assert_int_equal(broker_can(me->u.b, own), gq->broker ? BROKER_WAIT : BROKER_NEVER);
	looks++;
}

static void cut(struct broker_user *u)
{
	assert_null(u->b);
	cuts++;
}

static void all_wait(void)
{
	for (unsigned i = 0; i < MANY; i++) {
		many[i].w.wake_up = wake_up;
		many[i].u.closed = cut;
		broker_attach(line, &many[i].u);
		broker_wait(line, &many[i].w, own);
	}
}

static void grant_some(void)
{
	const struct region_user u = region_user(&guest);

	for (unsigned i = 0; i < PARTS; i++) {
		struct chan_part *p;

		assert_int_equal(chan_part_new(own, &u, &u, &p), 0);
		broker_granted(line, &p->end[0]);
		broker_granted(line, &p->end[1]);
	}
}

static uint64_t taken(void)
{
	struct region_info *infos;
	uint64_t bytes;

	assert_int_equal(region_infos(&infos), 1);
	bytes = SIZE - infos[0].free_bytes;
	region_infos_free(infos, 1);
	return bytes;
}

static int begin(void **state)
{
	(void)state;
	gq->guest = &guest;
	gq->ending = gone = false;
	looks = cuts = told = 0;
	memset(many, 0, sizeof(many));
	if (!reach_own_size(SIZE, CHANNEL_MIN) || !(own = reach_own()))
		return -1;
	line = broker_new(gq, &ops, &gone);
	return line && broker_can(line, own) == BROKER_WAIT && told == 1 ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	(void)broker_abort(gq);
	broker_end(gq);
	(void)reach_own_size(0, 0);
	region_put(own);
	(void)regions_check();
	return work || gq->programs_brokers || gq->closing_brokers ? -1 : 0;
}

/* ---- tests ---- */

static void a_line_is_cut_piece_by_piece(void **state)
{
	unsigned done;

	(void)state;
	all_wait();
	grant_some();
	broker_close(line);
	gone = true;
	assert_int_equal(done = looks + cuts, BROKER_CLOSE_ROUND);
	while (turn()) {
		assert_true(looks + cuts <= done + BROKER_CLOSE_ROUND);
		done = looks + cuts;
		broker_poll_programs(gq);
		broker_regions_changed(gq);
	}
	assert_int_equal(looks, MANY);
	assert_int_equal(cuts, MANY);
	assert_int_equal(taken(), 0);
	assert_null(gq->closing_brokers);
}

/* Users who have not been told yet may leave by themselves, and the queue may end. */
static void what_is_left_goes_with_the_queue(void **state)
{
	(void)state;
	all_wait();
	grant_some();
	broker_close(line);
	gone = true;
	assert_true(turn());
	broker_wait_end(many[MANY - 1].u.b, &many[MANY - 1].w);
	broker_detach(&many[MANY - 1].u);
	assert_true(looks < MANY - 1);
	gq->ending = true;
	(void)broker_abort(gq);
	broker_end(gq);
	assert_int_equal(looks, MANY - 1);
	assert_int_equal(cuts, MANY - 1);
	assert_int_equal(taken(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_is_cut_piece_by_piece, begin, end),
		cmocka_unit_test_setup_teardown(what_is_left_goes_with_the_queue, begin, end),
	};

	return cmocka_run_group_tests_name("broker cut", tests, NULL, NULL);
}
