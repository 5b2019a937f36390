/* SPDX-License-Identifier: BSD-3-Clause */
/* The catch-all listener: requests that wait for the application's answer. zv_conn_reset. */
#include "pair.h"

#include "proto/ctrl/hello.h"

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i;
}

/* A connection of the guest to @port that the host has taken and not answered. */
static void ask(enum zv_type type, uint32_t port, struct zv_conn **g, struct zv_conn **h)
{
	int ret = zv_listen_all(P.host, 0, 0);

	assert_true(ret == 0 || ret == -EADDRINUSE);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, port, type, g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, h), 0);
}

static void test_any_port_waits_for_the_answer(void **state)
{
	static const enum zv_type types[] = {ZV_STREAM, ZV_SEQPACKET};
	struct zv_conn_info info;
	struct zv_conn *g, *h;
	struct zv_event ev;
	char buf[8];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(zv_listen_all(P.host, 0, 0), i ? -EADDRINUSE : 0);
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 70000 + i, types[i], &g), 0);
		pump();
		assert_false(seen_guest.events & (ZV_EV_CONNECT | ZV_EV_ERR));
		assert_int_equal(zv_poll(P.h, &ev, 1), 1);
		assert_int_equal(ev.events, ZV_EV_ACCEPT);
		assert_int_equal(ev.port, ZV_PORT_ANY);
		assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0);
		assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &(struct zv_conn *){NULL}), -EAGAIN);
		info = info_of(h);
		assert_int_equal(info.local_port, 70000 + i);
		assert_int_equal(info.type, types[i]);
		assert_string_equal(info.state, "requested");
		pump();
		assert_int_equal(seen_host.events, 0);
		assert_false(seen_guest.events & ZV_EV_CONNECT);
		assert_int_equal(zv_send(h, "x", 1, 0), -ENOTCONN);
		assert_int_equal(zv_buf_alloc(h, &(struct zv_buf){0}, 1, 1), -ENOTCONN);
		assert_int_equal(zv_recv(h, buf, 1, NULL), -ENOTCONN);
		assert_int_equal(zv_shutdown(h, 2), -ENOTCONN);
		assert_int_equal(stats(P.h).conns_accepted, i);
		assert_int_equal(zv_conn_answer(h, 1), -EINVAL);
		assert_int_equal(zv_conn_answer(h, 0), 0);
		assert_int_equal(zv_conn_answer(h, 0), -EINVAL);
		assert_int_equal(zv_send(h, "hi", 2, 0), 2);
		pump();
		assert_true(seen_guest.events & ZV_EV_CONNECT);
		assert_int_equal(zv_recv(g, buf, 8, NULL), 2);
		assert_int_equal(zv_send(g, "you", 3, 0), 3);
		pump();
		assert_int_equal(zv_recv(h, buf, 8, NULL), 3);
		assert_int_equal(stats(P.h).conns_accepted, i + 1);
		zv_conn_close(g);
		zv_conn_close(h);
		pump();
	}
}

static void test_ports_with_a_listener_of_their_own_keep_it(void **state)
{
	struct zv_conn *g, *h;
	struct vsock_hdr ctrl = {.src_cid = FAKE_CID,
				 .dst_cid = ZV_CID_HOST,
				 .src_port = 5000, /* an unprivileged one */
				 .dst_port = ZV_CTRL_PORT,
				 .type = ZV_STREAM,
				 .op = VSOCK_OP_REQUEST};

	(void)state;
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	connect_pair(ZV_STREAM, 5, &g, &h);
	assert_string_equal(info_of(h).state, "connected");
	assert_int_equal(zv_conn_answer(h, 0), -EINVAL);
	zv_conn_close(g);
	zv_conn_close(h);
	/* one that is waited for under its own port is not handed out as one without answer */
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 5, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), -EAGAIN);
	assert_int_equal(zv_accept(P.h, 5, &h), 0);
	zv_conn_close(g);
	zv_conn_close(h);
	/* of the other type, and the library's own */
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 5, ZV_SEQPACKET, &g), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	zv_conn_close(g);
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &ctrl, NULL), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), -EAGAIN);
}

