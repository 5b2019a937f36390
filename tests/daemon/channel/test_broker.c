/* SPDX-License-Identifier: BSD-3-Clause */
/* What a queue's driver can say of channels, and lie (channel/broker.h): the library is played
 * here. */
#include "channel/broker.h"
#include "channel/reach.h"
#include "channel/shape.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_broker.h>

#include <cmocka.h>

#define SIZE (16u << 20)
#define N    64u

/* ---- the library ---- */

static struct zv_broker_msg said[N];
static unsigned n_said, n_heard;
static struct zv_region told[N];
static unsigned n_told, n_forgotten;
static int refuse; /* what announcements get */
static enum zv_peer_kind peer;
static uint32_t peer_flags;

int __wrap_zv_broker_recv(struct zv_queue *q, struct zv_broker_msg *m);
int __wrap_zv_region_announce(struct zv_queue *q, const struct zv_region *r);
int __wrap_zv_region_forget(struct zv_queue *q, uint64_t id);
int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out);
void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);

int __wrap_zv_broker_recv(struct zv_queue *q, struct zv_broker_msg *m)
{
	(void)q;
	if (n_heard == n_said)
		return 0;
	*m = said[n_heard++];
	return 1;
}

int __wrap_zv_region_announce(struct zv_queue *q, const struct zv_region *r)
{
	(void)q;
	if (!refuse)
		told[n_told++ % N] = *r;
	return refuse;
}

int __wrap_zv_region_forget(struct zv_queue *q, uint64_t id)
{
	(void)q;
	(void)id;
	n_forgotten++;
	return refuse;
}

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out)
{
	(void)dev;
	out->peer = peer;
	out->flags = peer_flags;
	return 0;
}

static struct lcore_timer *timer;

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	(void)ns;
	timer = t;
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	if (timer == t)
		timer = NULL;
}

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);

static struct lcore_work *work;

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	work = w;
}

void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	if (work == w)
		work = NULL;
}

/* A round of the lcore. False: there was nothing to do. */
static bool turn(void)
{
	struct lcore_work *w = work;

	work = NULL;
	if (w)
		w->run(w);
	return w != NULL;
}

/* ---- a device of an application ---- */

static struct cfg_guest cfg = {.role = CFG_APP};
static struct guest app = {.name = "app", .serial = 1, .cfg = &cfg, .n_queues = 1};
static struct guest_queue *const gq = &app.queues[0];
static struct region *own;

static void say(const struct zv_broker_msg *m)
{
	n_heard = 0;
	n_said = 1;
	said[0] = *m;
	broker_poll(gq);
	assert_int_equal(n_heard, 1);
}

static void hello(uint64_t nonce)
{
	peer = ZV_PEER_ZVSOCK;
	peer_flags = ZV_DEV_CHANNELS;
	say(&(struct zv_broker_msg){.what = ZV_BROKER_HELLO, .nonce = nonce});
}

static void mapped(int result)
{
	say(&(struct zv_broker_msg){
		.what = ZV_BROKER_REGION, .id = region_id(own), .result = result});
}

static uint64_t bad(void)
{
	return app.counters.channel_bad_msg;
}

static int begin(void **state)
{
	(void)state;
	memset(&app.counters, 0, sizeof(app.counters));
	gq->ending = false;
	gq->guest = &app;
	n_told = n_forgotten = n_said = n_heard = 0;
	refuse = 0;
	peer = ZV_PEER_UNKNOWN;
	peer_flags = 0;
	if (!reach_own_size(SIZE, CHANNEL_MIN))
		return -1;
	own = reach_own();
	return own ? 0 : -1;
}

static int end(void **state)
{
	struct region_info *infos;
	int n;

	(void)state;
	gq->ending = true;
	broker_abort(gq);
	broker_end(gq);
	(void)reach_own_size(0, 0);
	region_put(own);
	(void)regions_check();
	n = region_infos(&infos);
	region_infos_free(infos, n);
	return timer || work ? -1 : n; /* nothing is left */
}

static struct chan_part *part(void)
{
	const struct region_user u = region_user(&app);
	struct chan_part *p;

