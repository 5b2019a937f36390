/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket layer between two well-behaved sides: connections, data, credit, closing. */
#include "pair.h"

static void test_connect_send_receive(void **state)
{
	struct zv_conn *g, *h;
	char buf[64];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_recv(h, buf, sizeof(buf), NULL), -EAGAIN);
	assert_int_equal(zv_send(g, "hello", 5, 0), 5);
	assert_int_equal(zv_send(g, " you", 4, 0), 4);
	pump();
	assert_true(seen_host.events & ZV_EV_IN);
	assert_int_equal(zv_recv(h, buf, 3, NULL), 3);
	assert_memory_equal(buf, "hel", 3);
	assert_int_equal(zv_recv(h, buf, sizeof(buf), NULL), 6);
	assert_memory_equal(buf, "lo you", 6);
	assert_int_equal(zv_send(h, "back", 4, 0), 4);
	pump();
	assert_int_equal(zv_recv(g, buf, sizeof(buf), &(uint32_t){ZV_PEEK}), 4);
	assert_int_equal(zv_recv(g, buf, sizeof(buf), NULL), 4);
	assert_memory_equal(buf, "back", 4);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0) + fake_held(ZV_ROLE_GUEST, 0), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_host_connects_to_guest(void **state)
{
	struct zv_conn *h, *g;

	(void)state;
	assert_int_equal(zv_listen(P.guest, 77, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.h, FAKE_CID, 77, ZV_STREAM, &h), 0);
	assert_int_equal(zv_connect(P.h, 99, 77, ZV_STREAM, &(struct zv_conn *){NULL}),
			 -EHOSTUNREACH);
	pump();
	assert_int_equal(zv_accept(P.g, ZV_PORT_ANY, &g), 0);
	assert_int_equal(zv_accept(P.g, ZV_PORT_ANY, &g), -EAGAIN);
	assert_int_equal(zv_accept(P.g, 78, &g), -ENOENT);
	zv_conn_close(h);
	zv_conn_close(g);
}

static void test_connect_refused(void **state)
{
	struct zv_conn *g;

	(void)state;
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 9, ZV_STREAM, &g), 0);
	assert_int_equal(zv_send(g, "x", 1, 0), -ENOTCONN);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	assert_int_equal(zv_recv(g, &(char){0}, 1, NULL), -ECONNREFUSED);
	zv_conn_close(g);
	/* the right port but the wrong type is refused as well */
	assert_int_equal(zv_listen(P.host, 9, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 9, ZV_SEQPACKET, &g), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	zv_conn_close(g);
}

static void test_backlog_is_per_queue_and_bounded(void **state)
{
	struct zv_conn *c[4], *a;
	struct zv_queue_stats st;

	(void)state;
	assert_int_equal(zv_listen(P.host, 5, ZV_STREAM, 2), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 5, ZV_STREAM, &c[i]), 0);
	pump();
	zv_queue_stats(P.h, &st, sizeof(st));
	assert_int_equal(st.conns_refused, 2);
	assert_int_equal(zv_accept(P.h, 5, &a), 0);
	zv_conn_close(a);
	assert_int_equal(zv_unlisten(P.host, 5), 0); /* the second is reset */
	pump();
	assert_true(seen_guest.events & ZV_EV_ERR);
	assert_int_equal(zv_unlisten(P.host, 5), -ENOENT);
	for (int i = 0; i < 4; i++)
		zv_conn_close(c[i]);
	assert_int_equal(zv_listen(P.host, 5, ZV_STREAM, 2), 0);
}