static void test_answer_of_refusal(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	ask(ZV_STREAM, 9, &g, &h);
	assert_int_equal(zv_conn_answer(h, -ECONNREFUSED), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	assert_true(seen_host.events & ZV_EV_ERR);
	assert_int_equal(zv_conn_answer(h, 0), -ECONNREFUSED);
	assert_int_equal(stats(P.h).conns_refused, 1);
	assert_int_equal(zv_conn_close(h), 0);
	zv_conn_close(g);
	/* closing without an answer refuses too */
	ask(ZV_STREAM, 9, &g, &h);
	assert_int_equal(zv_conn_close(h), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	zv_conn_close(g);
}

static void test_requests_beyond_the_backlog_are_refused(void **state)
{
	struct zv_conn *c[6], *h;

	(void)state;
	assert_int_equal(zv_listen_all(P.host, 1u << 31, 3), -EINVAL);
	assert_int_equal(zv_listen_all(P.host, 0, 3), 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 100 + i, ZV_STREAM, &c[i]), 0);
	pump();
	assert_int_equal(stats(P.h).conns_refused, 3);
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0);
	assert_int_equal(zv_conn_answer(h, 0), 0);
	/* those that still wait are reset, the one that was taken lives */
	assert_int_equal(zv_unlisten(P.host, ZV_PORT_ANY), 0);
	assert_int_equal(zv_unlisten(P.host, ZV_PORT_ANY), -ENOENT);
	pump();
	assert_string_equal(info_of(c[0]).state, "connected");
	for (unsigned i = 1; i < 6; i++)
		assert_string_equal(info_of(c[i]).state, "closed");
	assert_int_equal(zv_send(c[0], "ok", 2, 0), 2);
	assert_int_equal(zv_listen_all(P.host, 0, 3), 0);
	for (unsigned i = 0; i < 6; i++)
		zv_conn_close(c[i]);
	zv_conn_close(h);
}

static void test_a_taken_request_outlives_its_listener(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	ask(ZV_STREAM, 9, &g, &h);
	assert_int_equal(zv_unlisten(P.host, ZV_PORT_ANY), 0);
	pump();
	assert_int_equal(zv_conn_answer(h, 0), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_nothing_may_come_before_the_answer(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	for (unsigned op = VSOCK_OP_REQUEST; op <= VSOCK_OP_MAX; op++) {
		struct vsock_hdr hdr;
		uint64_t rst;

		ask(ZV_STREAM, 9, &g, &h);
		rst = stats(P.h).rst_sent;
		hdr = hdr_like(g, op, op == VSOCK_OP_RW ? 4 : 0);
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, "data"), 0);
		pump();
		assert_true(seen_host.events & ZV_EV_ERR);
		assert_int_equal(seen_host.err, -ECONNRESET);
		assert_int_equal(stats(P.h).rst_sent - rst, op != VSOCK_OP_RST);
		assert_int_equal(zv_conn_answer(h, 0), -ECONNRESET);
		zv_conn_close(h);
		zv_conn_close(g);
		pump();
	}
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
}