	assert_int_equal(chan_part_new(own, &u, &u, &p), 0);
	return p;
}

static uint64_t left(void)
{
	struct region_info *infos;
	uint64_t bytes;

	assert_int_equal(region_infos(&infos), 1);
	bytes = infos[0].free_bytes;
	region_infos_free(infos, 1);
	return bytes;
}

static void release(const struct chan_part *p, uint64_t id, uint64_t offset, uint32_t generation)
{
	say(&(struct zv_broker_msg){.what = ZV_BROKER_RELEASE,
				    .id = id,
				    .offset = p->desc.offset + offset,
				    .generation = p->desc.generation + generation});
}

/* ---- tests ---- */

static enum broker_can can(struct region *r)
{
	struct broker *b = broker_driver(gq);

	return b ? broker_can(b, r) : BROKER_NEVER;
}

static void a_driver_is_told_and_answers(void **state)
{
	(void)state;
	assert_int_equal(can(own), BROKER_WAIT); /* HELLO may be on its way */
	hello(1);
	assert_int_equal(n_told, 1);
	assert_int_equal(told[0].id, region_id(own));
	assert_true(told[0].gpa == ZV_REGION_BY_FD && told[0].size == SIZE);
	assert_int_equal(can(own), BROKER_WAIT);
	mapped(0);
	assert_int_equal(can(own), BROKER_CAN);
	assert_int_equal(n_told, 1);
	assert_int_equal(bad(), 0);
}

static void without_hello_there_is_no_channel(void **state)
{
	(void)state;
	peer = ZV_PEER_PLAIN;
	assert_int_equal(can(own), BROKER_NEVER);
	peer = ZV_PEER_ZVSOCK; /* without channels */
	assert_int_equal(can(own), BROKER_NEVER);
	/* With them: it has said so on a queue of another lcore, which has not heard of it yet. */
	peer_flags = ZV_DEV_CHANNELS;
	assert_int_equal(can(own), BROKER_WAIT);
	say(&(struct zv_broker_msg){.what = ZV_BROKER_NONE}); /* it keeps this queue waiting */
	assert_int_equal(can(own), BROKER_NEVER);
	hello(1);
	assert_int_equal(can(own), BROKER_WAIT);
}

static void a_region_can_be_declined(void **state)
{
	(void)state;
	hello(1);
	mapped(-ENOMEM);
	assert_int_equal(can(own), BROKER_DECLINED);
	mapped(0); /* it has answered */
	assert_int_equal(bad(), 1);
	assert_int_equal(can(own), BROKER_DECLINED);
	hello(1); /* in the next session it is asked again */
	mapped(0);
	assert_int_equal(can(own), BROKER_CAN);
}

static void nonsense_is_counted_and_changes_nothing(void **state)
{
	struct chan_part *p;

	(void)state;
	hello(1);
	mapped(1); /* no errno */
	say(&(struct zv_broker_msg){.what = ZV_BROKER_REGION, .id = region_id(own) + 1});
	assert_int_equal(bad(), 2);
	mapped(0);
	mapped(0);
	assert_int_equal(bad(), 3);
	p = part();
	release(p, region_id(own), 0, 0); /* not granted */
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
	release(p, region_id(own) + 1, 0, 0);
	release(p, region_id(own), CHANNEL_MIN, 0);
	release(p, region_id(own), UINT64_MAX / 2, 0);
	release(p, region_id(own), 1, 0);
	release(p, region_id(own), 0, 1);
	release(p, region_id(own), 0, UINT32_MAX);
	assert_int_equal(bad(), 10);
	assert_int_equal(left(), SIZE - CHANNEL_MIN);
	say(&(struct zv_broker_msg){.what = 77});
	say(&(struct zv_broker_msg){.what = ZV_BROKER_OFFER, .gpa = 4096, .size = SIZE});
	assert_int_equal(left(), SIZE - CHANNEL_MIN);
}

