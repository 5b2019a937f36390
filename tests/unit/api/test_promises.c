/* SPDX-License-Identifier: BSD-3-Clause */
/* Sentences of zvsock.h, call by call, that a user relies on and no other test looks at. */
#include "pair.h"
#include "socket/core/state.h"

#include <poll.h>

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i;
}

/* The events of @c that one zv_poll of @q reports. */
static uint32_t events_of(struct zv_queue *q, const struct zv_conn *c)
{
	struct zv_event ev[16];
	int n = zv_poll(q, ev, 16);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		if (ev[i].conn == c)
			return ev[i].events;
	return 0;
}

static void reopen(const struct zv_opts *guest, const struct zv_opts *host)
{
	assert_int_equal(zv_close(P.guest), 0);
	assert_int_equal(zv_close(P.host), 0);
	assert_int_equal(zv_open(&P.host, "fakehost:", host), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", guest), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	pump();
}

/* ---- data calls ---- */

static void test_an_empty_send_lets_gathered_bytes_go(void **state)
{
	struct zv_conn *g, *h;
	char got[16];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "ab", 2, ZV_MORE), 2);
	assert_int_equal(zv_send(g, NULL, 0, ZV_MORE), 0);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 0);
	assert_int_equal(zv_send(g, NULL, 0, 0), 0);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 1);
	(void)zv_poll(P.h, &(struct zv_event){0}, 1);
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 2);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_the_own_end_of_receiving_is_an_event(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(events_of(P.g, g), 0);
	assert_int_equal(zv_shutdown(g, 0), 0);
	assert_int_equal(events_of(P.g, g), ZV_EV_IN);
	assert_int_equal(zv_recv(g, &(char){0}, 1, NULL), 0);
	assert_int_equal(events_of(P.g, g), 0);
	assert_int_equal(zv_shutdown(h, 2), 0);
	assert_int_equal(events_of(P.h, h), ZV_EV_IN);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- what zv_conn_info says can be sent ---- */

static void test_info_counts_what_can_be_sent(void **state)
{
	static char data[65536];
	struct zv_buf b[32];
	struct zv_conn *g, *h;
	uint32_t all;
	int n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	all = info_of(g).tx_credit;
	assert_int_equal(all, 65536);
	n = zv_buf_alloc(g, b, 4, 4096);
	assert_int_equal(n, 4);
	assert_int_equal(info_of(g).tx_credit, all - 4 * 4096);
	zv_buf_cancel(g, b, 4);
	assert_int_equal(info_of(g).tx_credit, all);
	assert_int_equal(zv_send(g, "ab", 2, ZV_MORE), 2); /* the open packet can still be filled */
	assert_int_equal(info_of(g).tx_credit, all - 2);
	assert_int_equal(zv_send(g, data, 4096, 0), 4096);
	assert_int_equal(info_of(g).tx_credit, all - 2 - 4096);
	assert_int_equal(zv_shutdown(g, 1), 0);
	assert_int_equal(info_of(g).tx_credit, 0);
	pump();
	assert_int_equal(zv_shutdown(g, 0), 0);
	pump();
	assert_int_equal(info_of(h).tx_credit, 0); /* the peer takes nothing any more */
	zv_conn_close(g);
	zv_conn_close(h);

	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g), 0);
	assert_int_equal(info_of(g).tx_credit, 0); /* still connecting */
	zv_conn_close(g);
	pump();
}

/* ---- loans ---- */

static bool refused(const char *call)
{
	return strstr(zv_error_text(), call) && strstr(zv_error_text(), "before");
}

