/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `vsock:` transport through the public API: streams, ports, sleeping. Messages are in
 * test_ksock_msg.c; tests/vm has the same over AF_VSOCK.
 */
#include "ksock_fix.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#define SLOW 24u /* readers, more than there are buffers */

/* All of @len bytes of @want from @from to @to, in calls of @piece; @to is read once nothing more
 * goes. */
static void carry(struct zv_conn *from, struct zv_conn *to, size_t len, size_t piece)
{
	size_t out = 0, in = 0;
	ssize_t n;

	memset(got, 0, len);
	while (in < len) {
		do {
			size_t most = len - out < piece ? len - out : piece;

			n = out < len ? zv_send(from, want + out, most, 0) : -EAGAIN;
			out += n > 0 ? (size_t)n : 0;
		} while (n > 0);
		assert_int_equal(n, -EAGAIN);
		PUMP(has(to, ZV_EV_IN) || has(from, ZV_EV_OUT));
		while ((n = zv_recv(to, got + in, len - in, NULL)) > 0)
			in += (size_t)n;
		assert_true(n == -EAGAIN || in == len);
	}
	assert_memory_equal(got, want, len);
}

static bool readable(struct zv_queue *q)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* ---- streams ---- */

static void bytes_go_both_ways(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	join(ZV_STREAM, &c, &s);
	carry(c, s, BIG, BIG);
	carry(s, c, BIG, 4096);
	carry(c, s, 20000, 64);
	close_both(c, s);
}

static void buffers_are_given_back_in_any_order(void **state)
{
	struct zv_buf b[8], r[8];
	struct zv_conn *c, *s;
	int n = 0, k;

	(void)state;
	join(ZV_STREAM, &c, &s);
	for (unsigned round = 0; round < 100; round++) {
		assert_int_equal(zv_buf_alloc(c, b, 4, 1000), 4);
		for (unsigned i = 0; i < 4; i++) {
			memset(b[i].data, (int)(round + i), 1000);
			b[i].len = 1000;
		}
		zv_buf_cancel(c, &b[3], 1);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(zv_buf_send(c, &b[i], 1), 1);
			PUMP((k = zv_buf_recv(s, &r[n], 1)) > 0);
			assert_int_equal(r[n].len, 1000);
			assert_int_equal(((uint8_t *)r[n].data)[999], (uint8_t)(round + i));
			n++;
		}
		zv_buf_release(sq, &r[n - 1], 1);
		zv_buf_release(sq, r, (unsigned)n - 1);
		n = 0;
	}
	close_both(c, s);
}

static void a_half_closed_stream_goes_on_the_other_way(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	join(ZV_STREAM, &c, &s);
	assert_int_equal(zv_send(c, "last", 4, 0), 4);
	assert_int_equal(zv_shutdown(c, 1), 0);
	PUMP(zv_recv(s, got, 100, NULL) == 4);
	PUMP(zv_recv(s, got, 100, NULL) == 0);
	assert_string_equal(state_of(s), "connected");
	carry(s, c, 100000, 1000);
	assert_int_equal(zv_conn_close(s), 0);
	PUMP(zv_recv(c, got, 100, NULL) == 0);
	PUMP(has(c, ZV_EV_HUP));
	assert_int_equal(zv_conn_close(c), 0);
}

static void a_peer_that_stops_receiving_is_noticed(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	join(ZV_STREAM, &c, &s);
	assert_int_equal(zv_shutdown(s, 0), 0);
	PUMP(has(c, ZV_EV_EPIPE));
	assert_int_equal(zv_send(c, "x", 1, 0), -EPIPE);
	assert_int_equal(zv_send(s, "y", 1, 0), 1);
	PUMP(zv_recv(c, got, 1, NULL) == 1);
	close_both(c, s);
}

/* The peer has closed: what it sent is read, then the end; nothing is left in either layer. */
static void what_was_sent_before_a_close_arrives(void **state)
{
	struct zv_conn *c, *s;
	size_t in = 0;
	ssize_t n;

	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		join(ZV_STREAM, &c, &s);
		assert_int_equal(zv_send(c, want, 200000, 0), 200000);
		if (how)
			assert_int_equal(zv_conn_reset(c), 0); /* a close, here */
		else
			assert_int_equal(zv_conn_close(c), 0);
		for (in = 0; in < 200000 && !how; in += n > 0 ? (size_t)n : 0)
			PUMP((n = zv_recv(s, got + in, BIG - in, NULL)) != -EAGAIN);
		PUMP((n = zv_recv(s, got, BIG, NULL)) == 0 || n == -ECONNRESET);
		PUMP(has(s, ZV_EV_HUP) || has(s, ZV_EV_ERR));
		assert_int_equal(zv_conn_close(s), 0);
	}
}