static void an_end_is_released_once(void **state)
{
	struct zv_broker_msg m = {.what = ZV_BROKER_RELEASE, .id = region_id(own)};
	struct chan_part *p;

	(void)state;
	hello(1);
	mapped(0);
	p = part();
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
	m.offset = p->desc.offset;
	m.generation = p->desc.generation;
	say(&m);
	assert_int_equal(left(), SIZE - CHANNEL_MIN);
	say(&m);
	assert_int_equal(left(), SIZE);
	say(&m);
	assert_int_equal(bad(), 1);
}

static void only_another_driver_loses_ends(void **state)
{
	struct chan_part *p;

	(void)state;
	hello(1);
	mapped(0);
	p = part();
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
	hello(1); /* another session of the same one: its application may hold buffers */
	assert_int_equal(left(), SIZE - CHANNEL_MIN);
	assert_int_equal(n_told, 2);
	release(p, region_id(own), 0, 0); /* before it has mapped it again */
	assert_int_equal(bad(), 0);
	hello(2);
	assert_int_equal(left(), SIZE);
}

static void holds(const struct chan_part *p, uint32_t n)
{
	say(&(struct zv_broker_msg){.what = ZV_BROKER_HOLDS,
				    .id = p ? region_id(own) : 0,
				    .offset = p ? p->desc.offset : 0,
				    .generation = p ? p->desc.generation : 0,
				    .left = n});
}

static void grant_both(struct chan_part *p)
{
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
}

static void what_a_driver_does_not_name_is_free(void **state)
{
	struct chan_part *p[4];

	(void)state;
	hello(1);
	mapped(0);
	for (unsigned i = 0; i < 3; i++)
		grant_both(p[i] = part());
	hello(1);
	mapped(0);
	grant_both(p[3] = part()); /* before it has said a word */
	holds(p[1], 3);
	holds(p[1], 2); /* its other end */
	assert_int_equal(left(), SIZE - 4 * CHANNEL_MIN);
	say(&(struct zv_broker_msg){.what = ZV_BROKER_HOLDS, .id = 77, .left = 1});
	holds(p[2], 0); /* of which it has one end only */
	assert_int_equal(left(), SIZE - 3 * CHANNEL_MIN);
	assert_int_equal(bad(), 0);
	holds(NULL, 0); /* once in a session */
	assert_int_equal(bad(), 1);
	assert_int_equal(left(), SIZE - 3 * CHANNEL_MIN);
	hello(1);
	holds(NULL, 0);
	assert_int_equal(left(), SIZE);
}

static void a_driver_that_is_gone_for_good_holds_nothing(void **state)
{
	struct chan_part *p;

	(void)state;
	say(&(struct zv_broker_msg){.what = ZV_BROKER_GONE}); /* it never said HELLO */
	hello(1);
	mapped(0);
	p = part();
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
	say(&(struct zv_broker_msg){.what = ZV_BROKER_GONE});
	assert_int_equal(left(), SIZE);
	assert_int_equal(can(own), BROKER_WAIT);
	hello(2);
	mapped(0);
	assert_int_equal(can(own), BROKER_CAN);
	assert_int_equal(bad(), 0);
}

static void what_finds_no_room_is_said_later(void **state)
{
	struct lcore_timer *t;

	(void)state;
	refuse = -EAGAIN;
	hello(1);
	assert_int_equal(n_told, 0);
	assert_non_null(timer);
	assert_int_equal(can(own), BROKER_WAIT);
	refuse = 0;
	t = timer;
	timer = NULL;
	t->expired(t);
	assert_int_equal(n_told, 1);
	mapped(0);
	assert_int_equal(can(own), BROKER_CAN);
}

static void a_session_that_is_over_declines(void **state)
{
	(void)state;
	refuse = -EOPNOTSUPP;
	hello(1);
	assert_int_equal(can(own), BROKER_DECLINED);
}

struct waiter {
	struct broker_wait w; /* first */
	unsigned looks;
};

static void wake_up(struct broker_wait *w)
{
	((struct waiter *)(void *)w)->looks++;
}