static void test_the_guest_or_the_session_may_end_it_first(void **state)
{
	struct zv_conn *g, *h, *waiting;

	(void)state;
	ask(ZV_STREAM, 9, &g, &h);
	zv_conn_close(g);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	zv_conn_close(h);
	ask(ZV_STREAM, 9, &g, &h);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 9, ZV_STREAM, &waiting), 0);
	pump();
	assert_int_equal(seen_host.accepts > 0, 1);
	fake_new_session(true);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_int_equal(seen_host.accepts, 0); /* that one has gone without a trace */
	assert_int_equal(zv_conn_answer(h, 0), -ECONNRESET);
	zv_conn_close(h);
	zv_conn_close(g);
	zv_conn_close(waiting);
	ask(ZV_STREAM, 9, &g, &h); /* the listener stays */
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_no_answer_is_a_timeout(void **state)
{
	struct zv_opts o = {
		.size = sizeof(o), .connect_timeout_ns = 1000000, .flags = ZV_OPT_NO_HELLO};
	struct vsock_hdr hdr = {.src_cid = FAKE_CID,
				.dst_cid = ZV_CID_HOST,
				.dst_port = 1,
				.type = ZV_STREAM,
				.op = VSOCK_OP_REQUEST};
	struct zv_queue_stats s;
	struct zv_dev *dev;
	struct zv_event ev;
	struct zv_queue *q;
	struct zv_conn *c;

	(void)state;
	assert_int_equal(zv_open(&dev, "fakehost:", &o), 0);
	fake_drain(ZV_ROLE_GUEST, 0); /* what the last test has left */
	q = zv_queue(dev, 0);
	assert_int_equal(zv_listen_all(dev, 0, 0), 0);
	for (hdr.src_port = 1; hdr.src_port <= 2; hdr.src_port++)
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
	while (zv_accept(q, ZV_PORT_ANY, &c) != 0)
		assert_true(zv_poll(q, &ev, 1) >= 0);
	do { /* the other one is reported until it has timed out in the accept queue */
		assert_int_equal(zv_wait(q, &ev, 1, 5000000000u), 1);
	} while (ev.events == ZV_EV_ACCEPT);
	assert_ptr_equal(ev.conn, c);
	assert_int_equal(ev.events, ZV_EV_ERR);
	assert_int_equal(ev.err, -ETIMEDOUT);
	assert_int_equal(zv_conn_answer(c, 0), -ETIMEDOUT);
	zv_conn_close(c);
	zv_queue_stats(q, &s, sizeof(s));
	while (s.conns_timedout < 2) {
		assert_true(zv_wait(q, &ev, 1, 1000000) >= 0);
		zv_queue_stats(q, &s, sizeof(s));
	}
	assert_int_equal(s.rst_sent, 2);
	assert_int_equal(fake_pending(ZV_ROLE_GUEST, 0), 2); /* a RST each */
	assert_int_equal(zv_close(dev), 0);
}

static void test_reset_is_an_abortive_close(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b;
	char got[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "unread", 6, 0), 6);
	assert_int_equal(zv_send(h, "more", 4, ZV_MORE), 4);
	pump();
	assert_int_equal(zv_send(h, "open", 4, ZV_MORE), 4);
	assert_int_equal(zv_conn_reset(h), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_ERR);
	assert_int_equal(seen_guest.err, -ECONNRESET);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	zv_conn_close(g);

	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_buf_alloc(h, &b, 1, 16), 1);
	assert_int_equal(zv_conn_reset(h), -EBUSY);
	zv_buf_cancel(h, &b, 1);
	assert_int_equal(zv_conn_reset(g), 0); /* either side, and one that is dead already */
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_int_equal(zv_conn_reset(h), 0);
	assert_int_equal(zv_conn_reset(NULL), 0);
	/* one that finds no room is sent later, and its peer finds no fault with it */
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_send(g, "read", 4, 0), 4);
	pump();
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 4);
	assert_int_equal(zv_send(h, "x", 1, 0), 1);
	pump();
	fake_limit_tx(ZV_ROLE_HOST, 0, 0);
	assert_int_equal(zv_conn_reset(h), 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	assert_int_equal(stats(P.g).rx_bad_credit, 0);
	zv_conn_close(g);
	/* while it is being made */
	ask(ZV_STREAM, 9, &g, &h);
	assert_int_equal(zv_conn_reset(h), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	zv_conn_close(g);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_any_port_waits_for_the_answer),
		T(test_ports_with_a_listener_of_their_own_keep_it),
		T(test_answer_of_refusal),
		T(test_requests_beyond_the_backlog_are_refused),
		T(test_a_taken_request_outlives_its_listener),
		T(test_nothing_may_come_before_the_answer),
		T(test_the_guest_or_the_session_may_end_it_first),
		cmocka_unit_test(test_no_answer_is_a_timeout),
		T(test_reset_is_an_abortive_close),
	};

	return cmocka_run_group_tests_name("listen_all", tests, NULL, NULL);
}
