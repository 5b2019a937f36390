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

/*
 * Linux forgets a connection at the first SHUTDOWN of both halves and answers the next one by RST,
 * which would end a new connection with the same ports.
 */
static void test_the_end_of_both_halves_is_sent_once(void **state)
{
	unsigned ends = 0, shutdowns = 0;
	struct zv_conn *g, *h;
	struct vsock_hdr hdr;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	pump();
	assert_int_equal(zv_shutdown(g, 0), 0);
	assert_int_equal(zv_shutdown(g, 1), 0);
	for (unsigned i = 0; i < 3; i++)
		(void)zv_poll(P.g, &(struct zv_event){0}, 1);
	assert_int_equal(zv_conn_close(g), 0);
	for (unsigned i = 0; i < 3; i++)
		(void)zv_poll(P.g, &(struct zv_event){0}, 1);
	for (unsigned i = 0; fake_peek(ZV_ROLE_HOST, 0, i, &hdr); i++) {
		shutdowns += hdr.op == VSOCK_OP_SHUTDOWN;
		ends += hdr.op == VSOCK_OP_SHUTDOWN && hdr.flags == VSOCK_SHUTDOWN_BOTH;
	}
	assert_true(shutdowns >= 1);
	assert_int_equal(ends, 1);
	pump();
	assert_int_equal(zv_conn_close(h), 0);
	pump();
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

/* ---- what a session leaves ---- */

static char tail[64 * 1024];

/* Sends all of @tail and closes; its peer has not polled meanwhile. */
static void send_and_close(struct zv_conn *c)
{
	assert_int_equal(zv_send(c, tail, 8000, 0), 8000);
	assert_int_equal(zv_conn_close(c), 0);
}

static void all_of_it_then_the_end(struct zv_conn *c)
{
	char b[8192];

	assert_int_equal(zv_recv(c, b, sizeof(b), NULL), 8000);
	assert_memory_equal(b, tail, 8000);
	assert_int_equal(zv_recv(c, b, sizeof(b), NULL), 0);
	assert_int_equal(zv_conn_close(c), 0);
}

static void rest_of_a_session(bool up)
{
	struct zv_conn *g, *h, *cut, *cut_h;
	char b[8];

	connect_pair(ZV_STREAM, 1000, &g, &h);
	connect_pair(ZV_STREAM, 1000, &cut, &cut_h);
	memset(tail, 'A', sizeof(tail));
	assert_int_equal(zv_send(cut_h, "half a", 6, 0), 6);
	send_and_close(h);
	fake_end_session(up);
	/* Of what had been sent nothing is missing; only who had not closed has been cut off. */
	all_of_it_then_the_end(g);
	assert_int_equal(zv_recv(cut, b, sizeof(b), NULL), 6);
	assert_int_equal(zv_recv(cut, b, sizeof(b), NULL), -ECONNRESET);
	/* And nothing about it is sent to whoever comes next. */
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), up); /* HELLO's REQUEST */
	assert_int_equal(zv_conn_close(cut), 0);
	fake_new_session(true);
	pump();
	assert_int_equal(zv_conn_close(cut_h), 0);
	assert_int_equal(fake_held(ZV_ROLE_GUEST, 0) + fake_held(ZV_ROLE_HOST, 0), 0);
}

static void test_the_last_bytes_of_a_session_arrive(void **state)
{
	(void)state;
	rest_of_a_session(false);
}

static void test_the_last_bytes_arrive_in_the_next_session(void **state)
{
	(void)state;
	rest_of_a_session(true);
}

/* A request that comes with the end of a session is not served in the next one. */
static void test_a_request_of_the_last_session_is_dead(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g), 0);
	fake_end_session(true);
	pump();
	assert_int_equal(zv_accept(P.h, 1000, &h), -EAGAIN);
	assert_int_equal(seen_guest.err, -ECONNRESET);
	assert_int_equal(zv_conn_close(g), 0);
}

/* ---- closed before it was accepted ---- */

static int quick_close_setup(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 2, .close_timeout_ns = 1000000};

	(void)state;
	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 4096, .nseg = 1};
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	pump();
	return 0;
}

/* Connects, sends what is given, closes, and lets close_timeout pass. */
static void come_and_go(const char *what, size_t len)
{
	struct zv_conn *g;
	struct zv_queue_stats st;

	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_send(g, what, len, 0), len);
	assert_int_equal(zv_conn_close(g), 0);
	do {
		pump();
		zv_queue_stats(P.g, &st, sizeof(st));
	} while (len && !st.conns_timedout);
	pump();
}

static void test_an_unaccepted_client_is_not_forgotten(void **state)
{
	struct zv_conn *h;
	char b[8];

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 2), 0);
	come_and_go("hello", 5);
	come_and_go("", 0);
	assert_int_equal(seen_host.accepts > 0, 1);
	/* They hold their places: a third one is refused. */
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &h), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	assert_int_equal(zv_conn_close(h), 0);

	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	pump();
	assert_int_equal(seen_host.events & (ZV_EV_IN | ZV_EV_HUP), ZV_EV_IN | ZV_EV_HUP);
	assert_int_equal(zv_send(h, "x", 1, 0), -EPIPE);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 5);
	assert_memory_equal(b, "hello", 5);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 0);
	assert_int_equal(zv_conn_close(h), 0);
	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 0);
	assert_int_equal(zv_conn_close(h), 0);
	assert_int_equal(zv_accept(P.h, 1000, &h), -EAGAIN);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
}