static void who_waits_is_told(void **state)
{
	struct waiter w[2] = {{.w.wake_up = wake_up}, {.w.wake_up = wake_up}};

	(void)state;
	assert_int_equal(can(own), BROKER_WAIT);
	broker_wait(gq->broker, &w[0].w, own);
	hello(1);
	assert_true(turn());
	assert_int_equal(w[0].looks, 1);
	broker_wait(gq->broker, &w[0].w, own);
	broker_wait(gq->broker, &w[1].w, own);
	broker_wait_end(gq->broker, &w[1].w);
	mapped(0);
	assert_true(turn());
	assert_int_equal(w[0].looks, 2);
	assert_int_equal(w[1].looks, 0);
	broker_wait(gq->broker, &w[1].w, own);
	gq->ending = true;
	broker_abort(gq);
	assert_int_equal(w[1].looks, 1);
	assert_int_equal(can(own), BROKER_NEVER);
}

#define MANY (3 * BROKER_WAITERS_ROUND + 5)

static struct waiter many[MANY];
static unsigned in_all;

static void look_and_wait(struct broker_wait *w)
{
	in_all++;
	broker_wait(gq->broker, w, own);
}

/* Who says HELLO again and again, and leaves others waiting, does not choose what a round costs. */
static void a_round_takes_some_of_those_who_wait(void **state)
{
	unsigned before = in_all = 0;

	(void)state;
	assert_int_equal(can(own), BROKER_WAIT);
	for (unsigned i = 0; i < MANY; i++) {
		many[i].w.wake_up = look_and_wait;
		broker_wait(gq->broker, &many[i].w, own);
	}
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 10; i++)
			hello(1);
		assert_int_equal(in_all, before);
		assert_true(turn());
		assert_int_equal(in_all, before + BROKER_WAITERS_ROUND);
		before = in_all;
		/* Of those that are due and of those that are not, the last and others. */
		for (unsigned i = round % MANY; i < MANY; i += 31) {
			broker_wait_end(gq->broker, &many[i].w);
			broker_wait(gq->broker, &many[i].w, own);
		}
	}
	while (turn())
		;
	for (unsigned i = 0; i < MANY; i++) /* none was forgotten */
		assert_ptr_equal(many[i].w.region, own);
	before = in_all;
	hello(1);
	while (turn())
		;
	assert_int_equal(in_all, before + MANY);
	for (unsigned i = 0; i < MANY; i++)
		broker_wait_end(gq->broker, &many[i].w);
}

static void another_region_takes_the_place(void **state)
{
	struct chan_part *p;
	struct region *before = own;

	(void)state;
	hello(1);
	mapped(0);
	p = part();
	broker_granted(gq->broker, &p->end[0]);
	broker_granted(gq->broker, &p->end[1]);
	assert_true(reach_own_size(2 * SIZE, CHANNEL_MIN));
	broker_regions_changed(gq);
	assert_int_equal(n_forgotten, 1);
	assert_int_equal(n_told, 2);
	assert_int_equal(told[1].size, 2 * SIZE);
	assert_int_equal(can(before), BROKER_DECLINED);
	release(p, region_id(before), 0, 0); /* what it holds there is still known */
	release(p, region_id(before), 0, 0);
	assert_int_equal(bad(), 0);
	own = reach_own();
	region_put(before);
	mapped(0);
	assert_int_equal(can(own), BROKER_CAN);
}

int main(void)
{
#define ALONE(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		ALONE(a_driver_is_told_and_answers),
		ALONE(without_hello_there_is_no_channel),
		ALONE(a_region_can_be_declined),
		ALONE(nonsense_is_counted_and_changes_nothing),
		ALONE(an_end_is_released_once),
		ALONE(only_another_driver_loses_ends),
		ALONE(what_a_driver_does_not_name_is_free),
		ALONE(a_driver_that_is_gone_for_good_holds_nothing),
		ALONE(what_finds_no_room_is_said_later),
		ALONE(a_session_that_is_over_declines),
		ALONE(who_waits_is_told),
		ALONE(a_round_takes_some_of_those_who_wait),
		ALONE(another_region_takes_the_place),
	};

	return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
