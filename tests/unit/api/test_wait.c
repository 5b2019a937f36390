/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that block: what ends them, what they leave to be reported, and that they do sleep. */
#include "pair.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>

#define SECOND 1000000000ull

static uint64_t sleeps(struct zv_queue *q)
{
	struct zv_queue_stats st;

	assert_int_equal(zv_queue_stats(q, &st, sizeof(st)), 0);
	return st.wakeups;
}

static bool readable(struct zv_queue *q, int timeout_ms)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, timeout_ms) == 1;
}

/* The next event is that of zv_wake, and it is reported once. */
static void expect_wake(struct zv_queue *q)
{
	struct zv_event ev[4];

	assert_int_equal(zv_wait(q, ev, 4, 30 * SECOND), 1);
	assert_int_equal(ev[0].events, ZV_EV_WAKE);
	assert_null(ev[0].conn);
	assert_int_equal(zv_poll(q, ev, 4), 0);
}

/* ---- zv_wake ---- */

static void wakes_before_the_report_are_one(void **state)
{
	(void)state;
	zv_wake(NULL);
	zv_wake(P.g);
	zv_wake(P.g);
	assert_int_equal(zv_arm(P.g), -EAGAIN);
	expect_wake(P.g);
	assert_int_equal(zv_arm(P.g), 0);
	zv_wake(P.g);
	expect_wake(P.g);
}

static void a_wake_makes_an_armed_descriptor_readable(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(zv_arm(P.g), 0);
		assert_false(readable(P.g, 0));
		zv_wake(P.g);
		assert_true(readable(P.g, 30000));
		assert_int_equal(zv_arm(P.g), -EAGAIN);
		assert_true(readable(P.g, 0)); /* until zv_poll */
		expect_wake(P.g);
	}
}

/* The wake uses the queue's timer: the time-outs that it had set must come all the same. */
static void a_wake_does_not_cost_a_timeout(void **state)
{
	struct zv_opts o = {
		.size = sizeof(o), .connect_timeout_ns = 50000000, .flags = ZV_OPT_NO_HELLO};
	struct zv_event ev;
	struct zv_conn *c;
	struct zv_dev *dev;
	struct zv_queue *q;

	(void)state;
	assert_int_equal(zv_open(&dev, "fakeguest:", &o), 0); /* nobody on the other side */
	q = zv_queue(dev, 0);
	assert_int_equal(zv_connect(q, ZV_CID_HOST, 1, ZV_STREAM, &c), 0);
	assert_int_equal(zv_poll(q, &ev, 1), 0);
	assert_int_equal(zv_arm(q), 0);
	zv_wake(q);
	assert_true(readable(q, 30000));
	assert_int_equal(zv_poll(q, &ev, 1), 1);
	assert_int_equal(ev.events, ZV_EV_WAKE);
	for (int n = 0; n == 0;) {
		if (zv_arm(q) == 0)
			assert_true(readable(q, 30000));
		n = zv_poll(q, &ev, 1);
	}
	assert_true(ev.events & ZV_EV_CONNECT);
	assert_int_equal(ev.err, -ETIMEDOUT);
	zv_conn_close(c);
	zv_close(dev);
}

/* Room for one event, and a connection that always has one. */
static void a_wake_is_not_kept_waiting(void **state)
{
	struct zv_conn *g, *h;
	struct zv_event ev;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(h, "x", 1, 0), 1);
	pump();
	zv_wake(P.g);
	assert_int_equal(zv_poll(P.g, &ev, 1), 1);
	assert_int_equal(ev.events, ZV_EV_WAKE);
	assert_int_equal(zv_poll(P.g, &ev, 1), 1);
	assert_int_equal(ev.events, ZV_EV_IN);
	assert_ptr_equal(ev.conn, g);
	zv_conn_close(g);
	zv_conn_close(h);
}

static int rings;

static void on_alarm(int sig)
{
	int saved = errno;

	(void)sig;
	errno = ENOTTY;
	zv_wake(P.g);
	rings += errno == ENOTTY;
	errno = saved;
}