static int count_conn(void *ctx, const struct zv_conn_info *info)
{
	(void)info;
	++*(unsigned *)ctx;
	return 0;
}

/* They outlive the session, are shown, and go with the listener; or with the device. */
static void test_unaccepted_clients_are_freed(void **state)
{
	struct zv_conn *h;
	unsigned shown = 0;
	char b[8];

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	come_and_go("one", 3);
	come_and_go("two", 3);
	fake_new_session(true);
	pump();
	assert_int_equal(zv_queue_conns(P.h, NULL, count_conn, &shown), 0);
	assert_int_equal(shown, 2);
	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 3);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 0);
	assert_int_equal(zv_conn_close(h), 0);
	assert_int_equal(zv_unlisten(P.host, 1000), 0);
	pump();
	shown = 0;
	assert_int_equal(zv_queue_conns(P.h, NULL, count_conn, &shown), 0);
	assert_int_equal(shown, 0);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	assert_int_equal(fake_pending(ZV_ROLE_GUEST, 0), 0); /* nobody is told again */
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	come_and_go("three", 5);
}

/* A client that resets takes everything back: nobody has seen it. */
static void test_an_unaccepted_reset_is_forgotten(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	assert_int_equal(zv_conn_reset(g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, 1000, &h), -EAGAIN);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
}

/* ---- every end is told ---- */

#define MANY 200

/* No room for a RST, for many connections: each gets its own once there is. */
static void test_every_reset_is_told(void **state)
{
	struct zv_conn *g[MANY], *h[MANY];
	struct zv_queue_stats st;
	unsigned told = 0;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(zv_conn_reset(g[i]), 0);
	/* What comes from the same ports after it does not overtake it. */
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g[0]), 0);
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	pump();
	pump();
	for (unsigned i = 0; i < MANY; i++) {
		told += zv_recv(h[i], &(char){0}, 1, NULL) == -ECONNRESET;
		assert_int_equal(zv_conn_close(h[i]), 0);
	}
	assert_int_equal(told, MANY);
	zv_queue_stats(P.g, &st, sizeof(st));
	assert_int_equal(st.rst_dropped, 0);
	assert_int_equal(zv_accept(P.h, 1000, &h[0]), 0);
	assert_int_equal(zv_conn_close(g[0]), 0);
	assert_int_equal(zv_conn_close(h[0]), 0);
}

/* ---- counters ---- */

static uint64_t errors(struct zv_queue *q, uint64_t *late)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	*late = s.rx_late;
	return s.rst_dropped + s.rx_bad_hdr + s.rx_bad_cid + s.rx_bad_type + s.rx_no_conn +
	       s.rx_bad_state + s.rx_overrun + s.rx_bad_credit + s.rx_bad_chain;
}

/* Packets that cross the end of their connection, and the second RST of a Linux guest. */
static void test_clean_ends_are_no_errors(void **state)
{
	struct zv_conn *g, *h;
	struct vsock_hdr credit, rst;
	uint64_t late;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	credit = hdr_like(g, VSOCK_OP_CREDIT_UPDATE, 0);
	rst = hdr_like(g, VSOCK_OP_RST, 0);
	assert_int_equal(zv_send(h, "x", 1, 0), 1);
	assert_int_equal(zv_conn_close(h), 0);
	pump();
	assert_int_equal(zv_recv(g, &(char){0}, 1, NULL), 1); /* its RST is the end at the host */
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &credit, NULL), 0);
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &rst, NULL), 0);
	assert_int_equal(zv_conn_close(g), 0);
	pump();
	assert_int_equal(errors(P.h, &late), 0);
	assert_int_equal(late, 2);
	assert_int_equal(errors(P.g, &late), 0);
	credit.src_port++; /* nobody's, and never was */
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &credit, NULL), 0);
	pump();
	assert_int_equal(errors(P.h, &late), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
#define Q(f) cmocka_unit_test_setup_teardown(f, quick_close_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_shut_rd_is_an_event_for_who_asks),
		T(test_shut_rd_wakes_nobody_else),
		T(test_the_end_of_both_halves_is_sent_once),
		T(test_a_close_is_the_event_too),
		T(test_a_blocked_sender_learns_of_shut_rd),
		T(test_the_last_bytes_of_a_session_arrive),
		T(test_the_last_bytes_arrive_in_the_next_session),
		T(test_a_request_of_the_last_session_is_dead),
		Q(test_an_unaccepted_client_is_not_forgotten),
		Q(test_unaccepted_clients_are_freed),
		T(test_an_unaccepted_reset_is_forgotten),
		T(test_every_reset_is_told),
		T(test_clean_ends_are_no_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
