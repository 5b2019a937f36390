/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is told when there is room again: a sender must neither sleep for ever nor be told for ever.
 * Each of these was wrong once.
 */
#include "pair.h"
#include "socket/core/timer.h"
#include "socket/tx/tx_wait.h"

static void test_order_of_more_and_reserved_buffers(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b;
	char got[16];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_buf_alloc(g, &b, 1, 4), 1);
	memcpy(b.data, "BBBB", 4);
	assert_int_equal(zv_send(g, "AAAA", 4, ZV_MORE), 4);
	assert_int_equal(zv_buf_send(g, &b, 1), 1);
	pump();
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 8);
	assert_memory_equal(got, "AAAABBBB", 8);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* Credit that was reserved and not used comes back without any packet of the peer. */
static void test_unused_credit_wakes_its_sender(void **state)
{
	struct zv_conn *g, *h;
	static const char page[4096];
	struct zv_buf b[64];
	int n, all = 0;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	earn_buffers(g, 16);
	assert_int_equal(zv_send(g, page, sizeof(page), 0), sizeof(page));
	while ((n = zv_buf_alloc(g, b + all, 64 - all, 4096)) > 0)
		all += n;
	assert_int_equal(n, -EAGAIN);
	pump();
	assert_false(seen_guest.events & ZV_EV_OUT);
	zv_buf_cancel(g, b, 1);
	pump();
	assert_true(seen_guest.events & ZV_EV_OUT);
	for (int i = 1; i < all; i++)
		b[i].len = 1;
	assert_int_equal(zv_buf_send(g, b + 1, (unsigned)all - 1), all - 1);
	assert_true(zv_send(g, "x", 1, ZV_MORE) == 1);
	assert_int_equal(zv_buf_alloc(g, b, 1, 64), 1);
	zv_buf_cancel(g, b, 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void fill(struct zv_conn *c)
{
	static char data[4096];

	while (zv_send(c, data, sizeof(data), 0) > 0)
		pump();
}

static void test_no_room_is_not_reported_after_the_end(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	for (int who = 0; who < 2; who++) {
		connect_pair(ZV_STREAM, 1000, &g, &h);
		fill(g);
		assert_int_equal(who ? zv_shutdown(g, 1) : zv_shutdown(h, 0), 0);
		pump();
		assert_int_equal(zv_send(g, "x", 1, 0), -EPIPE);
		assert_int_equal(zv_send(h, "x", 1, 0), 1); /* a packet, and so a look */
		pump();
		assert_int_equal(zv_recv(g, &(char){0}, 1, NULL), 1);
		pump();
		assert_false(seen_guest.events & ZV_EV_OUT);
		assert_int_equal(zv_arm(P.g), 0);
		zv_conn_close(g);
		zv_conn_close(h);
		pump();
	}
}

/* The peer has closed and is gone; what it had sent is still to be read. */
static void test_no_room_is_told_once_after_the_close(void **state)
{
	struct vsock_hdr rst;
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	fill(h);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	assert_int_equal(zv_shutdown(g, 2), 0);
	rst = hdr_like(g, VSOCK_OP_RST, 0);
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &rst, NULL), 0);
	pump();
	assert_int_equal(seen_host.err, 0);
	assert_true(seen_host.events & ZV_EV_OUT);
	assert_int_equal(zv_send(h, "x", 1, 0), -EPIPE);
	zv_set_events(h, ZV_EV_OUT);
	pump();
	assert_false(seen_host.events & ZV_EV_OUT);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_recv(h, &(char){0}, 1, NULL), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_empty_send_of_a_stream(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "", 0, 0), 0);
	fill(g);
	assert_int_equal(zv_send(g, "", 0, 0), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* Plain peers: 64 packets unread at most; bytes of credit are left, and yet there is no room. */
static void test_packet_budget_used_up_is_no_room(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	while (zv_send(g, "message", 7, 0) == 7)
		pump();
	pump();
	assert_false(seen_guest.events & ZV_EV_OUT);
	assert_int_equal(zv_send(g, "", 0, 0), -EINVAL);
	zv_conn_close(g);
	zv_conn_close(h);
}

/*
 * A plain receiver looks at bytes and does not report by itself. A question that was answered is
 * over: the next one does not wait for the timer of the one before.
 */
static void test_budget_comes_back_each_time(void **state)
{
	struct zv_conn *g, *h;
	char got[128];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int round = 0; round < 100; round++) {
		int sent = 0;

		while (zv_send(g, "x", 1, 0) == 1) {
			sent++;
			pump();
		}
		assert_true(sent >= 30);
		assert_int_equal(zv_recv(h, got, sizeof(got), NULL), sent);
		seen_guest.events = 0;
		pump();
		assert_true(seen_guest.events & ZV_EV_OUT);
	}
	zv_conn_close(g);
	zv_conn_close(h);
}

/* A thread that was off the CPU finds the answer behind other packets, and its time over. */
static void test_an_answer_in_the_ring_comes_before_its_timeout(void **state)
{
	struct vsock_hdr noise = {2, FAKE_CID, 9, 9, 0, ZV_STREAM, VSOCK_OP_RST, 0, 0, 0};
	struct zv_event ev[8];
	struct zv_conn *g;
	int n = 0, err = 1;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g), 0);
	assert_int_equal(zv_poll(P.g, ev, 8), 0);
	for (unsigned i = 0; i < ZV_BURST + 8; i++)
		assert_int_equal(fake_inject(ZV_ROLE_GUEST, 0, &noise, NULL), 0);
	assert_int_equal(zv_poll(P.h, ev, 8), 1); /* the RESPONSE is behind them */
	assert_true(ev[0].events & ZV_EV_ACCEPT);
	g->timer.deadline = 1;
	P.g->clock.tick = 0;
	for (unsigned i = 0; i < 8 && err == 1; i++) {
		n = zv_poll(P.g, ev, 8);
		for (int k = 0; k < n; k++)
			if (ev[k].events & ZV_EV_CONNECT)
				err = ev[k].err;
	}
	assert_int_equal(err, 0);
	zv_conn_close(g);
}