/* SA_RESTART: nothing but the wake may end the sleep for good. */
static void a_signal_handler_wakes_its_own_thread(void **state)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
	struct zv_event ev;
	int n;

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &sa, &old), 0);
	for (int i = 1; i <= 20; i++) {
		struct itimerval t = {.it_value.tv_usec = 20 + i * 10};

		assert_int_equal(setitimer(ITIMER_REAL, &t, NULL), 0);
		do {
			n = zv_wait(P.g, &ev, 1, 30 * SECOND);
		} while (n == -EINTR);
		assert_int_equal(n, 1);
		assert_int_equal(ev.events, ZV_EV_WAKE);
		assert_int_equal(rings, i);
	}
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

/* ---- one connection ---- */

/* Others have data, are waiting to be accepted, have ended: none of that ends or hurts a wait. */
static void others_events_neither_wake_nor_are_lost(void **state)
{
	struct zv_conn *g, *h, *other, *other_h, *third;
	uint64_t before;
	char c;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	connect_pair(ZV_STREAM, 1000, &other, &other_h);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &third), 0);
	assert_int_equal(zv_send(other, "x", 1, 0), 1);
	pump();
	assert_int_equal(zv_arm(P.h), -EAGAIN);
	before = sleeps(P.h);
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, SECOND / 50), 0);
	assert_true(sleeps(P.h) > before);
	pump();
	assert_true(seen_host.events & ZV_EV_IN);
	assert_true(seen_host.accepts);
	assert_int_equal(zv_recv(other_h, &c, 1, NULL), 1);
	assert_int_equal(zv_send(g, "y", 1, 0), 1);
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, 0), ZV_EV_IN);
	pump();
	assert_true(seen_host.events & ZV_EV_IN); /* level: zv_conn_wait does not take it away */
	zv_set_events(h, 0);			  /* the mask is zv_poll's */
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, 0), ZV_EV_IN);
	zv_conn_close(other_h);
	zv_conn_close(other);
	zv_conn_close(third);
	zv_conn_close(g);
	assert_int_equal(zv_conn_wait(h, ZV_EV_HUP, 0), ZV_EV_HUP);
	zv_conn_close(h);
}

/* In the handler of another descriptor, without a zv_poll after it. */
static void an_armed_queue_stays_so(void **state)
{
	struct zv_conn *g, *h, *other, *other_h;
	struct zv_event ev[4];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	connect_pair(ZV_STREAM, 1000, &other, &other_h);
	pump();
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, 0), 0);
	assert_false(readable(P.h, 0));
	zv_wake(P.h);
	assert_true(readable(P.h, 30000));
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, UINT64_MAX), -EINTR);
	assert_true(readable(P.h, 0));
	expect_wake(P.h);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_send(other, "x", 1, 0), 1);
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, 0), 0);
	assert_true(readable(P.h, 0));
	assert_int_equal(zv_poll(P.h, ev, 4), 1);
	assert_ptr_equal(ev[0].conn, other_h);
	zv_conn_close(g);
	zv_conn_close(h);
	zv_conn_close(other);
	zv_conn_close(other_h);
}

static void a_wait_ends_with_the_connection(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_conn_reset(g), 0);
	assert_int_equal(zv_conn_wait(h, ZV_EV_OUT, 30 * SECOND), ZV_EV_ERR);
	assert_int_equal(zv_send(h, "x", 1, 0), -ECONNRESET);
	zv_conn_close(h);
}

/* The wake ends each wait, also the next one, until it has been reported. */
static void a_wake_ends_blocking_calls(void **state)
{
	struct zv_conn *g, *h, *c = (void *)state;
	size_t sent = 1;

	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_wake(P.g);
	assert_int_equal(zv_conn_wait(g, ZV_EV_IN, UINT64_MAX), -EINTR);
	assert_int_equal(zv_connect_wait(P.g, ZV_CID_HOST, 1000, ZV_STREAM, UINT64_MAX, &c),
			 -EINTR);
	assert_null(c);
	assert_int_equal(zv_send_all(g, "hello", 5, 0, UINT64_MAX, &sent), 0); /* no wait */
	assert_int_equal(sent, 5);
	while (zv_send(g, "x", 1, 0) == 1)
		;
	assert_int_equal(zv_send_all(g, "x", 1, 0, UINT64_MAX, &sent), -EINTR);
	assert_int_equal(sent, 0);
	expect_wake(P.g);
	pump();
	assert_int_equal(zv_conn_wait(h, ZV_EV_IN, 0), ZV_EV_IN); /* what there is comes first */
	zv_conn_close(g);
	zv_conn_close(h);
}