/* A buffer that comes back a second time is not taken for the one that has its place now. */
static void test_a_second_release_is_refused(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf a, b;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "one", 3, 0), 3);
	pump();
	assert_int_equal(zv_buf_recv(h, &a, 1), 1);
	zv_buf_release(P.h, &a, 1);
	assert_int_equal(zv_send(g, "two", 3, 0), 3);
	pump();
	assert_int_equal(zv_buf_recv(h, &b, 1), 1);
	assert_int_equal(b.cookie, a.cookie); /* or this tests nothing */
	zv_buf_release(P.h, &a, 1);
	assert_non_null(strstr(zv_error_text(), "zv_buf_release"));
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 1);
	assert_int_equal(info_of(h).rx_unread, 3);
	assert_int_equal(zv_close(P.host), -EBUSY);
	zv_buf_release(zv_queue(P.host, 1), &b, 1); /* nor to another queue */
	assert_int_equal(zv_close(P.host), -EBUSY);
	a = (struct zv_buf){.cookie = b.cookie + 1}; /* nor what never was one */
	zv_buf_release(P.h, &a, 1);
	zv_buf_release(P.h, &b, 1);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	assert_int_equal(info_of(h).rx_unread, 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* The same buffer lent on two queues: same place, another loan. */
static void test_a_buffer_of_another_queue_is_refused(void **state)
{
	struct zv_conn *g[2], *h[2];
	struct zv_buf b[2];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g[0], &h[0]);
	assert_int_equal(zv_connect(zv_queue(P.guest, 1), 0, 1000, ZV_STREAM, &g[1]), 0);
	pump();
	assert_int_equal(zv_accept(zv_queue(P.host, 1), 1000, &h[1]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(zv_send(g[i], "x", 1, 0), 1);
	pump();
	for (int i = 0; i < 2; i++)
		assert_int_equal(zv_buf_recv(h[i], &b[i], 1), 1);
	assert_int_equal(b[0].cookie, b[1].cookie);
	zv_buf_release(P.h, &b[1], 1);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 1);
	zv_buf_release(P.h, &b[0], 1);
	zv_buf_release(zv_queue(P.host, 1), &b[1], 1);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 1), 0);
	for (int i = 0; i < 2; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
}

static void test_a_second_send_or_cancel_is_refused(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf a, b;
	char got[16];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int cancel = 0; cancel < 2; cancel++) {
		assert_int_equal(zv_buf_alloc(g, &a, 1, 100), 1);
		memcpy(a.data, "once", 4);
		a.len = 4;
		if (cancel)
			zv_buf_cancel(g, &a, 1);
		else
			assert_int_equal(zv_buf_send(g, &a, 1), 1);
		assert_int_equal(zv_buf_alloc(g, &b, 1, 100), 1);
		assert_int_equal(b.cookie, a.cookie);
		assert_int_equal(zv_buf_send(g, &a, 1), -EINVAL);
		assert_true(refused("zv_buf_send"));
		zv_buf_cancel(g, &a, 1);
		assert_true(refused("zv_buf_cancel"));
		assert_int_equal(zv_conn_close(g), -EBUSY); /* b is still out */
		memcpy(b.data, "twice", 5);
		b.len = 5;
		assert_int_equal(zv_buf_send(g, &b, 1), 1);
	}
	pump();
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 14);
	assert_memory_equal(got, "oncetwicetwice", 14);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- accepting ---- */

/* How often each of ports 1000 to 1003, and [4] a connection, is reported in @polls of one event.
 */
static void tally(unsigned polls, unsigned seen[5])
{
	struct zv_event e;

	memset(seen, 0, 5 * sizeof(seen[0]));
	while (polls--) {
		assert_int_equal(zv_poll(P.h, &e, 1), 1);
		seen[e.events & ZV_EV_ACCEPT ? e.port - 1000 : 4]++;
	}
}

static void test_no_event_hides_another(void **state)
{
	struct zv_conn *g[6], *h[6];
	struct zv_event ev[8];
	unsigned seen[5];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g[0], &h[0]);
	connect_pair(ZV_STREAM, 1000, &g[5], &h[5]);
	for (uint32_t i = 1; i < 4; i++)
		assert_int_equal(zv_listen(P.host, 1000 + i, ZV_STREAM, 0), 0);
	for (unsigned i = 1; i < 5; i++)
		assert_int_equal(zv_connect(P.g, 0, 999 + i, ZV_STREAM, &g[i]), 0);
	pump();
	tally(100, seen); /* ports alone */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(seen[i], 25);
	assert_int_equal(zv_send(g[0], "x", 1, 0), 1);
	assert_int_equal(zv_send(g[5], "x", 1, 0), 1);
	(void)zv_poll(P.h, ev, 1);
	tally(160, seen); /* beside connections */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(seen[i], 20);
	assert_int_equal(seen[4], 80);
	for (unsigned max = 1; max < 9;
	     max++) /* nobody twice, nobody left out while there is room */
		assert_int_equal(zv_poll(P.h, ev, max), max < 6 ? max : 6);
	for (unsigned i = 1; i < 5; i++) { /* zv_accept of any takes them in turn as well */
		assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h[i]), 0);
		for (unsigned k = 1; k < i; k++)
			assert_int_not_equal(info_of(h[i]).local_port, info_of(h[k]).local_port);
	}
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h[1]), -EAGAIN);
	for (unsigned i = 0; i < 6; i++)
		zv_conn_close(g[i]);
	pump();
}