/* ---- many ---- */

/* Readers that stand still keep none of the buffers that others need, nor lose a byte. */
static void slow_readers_cost_others_nothing(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .ring_size = 16, .tx_buf = 4096};
	struct zv_conn *c[SLOW + 1], *s[SLOW + 1];
	size_t sent[SLOW] = {0};

	(void)state;
	reopen(&o, NULL);
	for (unsigned i = 0; i <= SLOW; i++)
		join(ZV_STREAM, &c[i], &s[i]);
	/* What the kernel buffers for them, and their credit, are filled. */
	for (unsigned round = 0; round < 200; round++) {
		struct zv_event ev[8];

		for (unsigned i = 0; i < SLOW; i++) {
			ssize_t n = zv_send(c[i], want + sent[i], 4000, 0);

			sent[i] += n > 0 ? (size_t)n : 0;
		}
		(void)zv_poll(cq, ev, 8);
	}
	carry(c[SLOW], s[SLOW], BIG, 4096);
	carry(s[SLOW], c[SLOW], BIG, 4096);
	for (unsigned i = 0; i < SLOW; i++) {
		size_t in = 0;
		ssize_t n;

		assert_true(sent[i] > KSOCK_GRANT); /* 64 transmit buffers each */
		while (in < sent[i]) {
			PUMP((n = zv_recv(s[i], got + in, BIG - in, NULL)) != -EAGAIN);
			assert_true(n > 0);
			in += (size_t)n;
		}
		assert_memory_equal(got, want, sent[i]);
	}
	for (unsigned i = 0; i <= SLOW; i++)
		close_both(c[i], s[i]);
}

static void a_reader_without_credit_is_not_polled(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .buf_alloc = 4096};
	struct zv_conn *c, *s;
	struct zv_event ev[4];
	size_t in = 0;
	ssize_t n;

	(void)state;
	reopen(NULL, &o);
	join(ZV_STREAM, &c, &s);
	assert_int_equal(zv_send(c, want, 100000, 0), 100000);
	PUMP(has(s, ZV_EV_IN));
	zv_set_events(s, 0);
	while (zv_poll(cq, ev, 4) > 0 || zv_poll(sq, ev, 4) > 0)
		;
	PUMP(zv_arm(sq) == 0 &&
	     !readable(sq)); /* bytes wait in the kernel, and there is nothing to do */
	zv_set_events(s, ~0u);
	while (in < 100000) {
		PUMP((n = zv_recv(s, got + in, BIG - in, NULL)) != -EAGAIN);
		assert_in_range(n, 1, 4096);
		in += (size_t)n;
	}
	assert_memory_equal(got, want, in);
	close_both(c, s);
}

static void several_queues(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 4};
	unsigned count[4] = {0};
	struct zv_conn *c, *s;

	(void)state;
	reopen(&o, &o);
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 64; i++) {
		unsigned at = i % 4;

		sq = zv_queue(server, (i / 4) % 4); /* the only one that is polled */
		cq = zv_queue(client, at);
		assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c), 0);
		PUMP(zv_accept(sq, PORT, &s) == 0);
		assert_ptr_equal(zv_conn_queue(s), sq);
		count[(i / 4) % 4]++;
		carry(c, s, 1000, 1000);
		close_both(s, c);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(count[i], 16);
}

/* ---- ports ---- */

static void refusals(void **state)
{
	struct zv_event ev[2];
	struct zv_conn *c;

	(void)state;
	assert_int_equal(zv_connect_wait(cq, 2, 999, ZV_STREAM, 10 * SECOND, &c), -ECONNREFUSED);
	assert_int_equal(zv_connect(cq, 999, 1, ZV_STREAM, &c), -EHOSTUNREACH);
	assert_non_null(strstr(zv_error_text(), "cannot reach CID 999"));
	assert_int_equal(zv_connect(cq, UINT32_MAX, 1, ZV_STREAM, &c), -EHOSTUNREACH);
	assert_int_equal(zv_listen_all(server, 0, 0), -EOPNOTSUPP);
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen(client, PORT, ZV_STREAM, 0), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "port 1234 is taken on this machine"));
	assert_int_equal(zv_unlisten(server, PORT), 0);
	assert_int_equal(zv_listen(client, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_poll(cq, ev, 2), 0);
}

