/* SPDX-License-Identifier: BSD-3-Clause */
/* Listeners that come and go on a device of which one queue is not polled, or by another thread. */
#include "pair.h"
#include "socket/core/listener.h"

#include <pthread.h>

static unsigned unlinked(const struct zv_dev *dev)
{
	unsigned n = 0;

	for (const struct listener *l = dev->closed; l; l = l->next_closed)
		n++;
	return n;
}

static void test_a_queue_that_is_not_polled_keeps_nothing(void **state)
{
	struct zv_queue *q1 = zv_queue(P.host, 1);
	struct zv_conn *c;
	struct zv_event ev;

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(zv_listen(P.host, 1000 + i % 7, ZV_STREAM, 0), 0);
		assert_int_equal(zv_unlisten(P.host, 1000 + i % 7), 0);
		assert_int_equal(zv_poll(P.h, &ev, 1), 0);
		assert_int_equal(unlinked(P.host), 0);
	}
	/* But what waits there must be refused by its queue. */
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(P.guest, 1), 0, 1000, ZV_STREAM, &c), 0);
	(void)zv_poll(q1, &ev, 1);
	assert_int_equal(zv_unlisten(P.host, 1000), 0);
	assert_int_equal(unlinked(P.host), 1);
	assert_int_equal(zv_accept(q1, ZV_PORT_ANY, &c), -EAGAIN);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	assert_int_equal(zv_listen(P.host, 1001, ZV_STREAM, 0), 0);
	assert_int_equal(unlinked(P.host), 0);
}

static uint32_t stop;

static void *poller(void *arg)
{
	struct zv_event ev;
	struct zv_conn *c;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		(void)zv_poll(arg, &ev, 1);
		(void)zv_accept(arg, 1000, &c);
		(void)zv_set_accept(arg, 1000, false);
	}
	return NULL;
}

static void test_listeners_go_while_another_thread_looks(void **state)
{
	pthread_t t;

	(void)state;
	stop = 0;
	assert_int_equal(pthread_create(&t, NULL, poller, zv_queue(P.host, 1)), 0);
	for (unsigned i = 0; i < 3000; i++) {
		if (zv_listen(P.host, 1000, ZV_STREAM, 0) || zv_unlisten(P.host, 1000))
			break;
		(void)zv_poll(P.h, &(struct zv_event){0}, 1);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(zv_unlisten(P.host, 1000), -ENOENT); /* all rounds were run */
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(unlinked(P.host), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_queue_that_is_not_polled_keeps_nothing),
		T(test_listeners_go_while_another_thread_looks),
	};

	return cmocka_run_group_tests_name("listeners", tests, NULL, NULL);
}