static void test_a_full_server_sleeps(void **state)
{
	struct zv_conn *g[2], *h;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 2), 0);
	assert_int_equal(zv_set_accept(P.h, 1001, false), -ENOENT);
	assert_int_equal(zv_set_accept(P.h, ZV_PORT_ANY, false), -ENOENT);
	assert_int_equal(zv_set_accept(NULL, 1000, false), -EINVAL);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g[0]), 0);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_ACCEPT);
	assert_int_equal(zv_set_accept(P.h, 1000, false), 0);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g[1]), 0);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	zv_conn_close(h);
	assert_int_equal(zv_set_accept(P.h, 1000, true), 0);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_ACCEPT);
	assert_int_equal(zv_set_accept(P.h, 1000, false), 0);
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0); /* also what is quiet */
	zv_conn_close(h);
	assert_int_equal(zv_unlisten(P.host, 1000), 0);
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 2), 0);
	zv_conn_close(g[0]);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g[0]), 0);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_ACCEPT); /* a new listener begins anew */
	zv_conn_close(g[0]);
	zv_conn_close(g[1]);
}

/* ---- calls after zv_arm ---- */

/* Bounded: a lost wake-up fails, it does not hang. */
static bool speaks(struct zv_queue *q)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, 10000) == 1;
}

static bool silent(struct zv_queue *q)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

static void arm(struct zv_queue *q)
{
	pump();
	assert_int_equal(zv_arm(q), 0);
	assert_true(silent(q));
}

static void test_calls_after_arm_are_not_lost(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_set_events(h, 0);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	arm(P.h);
	assert_int_equal(info_of(h).rx_unread, 1); /* leaves nothing to do */
	zv_set_events(h, ZV_EV_OUT);
	assert_true(silent(P.h) || speaks(P.h)); /* for nothing, which may be */
	arm(P.h);
	zv_set_events(h, ZV_EV_IN);
	assert_true(speaks(P.h));
	assert_int_equal(events_of(P.h, h), ZV_EV_IN);
	zv_set_events(h, 0);

	arm(P.g); /* bytes that wait for more */
	assert_int_equal(zv_send(g, "x", 1, ZV_MORE), 1);
	assert_true(speaks(P.g));
	pump();
	arm(P.h); /* the end of receiving; and it stays readable until zv_poll */
	assert_int_equal(zv_recv(h, &(char[4]){0}, 4, NULL), 2);
	zv_set_events(h, UINT32_MAX);
	pump();
	arm(P.h);
	assert_int_equal(zv_shutdown(h, 0), 0);
	assert_true(speaks(P.h) && speaks(P.h));
	assert_int_equal(zv_conn_reset(h), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	zv_conn_close(g);
}

static void test_timers_of_calls_after_arm_expire(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 2, .connect_timeout_ns = 1000000};
	struct zv_conn *g;

	(void)state;
	reopen(&o, &(struct zv_opts){.size = sizeof(o), .queues = 2});
	arm(P.g);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g), 0);
	assert_true(speaks(P.g));
	fake_drain(ZV_ROLE_HOST, 0); /* unanswered */
	while (events_of(P.g, g) != (ZV_EV_CONNECT | ZV_EV_ERR))
		;
	zv_conn_close(g);
}

/* A call that waits for a buffer, and one that gives some back, must be heard by the transport. */
static void test_the_transport_is_armed_for_calls_after_arm(void **state)
{
	struct zv_conn *g, *h;
	unsigned what, arms;
	struct zv_buf b;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 0);
	arm(P.g);
	(void)fake_arms(ZV_ROLE_GUEST, 0, &what);
	assert_int_equal(what, 0);
	assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	(void)fake_arms(ZV_ROLE_GUEST, 0, &what);
	assert_int_equal(what, 1);
	assert_true(silent(P.g));
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	assert_int_equal(info_of(g).tx_unacked, 0); /* any call */
	assert_true(speaks(P.g));
	pump();
	assert_true(seen_guest.events & ZV_EV_OUT);

	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	zv_set_events(h, 0);
	pump();
	assert_int_equal(zv_buf_recv(h, &b, 1), 1);
	arm(P.h);
	arms = fake_arms(ZV_ROLE_HOST, 0, &what);
	zv_buf_release(P.h, &b, 1);
	assert_true(fake_arms(ZV_ROLE_HOST, 0, &what) > arms);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- options ---- */