/* A local port that another process has is passed over. */
static void ports_of_others_are_passed_over(void **state)
{
	struct zv_conn_info i = {.size = sizeof(i)};
	struct zv_conn *c, *s;
	int fd[3];

	(void)state;
	join(ZV_STREAM, &c, &s);
	assert_int_equal(zv_conn_info(c, &i), 0);
	close_both(c, s);
	for (unsigned k = 0; k < 3; k++)
		fd[k] = ksock_unix_taken(i.local_port + 1 + k);
	join(ZV_STREAM, &c, &s);
	{
		uint32_t before = i.local_port;

		assert_int_equal(zv_conn_info(c, &i), 0);
		assert_int_equal(i.local_port, before + 4);
	}
	carry(c, s, 100, 100);
	close_both(c, s);
	for (unsigned k = 0; k < 3; k++)
		close(fd[k]);
}

/* Connections for which there is no descriptor are refused, and keep nobody awake. */
static void no_descriptors_left(void **state)
{
	struct rlimit before, low;
	struct zv_conn *c, *s;
	int probe = dup(0);

	(void)state;
	join(ZV_STREAM, &c, &s);
	close_both(c, s);
	PUMP(zv_arm(sq) == 0);
	assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = (struct rlimit){(rlim_t)probe, before.rlim_max};
	close(probe);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	PUMP(logged[0]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_non_null(strstr(logged, "port 1234 is refused"));
	PUMP(has(c, ZV_EV_ERR | ZV_EV_HUP));
	assert_int_equal(zv_accept(sq, PORT, &s), -EAGAIN);
	assert_int_equal(zv_conn_close(c), 0);
	join(ZV_STREAM, &c, &s);
	carry(c, s, 1000, 1000);
	close_both(c, s);
}

/* ---- sleeping ---- */

static void an_armed_queue_hears(void **state)
{
	struct zv_conn *c, *s;
	struct zv_event ev[4];

	(void)state;
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	PUMP(zv_arm(sq) == 0 && !readable(sq));
	assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c), 0);
	assert_true(readable(sq));
	assert_int_equal(zv_wait(sq, ev, 4, 30 * SECOND), 1);
	assert_int_equal(ev[0].events, ZV_EV_ACCEPT);
	assert_int_equal(zv_accept(sq, PORT, &s), 0);
	assert_int_equal(zv_wait(cq, ev, 4, 30 * SECOND), 1);
	assert_int_equal(ev[0].events, ZV_EV_CONNECT);
	for (unsigned i = 0; i < 100; i++) {
		PUMP(zv_arm(sq) == 0 && !readable(sq));
		assert_int_equal(zv_send(c, want, 10, 0), 10);
		assert_true(readable(sq));
		assert_int_equal(zv_wait(sq, ev, 4, 30 * SECOND), 1);
		assert_int_equal(zv_recv(s, got, 100, NULL), 10);
	}
	PUMP(zv_arm(cq) == 0 && !readable(cq));
	assert_int_equal(zv_conn_close(s), 0);
	assert_true(readable(cq));
	assert_true(zv_wait(cq, ev, 4, 30 * SECOND) > 0);
	assert_int_equal(zv_conn_close(c), 0);
}

static void what_is_said_of_it(void **state)
{
	struct zv_dev_info i = {.size = sizeof(i)};
	struct zv_dev *dev;

	(void)state;
	assert_int_equal(zv_dev_info(client, &i), 0);
	assert_string_equal(i.transport, "vsock");
	assert_int_equal(i.cid, KSOCK_UNIX_CID);
	assert_int_equal(i.queues_up, 1);
	assert_int_equal(zv_open(&dev, "vsock:3", NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "nothing may follow vsock: but region="));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways),
		TEST(buffers_are_given_back_in_any_order),
		TEST(a_half_closed_stream_goes_on_the_other_way),
		TEST(a_peer_that_stops_receiving_is_noticed),
		TEST(what_was_sent_before_a_close_arrives),
		TEST(slow_readers_cost_others_nothing),
		TEST(a_reader_without_credit_is_not_polled),
		TEST(several_queues),
		TEST(refusals),
		TEST(ports_of_others_are_passed_over),
		TEST(no_descriptors_left),
		TEST(an_armed_queue_hears),
		TEST(what_is_said_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