static void test_half_close_leaves_the_other_direction_open(void **state)
{
	struct zv_conn *g, *h;
	char buf[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_send(g, "last", 4, 0);
	assert_int_equal(zv_shutdown(g, 1), 0);
	assert_int_equal(zv_send(g, "x", 1, 0), -EPIPE);
	pump();
	assert_int_equal(zv_recv(h, buf, 8, NULL), 4);
	pump();
	assert_true(seen_host.events & ZV_EV_IN); /* the end of the stream is an event too */
	assert_int_equal(zv_recv(h, buf, 8, NULL), 0);
	pump();
	assert_false(seen_host.events & ZV_EV_IN); /* until it was seen */
	/* the other direction goes on */
	assert_int_equal(zv_send(h, "still", 5, 0), 5);
	pump();
	assert_int_equal(zv_recv(g, buf, 8, NULL), 5);
	assert_int_equal(zv_shutdown(h, 1), 0);
	pump();
	assert_int_equal(zv_recv(g, buf, 8, NULL), 0);
	assert_int_equal(zv_conn_close(g), 0);
	pump();
	assert_int_equal(zv_conn_close(h), 0);
	pump();
	assert_int_equal(fake_pending(ZV_ROLE_GUEST, 0) + fake_pending(ZV_ROLE_HOST, 0), 0);
}

static void test_close_delivers_data_then_eof(void **state)
{
	struct zv_conn *g, *h;
	char buf[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_send(g, "bye", 3, 0);
	zv_conn_close(g);
	pump();
	assert_int_equal(zv_send(h, "x", 1, 0), -EPIPE);
	assert_true(seen_host.events & ZV_EV_HUP);
	assert_int_equal(zv_recv(h, buf, 8, NULL), 3);
	assert_int_equal(zv_recv(h, buf, 8, NULL), 0);
	zv_conn_close(h);
	pump();
	/* Both sides have forgotten it: a packet for it would be answered by RST. */
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_session_end_resets_connections_not_listeners(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b[2];
	char buf[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_send(g, "one", 3, 0);
	pump();
	assert_int_equal(zv_buf_recv(h, b, 2), 1);
	assert_int_equal(zv_buf_alloc(g, b + 1, 1, 100), 1);
	fake_new_session(false);
	assert_int_equal(zv_send(g, "x", 1, 0), -ECONNRESET);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &(struct zv_conn *){NULL}),
			 -ENETDOWN);
	fake_new_session(true);
	pump();
	assert_true(seen_guest.events & seen_host.events & ZV_EV_ERR);
	assert_int_equal(zv_recv(h, buf, 8, NULL), -ECONNRESET);
	/* loans outlive the reset, on both sides, and reserved buffers are not sent */
	assert_memory_equal(b[0].data, "one", 3);
	assert_int_equal(zv_conn_close(h), 0);
	zv_buf_release(P.h, b, 1);
	assert_int_equal(zv_conn_close(g), -EBUSY);
	assert_int_equal(zv_buf_send(g, b + 1, 1), -ECONNRESET);
	assert_int_equal(zv_conn_close(g), 0);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	connect_pair(ZV_STREAM, 1000, &g, &h); /* the listener is still there */
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_seqpacket_boundaries(void **state)
{
	static uint8_t big[20000], got[20000];
	struct zv_conn *g, *h;
	uint32_t flags = 0;
	char buf[16];

	(void)state;
	connect_pair(ZV_SEQPACKET, 2000, &g, &h);
	assert_int_equal(zv_send(g, "first", 5, 0), 5);
	assert_int_equal(zv_send(g, "", 0, 0), 0);
	assert_int_equal(zv_send(g, "record", 6, ZV_EOR), 6);
	memset(big, 0x5a, sizeof(big));
	assert_int_equal(zv_send(g, big, sizeof(big), 0), sizeof(big)); /* several packets */
	assert_int_equal(zv_send(g, big, 65537, 0), -EMSGSIZE);
	pump();
	assert_int_equal(zv_recv(h, buf, sizeof(buf), &(uint32_t){ZV_PEEK}), 5);
	flags = 0;
	assert_int_equal(zv_recv(h, buf, 3, &flags), 3);
	assert_int_equal(flags, ZV_EOM | ZV_TRUNC);
	assert_int_equal(zv_recv(h, buf, sizeof(buf), NULL), 0);
	flags = 0;
	assert_int_equal(zv_recv(h, buf, sizeof(buf), &flags), 6);
	assert_int_equal(flags, ZV_EOM | ZV_EOR);
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), sizeof(got));
	assert_memory_equal(big, got, sizeof(got));
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), -EAGAIN);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_zero_copy_any_order(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf tx[8], rx[8];
	int n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	n = zv_buf_alloc(g, tx, 8, 1000);
	assert_int_equal(n, 8);
	for (int i = 0; i < 8; i++) {
		memset(tx[i].data, 'a' + i, 1000);
		tx[i].len = 1000;
	}
	zv_buf_cancel(g, tx + 7, 1);
	tx[6].len = 1001;
	assert_int_equal(zv_buf_send(g, tx + 6, 1), -EINVAL);
	tx[5].len = 0; /* gives it back unsent */
	assert_int_equal(zv_buf_send(g, tx, 6), 6);
	assert_int_equal(zv_buf_send(g, tx, 1), -EINVAL); /* sent before */
	pump();
	assert_int_equal(zv_buf_recv(h, rx, 8), 5);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(rx[i].len, 1000);
		assert_int_equal(*(char *)rx[i].data, 'a' + i);
	}
	assert_int_equal(zv_close(P.host), -EBUSY);
	zv_buf_release(P.h, rx + 3, 2);
	zv_buf_release(P.h, rx, 3);
	zv_buf_release(P.h, rx, 3); /* twice: refused, nothing breaks */
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_credit_returns_on_one_way_flow(void **state)
{
	static uint8_t data[4096], got[8192];
	struct zv_conn *g, *h;
	size_t sent = 0, received = 0;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int round = 0; round < 2000; round++) {
		ssize_t n = zv_send(g, data, sizeof(data), 0);

		if (n > 0)
			sent += (size_t)n;
		else
			assert_int_equal(n, -EAGAIN);
		pump();
		if (round % 3 == 0 && (n = zv_recv(h, got, sizeof(got), NULL)) > 0)
			received += (size_t)n;
	}
	assert_true(sent > 4000000 && sent - received <= 65536);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_sender_stops_at_peer_buf_alloc(void **state)
{
	static uint8_t data[4096], got[65536];
	struct zv_conn *g, *h;
	size_t sent = 0;
	ssize_t n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while ((n = zv_send(g, data, sizeof(data), 0)) > 0) {
		sent += (size_t)n;
		pump();
	}
	assert_int_equal(n, -EAGAIN);
	assert_int_equal(sent, 65536);
	/* nobody reads, yet at most half of the descriptors are withheld */
	assert_true(fake_held(ZV_ROLE_HOST, 0) <= 32);
	pump();
	assert_false(seen_guest.events & ZV_EV_OUT);
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 65536);
	pump();
	assert_true(seen_guest.events & ZV_EV_OUT);
	assert_int_equal(zv_send(g, data, 1, 0), 1);
	pump();
	assert_false(seen_guest.events & ZV_EV_OUT);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_cancel_gives_credit_back(void **state)
{
	struct zv_conn *g, *h;
	static const char page[4096];
	struct zv_buf b[64];
	int n, total = 0;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	earn_buffers(g, 16);
	assert_int_equal(zv_send(g, page, sizeof(page), 0), sizeof(page));
	while ((n = zv_buf_alloc(g, b + total, 64 - total, 4096)) > 0)
		total += n;
	assert_int_equal(n, -EAGAIN);
	assert_int_equal(total, 15); /* with the page 64 KiB of credit, and a quarter of the ring */
	assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	zv_buf_cancel(g, b, 15);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_more_makes_one_packet(void **state)
{
	struct zv_conn *g, *h;
	struct vsock_hdr hdr;
	char buf[64];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "ab", 2, ZV_MORE), 2);
	assert_int_equal(zv_send(g, "cd", 2, ZV_MORE), 2);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 0);
	assert_int_equal(zv_send(g, "ef", 2, 0), 2);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 1);
	assert_true(fake_peek(ZV_ROLE_HOST, 0, 0, &hdr));
	assert_int_equal(hdr.len, 6);
	assert_int_equal(zv_send(g, "gh", 2, ZV_MORE), 2);
	pump(); /* a poll sends what is open */
	assert_int_equal(zv_recv(h, buf, sizeof(buf), NULL), 8);
	assert_memory_equal(buf, "abcdefgh", 8);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_masked_events_let_the_queue_sleep(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_send(g, "x", 1, 0);
	pump();
	assert_int_equal(zv_arm(P.h), -EAGAIN);
	zv_set_events(h, ZV_EV_HUP);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	zv_set_events(h, ZV_EV_IN);
	pump();
	assert_int_equal(seen_host.events, ZV_EV_IN);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_connect_times_out(void **state)
{
	struct zv_opts o = {
		.size = sizeof(o), .connect_timeout_ns = 1000000, .flags = ZV_OPT_NO_HELLO};
	struct zv_dev *dev;
	struct zv_event ev;
	struct zv_conn *c;

	(void)state;
	assert_int_equal(zv_open(&dev, "fakeguest:", &o), 0); /* nobody on the other side */
	assert_int_equal(zv_connect(zv_queue(dev, 0), ZV_CID_HOST, 1, ZV_STREAM, &c), 0);
	assert_int_equal(zv_wait(zv_queue(dev, 0), &ev, 1, 5000000000u), 1);
	assert_int_equal(ev.err, -ETIMEDOUT);
	assert_true(ev.events & ZV_EV_CONNECT);
	zv_conn_close(c);
	assert_int_equal(zv_wait(zv_queue(dev, 0), &ev, 1, 1000), 0);
	zv_close(dev);
}

static void test_hello_is_found_on_every_queue(void **state)
{
	struct zv_dev_info i = {.size = sizeof(i)};

	(void)state;
	assert_int_equal(zv_dev_info(P.guest, &i), 0);
	assert_int_equal(i.peer, ZV_PEER_ZVSOCK);
	assert_int_equal(i.queues_up, 2);
	assert_int_equal(zv_dev_info(P.host, &i), 0);
	assert_int_equal(i.peer, ZV_PEER_ZVSOCK);
	assert_int_equal(i.cid, ZV_CID_HOST);
	assert_int_equal(i.guest_cid, FAKE_CID);
}

static void count_line(void *ctx, enum zv_log_level level, const char *line)
{
	assert_int_equal(level, ZV_LOG_WARN);
	assert_non_null(line);
	++*(unsigned *)ctx;
}

static void test_a_peer_cannot_flood_the_log(void **state)
{
	struct zv_log_limit limit = {0};
	unsigned lines = 0;

	(void)state;
	zv_set_log(count_line, &lines);
	for (int i = 0; i < 100000; i++)
		zv_log_limited(&limit, ZV_LOG_WARN, "line %d", i);
	zv_set_log(NULL, NULL);
	assert_true(lines >= ZV_LOG_BURST && lines < 1000);
	assert_true(limit.suppressed > 0);
}

static void test_open_errors_have_a_sentence(void **state)
{
	struct zv_opts bad_ring = {.size = sizeof(bad_ring), .ring_size = 100};
	struct zv_opts many = {.size = sizeof(many), .queues = 17};
	struct zv_dev *dev;

	(void)state;
	assert_int_equal(zv_open(&dev, "nonsense:x", NULL), -EPROTONOSUPPORT);
	assert_non_null(strstr(zv_error_text(), "nonsense"));
	assert_non_null(strstr(zv_error_text(), "one of fakeguest:, fakehost:"));
	assert_int_equal(zv_open(&dev, "fakeguest", NULL), -EPROTONOSUPPORT);
	assert_int_equal(zv_open(&dev, "fakeguest:", &bad_ring), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "power of two"));
	assert_int_equal(zv_open(&dev, "fakeguest:", &many), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "queues is 17"));
	assert_int_equal(zv_open(&dev, NULL, NULL), -EINVAL);
	assert_null(dev = NULL);
}