/* A time-out too far away for the clock never comes; it does not come at once. */
static void test_an_endless_timeout_does_not_expire(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 2};
	struct zv_conn *g, *h, *late;
	struct zv_dev_info d = {.size = sizeof(d)};
	struct vsock_hdr hdr;

	(void)state;
	o.connect_timeout_ns = o.close_timeout_ns = o.hello_timeout_ns = UINT64_MAX - 1;
	reopen(&o, &o);
	assert_int_equal(zv_dev_info(P.guest, &d), 0);
	assert_int_equal(d.peer, ZV_PEER_ZVSOCK);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &late), 0);
	assert_int_equal(zv_conn_close(g), 0);
	assert_true(late->timer.deadline > late->q->clock.now);
	assert_true(g->timer.deadline > g->q->clock.now);
	for (int i = 0; i < 100; i++)
		assert_int_equal(zv_poll(P.g, &(struct zv_event){0}, 1), 0);
	assert_true(fake_peek(ZV_ROLE_HOST, 0, 1, &hdr));
	assert_int_equal(hdr.op, VSOCK_OP_SHUTDOWN);
	assert_false(fake_peek(ZV_ROLE_HOST, 0, 2, &hdr)); /* no RST of a timer */
	assert_int_equal(zv_arm(P.g), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, 0);
	zv_conn_close(late);
	zv_conn_close(h);
	pump();
}

static int count_conn(void *ctx, const struct zv_conn_info *info)
{
	(void)info;
	++*(unsigned *)ctx;
	return 0;
}

static unsigned conns_of(struct zv_queue *q)
{
	unsigned n = 0;

	assert_int_equal(zv_queue_conns(q, NULL, count_conn, &n), 0);
	return n;
}

/* Neither the control connection nor what is finishing takes a place of the application's. */
static void test_max_conns_is_what_the_application_gets(void **state)
{
	struct zv_conn *g[3], *h[2], *none;

	(void)state;
	for (unsigned flags = 0; flags <= ZV_OPT_NO_HELLO; flags += ZV_OPT_NO_HELLO) {
		const struct zv_opts o = {
			.size = sizeof(o), .queues = 2, .max_conns = 2, .flags = flags};
		const struct zv_opts any = {.size = sizeof(o), .queues = 2, .flags = flags};

		reopen(&o, &any);
		for (int i = 0; i < 2; i++)
			connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
		assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &none), -ENOSPC);
		assert_non_null(strstr(zv_error_text(), "max_conns"));
		assert_int_equal(zv_send(g[0], "unread", 6, 0), 6);
		zv_conn_close(g[0]); /* the peer does not read, so this one goes on finishing */
		pump();
		assert_int_equal(conns_of(P.g), 2);
		assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g[2]), 0);
		assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &none), -ENOSPC);
		assert_int_equal(conns_of(P.g), 3);
		pump();
		zv_conn_close(h[0]);
		zv_conn_close(h[1]);
		pump(); /* a dead one takes none either, but must be closed */
		assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &none), 0);
		zv_conn_close(none);
		zv_conn_close(g[1]);
		zv_conn_close(g[2]);
	}
}

/* What finishes takes memory: as many of them as of the others, then the oldest has to go. */
static void test_finishing_connections_are_bounded(void **state)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 2, .max_conns = 2};
	const struct zv_opts any = {.size = sizeof(o), .queues = 2};
	struct zv_conn *g, *h[8];
	char got[8];

	(void)state;
	reopen(&o, &any);
	for (int i = 0; i < 8; i++) {
		connect_pair(ZV_STREAM, 1000, &g, &h[i]);
		assert_int_equal(zv_send(g, "unread", 6, 0), 6);
		zv_conn_close(g);
		pump();
		assert_true(conns_of(P.g) <= 4);
	}
	for (int i = 0; i < 8; i++) { /* which takes nothing from what was sent before */
		assert_int_equal(zv_recv(h[i], got, sizeof(got), NULL), 6);
		assert_int_equal(zv_recv(h[i], got, sizeof(got), NULL), 0);
		zv_conn_close(h[i]);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_an_empty_send_lets_gathered_bytes_go),
		T(test_the_own_end_of_receiving_is_an_event),
		T(test_info_counts_what_can_be_sent),
		T(test_a_second_release_is_refused),
		T(test_a_buffer_of_another_queue_is_refused),
		T(test_a_second_send_or_cancel_is_refused),
		T(test_no_event_hides_another),
		T(test_a_full_server_sleeps),
		T(test_calls_after_arm_are_not_lost),
		T(test_timers_of_calls_after_arm_expire),
		T(test_the_transport_is_armed_for_calls_after_arm),
		T(test_an_endless_timeout_does_not_expire),
		T(test_max_conns_is_what_the_application_gets),
		T(test_finishing_connections_are_bounded),
	};

	return cmocka_run_group_tests_name("promises", tests, NULL, NULL);
}
