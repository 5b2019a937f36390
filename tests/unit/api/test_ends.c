/* SPDX-License-Identifier: BSD-3-Clause */
/* How connections end: what each side learns, when, and what it may still read. */
#include "pair.h"

/* ---- the peer receives no more ---- */

static void test_shut_rd_is_an_event_for_who_asks(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	pump();
	zv_set_events(h, UINT32_MAX);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_shutdown(g, 0), 0);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_EPIPE);
	pump(); /* a level: it stays */
	assert_int_equal(seen_host.events, ZV_EV_EPIPE);
	assert_int_equal(zv_send(h, "x", 1, 0), -EPIPE);
	zv_set_events(h, (uint32_t)~ZV_EV_EPIPE); /* masked as any other */
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	zv_set_events(h, UINT32_MAX);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_EPIPE);
	assert_int_equal(zv_shutdown(h, 1), 0); /* the answer to it ends it */
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_conn_close(g), 0);
	assert_int_equal(zv_conn_close(h), 0);
}

/* Who has never heard of the event sleeps as before, and goes on receiving. */
static void test_shut_rd_wakes_nobody_else(void **state)
{
	struct zv_conn *g, *h;
	char b[4];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_shutdown(g, 0), 0);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_send(g, "on", 2, 0), 2);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_IN);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 2);
	assert_int_equal(zv_conn_close(g), 0);
	assert_int_equal(zv_conn_close(h), 0);
}

static void test_a_close_is_the_event_too(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	zv_set_events(h, ZV_EV_EPIPE);
	assert_int_equal(zv_send(g, "last", 4, 0), 4);
	assert_int_equal(zv_conn_close(g), 0);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_EPIPE);
	assert_int_equal(zv_recv(h, (char[4]){0}, 4, NULL), 4);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_EPIPE);
	assert_int_equal(zv_conn_close(h), 0);
}

/* A sender without room learns of it by the event it waits for. */
static void test_a_blocked_sender_learns_of_shut_rd(void **state)
{
	static const char data[4096];
	struct zv_conn *g, *h;
	ssize_t n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	do {
		n = zv_send(h, data, sizeof(data), 0);
		pump();
	} while (n > 0);
	assert_int_equal(n, -EAGAIN);
	pump();
	assert_int_equal(seen_host.events & ZV_EV_OUT, 0);
	assert_int_equal(zv_shutdown(g, 0), 0);
	pump();
	assert_true(seen_host.events & ZV_EV_OUT);
	assert_int_equal(zv_send(h, data, 1, 0), -EPIPE);
	assert_int_equal(zv_conn_close(g), 0);
	assert_int_equal(zv_conn_close(h), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_shut_rd_is_an_event_for_who_asks),
		T(test_shut_rd_wakes_nobody_else),
		T(test_a_close_is_the_event_too),
		T(test_a_blocked_sender_learns_of_shut_rd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