static void test_an_unknown_scheme_is_told_those_that_are_known(void **state)
{
	static const struct transport_ops added = {.scheme = "added"};
	char known[40], cut[14];
	struct zv_dev *dev;

	(void)state;
	assert_int_equal(zv_transport_register(&added), 0);
	assert_int_equal(zv_open(&dev, "nonsense:x", NULL), -EPROTONOSUPPORT);
	assert_non_null(strstr(zv_error_text(), "one of fakeguest:, fakehost:, added:"));
	zv_transport_schemes(known, sizeof(known));
	assert_string_equal(known, "fakeguest:, fakehost:, added:");
	zv_transport_schemes(cut, sizeof(cut));
	assert_string_equal(cut, "fakeguest:, f");
	zv_transport_schemes(cut, 1);
	assert_string_equal(cut, "");
}

static void test_events_rotate_over_connections(void **state)
{
	struct zv_conn *g[8], *h[8];
	struct zv_event ev[2];
	unsigned seen[8] = {0};

	(void)state;
	for (int i = 0; i < 8; i++) {
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
		zv_set_user(h[i], &seen[i]);
		zv_send(g[i], "x", 1, 0);
	}
	pump();
	for (int round = 0; round < 40; round++) {
		int n = zv_poll(P.h, ev, 2);

		for (int i = 0; i < n; i++)
			++*(unsigned *)ev[i].user;
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(seen[i], 10);
	for (int i = 0; i < 8; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_connect_send_receive),
		T(test_host_connects_to_guest),
		T(test_connect_refused),
		T(test_backlog_is_per_queue_and_bounded),
		T(test_half_close_leaves_the_other_direction_open),
		T(test_close_delivers_data_then_eof),
		T(test_session_end_resets_connections_not_listeners),
		T(test_seqpacket_boundaries),
		T(test_zero_copy_any_order),
		T(test_credit_returns_on_one_way_flow),
		T(test_sender_stops_at_peer_buf_alloc),
		T(test_cancel_gives_credit_back),
		T(test_more_makes_one_packet),
		T(test_masked_events_let_the_queue_sleep),
		cmocka_unit_test(test_connect_times_out),
		T(test_hello_is_found_on_every_queue),
		cmocka_unit_test(test_a_peer_cannot_flood_the_log),
		cmocka_unit_test(test_open_errors_have_a_sentence),
		cmocka_unit_test(test_an_unknown_scheme_is_told_those_that_are_known),
		T(test_events_rotate_over_connections),
	};

	return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