/* A reader that stays away is asked less and less, and at once again after it has read. */
static void test_budget_is_asked_for_more_rarely(void **state)
{
	unsigned last = TIMER_CREDIT;
	struct zv_conn *g, *h;
	char got[128];

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	while (zv_send(g, "x", 1, 0) == 1)
		pump();
	for (unsigned i = 0; i < 300; i++) {
		assert_true(g->flags & CF_TIMER);
		assert_in_range(g->timer.which, last, TIMER_CREDIT_LAST);
		last = g->timer.which;
		conn_timer_stop(g);
		tx_credit_retry(g);
		pump();
	}
	assert_int_equal(last, TIMER_CREDIT_LAST);
	while (zv_recv(h, got, sizeof(got), NULL) > 0)
		;
	conn_timer_stop(g);
	tx_credit_retry(g);
	pump();
	assert_false(g->flags & CF_TIMER);
	while (zv_send(g, "x", 1, 0) == 1)
		pump();
	assert_int_equal(g->timer.which, TIMER_CREDIT);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* While half of the budget is left, nobody has to wait for an answer. */
static void test_budget_is_asked_for_ahead(void **state)
{
	struct zv_conn *g, *h;
	struct zv_queue_stats st;
	char c;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(zv_send(g, "x", 1, 0), 1);
		pump();
		assert_int_equal(zv_recv(h, &c, 1, NULL), 1);
	}
	assert_int_equal(zv_queue_stats(P.g, &st, sizeof(st)), 0);
	assert_true(st.tx_packets < 1100);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_closed_senders_leave_the_line(void **state)
{
	struct zv_conn *g[3], *h[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(zv_send(g[i], "x", 1, 0), -EAGAIN);
	zv_conn_close(g[0]);
	zv_conn_close(g[1]);
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	zv_poll(P.g, &(struct zv_event){0}, 1);
	assert_int_equal(zv_send(g[2], "x", 1, 0), 1); /* the only one left in line */
	zv_conn_close(g[2]);
	for (int i = 0; i < 3; i++)
		zv_conn_close(h[i]);
}

/* A message that needs most buffers, beside a stream that would take every one of them. */
static void test_large_message_and_stream_both_go_on(void **state)
{
	static char data[65536];
	struct zv_conn *mg, *mh, *g, *h;
	unsigned messages = 0, packets = 0;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1001, &mg, &mh);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int round = 0; round < 3000; round++) {
		while (zv_send(g, data, 512, 0) > 0)
			packets++;
		messages += zv_send(mg, data, 60000, 0) > 0;
		pump();
		while (zv_recv(h, data, sizeof(data), NULL) > 0)
			;
		while (zv_recv(mh, data, sizeof(data), NULL) > 0)
			;
	}
	assert_true(messages > 100);
	assert_true(packets > 10000);
	zv_conn_close(mg);
	zv_conn_close(mh);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* One that can never have as many buffers as it needs must not hold up the line. */
static void test_impossible_message_does_not_stall_the_line(void **state)
{
	static char data[65536];
	struct zv_conn *mg, *mh, *g[2], *h[2];
	unsigned packets[2] = {0};

	(void)state;
	connect_pair(ZV_SEQPACKET, 1001, &mg, &mh);
	for (int i = 0; i < 2; i++)
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
	for (int round = 0; round < 2000; round++) {
		fake_limit_tx(ZV_ROLE_GUEST, 0, 4 + 8); /* 8 buffers, and those for control */
		(void)zv_send(mg, data, 60000, 0);
		for (int i = 0; i < 2; i++)
			while (zv_send(g[i], data, 512, 0) > 0)
				packets[i]++;
		pump();
		for (int i = 0; i < 2; i++)
			while (zv_recv(h[i], data, sizeof(data), NULL) > 0)
				;
	}
	assert_true(packets[0] > 300 && packets[1] > 300);
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	zv_conn_close(mg);
	zv_conn_close(mh);
	for (int i = 0; i < 2; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
}

static void test_masked_connect_is_kept(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.g, 0, 1000, ZV_STREAM, &g), 0);
	zv_set_events(g, ZV_EV_IN);
	pump();
	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	zv_send(h, "x", 1, 0);
	pump();
	assert_int_equal(seen_guest.events, ZV_EV_IN);
	zv_set_events(g, UINT32_MAX);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	zv_conn_close(g);
	zv_conn_close(h);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_order_of_more_and_reserved_buffers),
		T(test_unused_credit_wakes_its_sender),
		T(test_no_room_is_not_reported_after_the_end),
		T(test_an_answer_in_the_ring_comes_before_its_timeout),
		T(test_no_room_is_told_once_after_the_close),
		T(test_empty_send_of_a_stream),
		cmocka_unit_test_setup_teardown(test_packet_budget_used_up_is_no_room,
						pair_setup_plain, pair_teardown),
		cmocka_unit_test_setup_teardown(test_budget_comes_back_each_time, pair_setup_plain,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_budget_is_asked_for_more_rarely,
						pair_setup_plain, pair_teardown),
		cmocka_unit_test_setup_teardown(test_budget_is_asked_for_ahead, pair_setup_plain,
						pair_teardown),
		T(test_closed_senders_leave_the_line),
		T(test_large_message_and_stream_both_go_on),
		T(test_impossible_message_does_not_stall_the_line),
		T(test_masked_connect_is_kept),
	};

	return cmocka_run_group_tests_name("wake-ups", tests, NULL, NULL);
}