static int count(void *ctx, const struct zv_conn_info *info)
{
	(void)info;
	++*(unsigned *)ctx;
	return 0;
}

static void connect_wait_leaves_nothing_when_it_fails(void **state)
{
	struct zv_conn *c = (void *)state;
	unsigned n = 0;

	assert_int_equal(zv_connect_wait(P.g, ZV_CID_HOST, 9, ZV_STREAM, 1000000, &c), -ETIMEDOUT);
	assert_null(c);
	assert_non_null(strstr(zv_error_text(), "zv_connect_wait: port 9 of CID 2"));
	pump();
	assert_int_equal(zv_queue_conns(P.g, NULL, count, &n), 0);
	assert_int_equal(zv_queue_conns(P.h, NULL, count, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(zv_connect_wait(P.g, 1, 9, ZV_STREAM, 0, &c), -EHOSTUNREACH);
	assert_int_equal(zv_connect_wait(P.g, ZV_CID_HOST, 9, (enum zv_type)3, 0, &c), -EINVAL);
	assert_int_equal(zv_connect_wait(P.g, ZV_CID_HOST, 9, ZV_STREAM, 0, NULL), -EINVAL);
	assert_int_equal(zv_connect_wait(NULL, ZV_CID_HOST, 9, ZV_STREAM, 0, &c), -EINVAL);
}

static void send_all_says_how_much_it_has_sent(void **state)
{
	static char data[100000];
	struct zv_conn *g, *h;
	size_t sent = 0, got = 0;
	ssize_t n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send_all(g, data, sizeof(data), 0, 1000000, &sent), -ETIMEDOUT);
	assert_true(sent > 0 && sent < sizeof(data));
	pump();
	while ((n = zv_recv(h, data, sizeof(data), NULL)) > 0)
		got += (size_t)n;
	assert_int_equal(got, sent);
	pump();
	assert_int_equal(zv_send_all(g, data, 0, 0, 0, &sent), 0);
	assert_int_equal(sent, 0);
	zv_conn_close(h);
	pump();
	assert_int_equal(zv_send_all(g, data, 10, 0, UINT64_MAX, &sent), -EPIPE);
	assert_int_equal(zv_send_all(NULL, data, 1, 0, 0, &sent), -EINVAL);
	assert_int_equal(zv_send_all(g, NULL, 1, 0, 0, NULL), -EINVAL);
	zv_conn_close(g);
}

static void send_all_sends_a_message_whole_or_not(void **state)
{
	static char data[30000];
	struct zv_conn *g, *h;
	size_t sent = 0;
	unsigned n = 0;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	while (zv_send_all(g, data, sizeof(data), 0, 1000000, &sent) == 0) {
		assert_int_equal(sent, sizeof(data));
		n++;
	}
	assert_true(n >= 1);
	assert_int_equal(sent, 0);
	assert_int_equal(zv_send_all(g, data, 1u << 20, 0, UINT64_MAX, &sent), -EMSGSIZE);
	pump();
	for (; n; n--)
		assert_int_equal(zv_recv(h, data, sizeof(data), NULL), sizeof(data));
	assert_int_equal(zv_recv(h, data, sizeof(data), NULL), -EAGAIN);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void foreign_events_are_refused(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_conn_wait(g, ZV_EV_ACCEPT, 0), -EINVAL);
	assert_int_equal(zv_conn_wait(g, ZV_EV_WAKE, 0), -EINVAL);
	assert_int_equal(zv_conn_wait(g, 1u << 31, 0), -EINVAL);
	assert_int_equal(zv_conn_wait(NULL, ZV_EV_IN, 0), -EINVAL);
	assert_int_equal(zv_conn_wait(g, 0, 0), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- several queues ---- */

static void each_queue_has_its_turn(void **state)
{
	struct zv_queue *q[3] = {zv_queue(P.host, 0), zv_queue(P.host, 1), P.g};
	struct zv_conn *c[2];
	unsigned seen[3] = {0};
	struct zv_event ev[8];

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			zv_connect(zv_queue(P.guest, i), ZV_CID_HOST, 1000, ZV_STREAM, &c[i]), 0);
	zv_wake(P.g);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(zv_wait_queues(q, 3, ev, 1, 30 * SECOND), 1);
		assert_true(ev[0].queue < 3);
		seen[ev[0].queue]++;
		assert_int_equal(ev[0].events, ev[0].queue == 2 && seen[2] == 1 ? ZV_EV_WAKE
					       : ev[0].queue == 2		? ZV_EV_CONNECT
										: ZV_EV_ACCEPT);
	}
	assert_true(seen[0] > 8 && seen[1] > 8);
	assert_int_equal(seen[2], 2);
	assert_int_equal(zv_wait_queues(q, 3, ev, 8, 0), 2);
	assert_int_not_equal(ev[0].queue, ev[1].queue);
	for (unsigned i = 0; i < 2; i++)
		zv_conn_close(c[i]);
}

static void one_sleep_for_all_queues(void **state)
{
	struct zv_queue *q[3] = {zv_queue(P.host, 0), zv_queue(P.host, 1), P.g};
	struct zv_event ev[8];
	uint64_t before[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		before[i] = sleeps(q[i]);
	assert_int_equal(zv_wait_queues(q, 3, ev, 8, SECOND / 50), 0);
	for (int i = 0; i < 3; i++)
		assert_true(sleeps(q[i]) > before[i]);
	assert_int_equal(zv_wait_queues(q, 3, ev, 8, 0), 0);
}

static void a_wait_over_no_queue_is_refused(void **state)
{
	static struct zv_queue *q[ZV_WAIT_QUEUES_MAX + 1];
	struct zv_event ev;

	(void)state;
	for (unsigned i = 0; i <= ZV_WAIT_QUEUES_MAX; i++)
		q[i] = P.g;
	assert_int_equal(zv_wait_queues(q, ZV_WAIT_QUEUES_MAX, &ev, 1, 1000000), 0);
	assert_int_equal(zv_wait_queues(q, ZV_WAIT_QUEUES_MAX + 1, &ev, 1, 0), -EINVAL);
	assert_int_equal(zv_wait_queues(q, 0, &ev, 1, 0), -EINVAL);
	assert_int_equal(zv_wait_queues(NULL, 1, &ev, 1, 0), -EINVAL);
	assert_int_equal(zv_wait_queues(q, 1, NULL, 1, 0), -EINVAL);
	assert_int_equal(zv_wait_queues(q, 1, &ev, 0, 0), -EINVAL);
	q[2] = NULL;
	assert_int_equal(zv_wait_queues(q, 3, &ev, 1, 0), -EINVAL);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		CASE(wakes_before_the_report_are_one),
		CASE(a_wake_makes_an_armed_descriptor_readable),
		cmocka_unit_test(a_wake_does_not_cost_a_timeout),
		CASE(a_wake_is_not_kept_waiting),
		CASE(a_signal_handler_wakes_its_own_thread),
		CASE(others_events_neither_wake_nor_are_lost),
		CASE(an_armed_queue_stays_so),
		CASE(a_wait_ends_with_the_connection),
		CASE(a_wake_ends_blocking_calls),
		CASE(connect_wait_leaves_nothing_when_it_fails),
		CASE(send_all_says_how_much_it_has_sent),
		CASE(send_all_sends_a_message_whole_or_not),
		CASE(foreign_events_are_refused),
		CASE(each_queue_has_its_turn),
		CASE(one_sleep_for_all_queues),
		CASE(a_wait_over_no_queue_is_refused),
	};

	return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
