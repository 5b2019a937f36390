/* SPDX-License-Identifier: BSD-3-Clause */
/* Every call that fails leaves a sentence of its own: which call, and what is wrong. */
#include "pair.h"

#include <signal.h>
#include <sys/time.h>

/* @expr fails with @err and says so in words with @a and @b, after another call has failed. */
#define FAILS(expr, err, a, b)                                                                     \
	do {                                                                                       \
		assert_int_equal(zv_fd(NULL), -EINVAL);                                            \
		assert_int_equal(expr, err);                                                       \
		if (!strstr(zv_error_text(), a) || !strstr(zv_error_text(), b))                    \
			fail_msg("%s: the text is '%s'", #expr, zv_error_text());                  \
	} while (0)

static struct zv_buf buf[2];
static char data[16];

static void data_calls(struct zv_conn *c, int err, const char *why)
{
	FAILS(zv_recv(c, data, 1, NULL), err, "zv_recv: ", why);
	FAILS(zv_buf_recv(c, buf, 1), err, "zv_buf_recv: ", why);
	FAILS(zv_send(c, "x", 1, 0), err, "zv_send: ", why);
	FAILS(zv_buf_alloc(c, buf, 1, 10), err, "zv_buf_alloc: ", why);
	FAILS(zv_buf_send(c, buf, 0), err, "zv_buf_send: ", why);
}

static void test_connections_that_are_not_there(void **state)
{
	struct zv_conn *g, *h, *c;

	(void)state;
	assert_int_equal(zv_connect(P.g, 0, 999, ZV_STREAM, &c), 0);
	data_calls(c, -ENOTCONN, "wait for ZV_EV_CONNECT");
	FAILS(zv_shutdown(c, 2), -ENOTCONN, "zv_shutdown", "connecting");
	pump();
	data_calls(c, -ECONNREFUSED, "port 999 of CID 2");
	FAILS(zv_shutdown(c, 2), -ENOTCONN, "zv_shutdown", "closed");
	FAILS(zv_conn_answer(c, 0), -ECONNREFUSED, "zv_conn_answer: ", "refused");
	zv_conn_close(c);

	connect_pair(ZV_STREAM, 1000, &g, &h);
	FAILS(zv_conn_answer(g, 0), -EINVAL, "zv_conn_answer: ", "nothing to answer");
	zv_conn_reset(h);
	pump();
	data_calls(g, -ECONNRESET, "port 1000 of CID 2");
	zv_conn_close(g);

	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	assert_int_equal(zv_connect(P.g, 0, 999, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0);
	data_calls(h, -ENOTCONN, "zv_conn_answer comes first");
	FAILS(zv_conn_answer(h, 1), -EINVAL, "zv_conn_answer: ", "0 or negative");
	assert_int_equal(zv_conn_answer(h, -EACCES), 0);
	data_calls(h, -EACCES, zv_strerror(-EACCES));
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_no_room_and_nothing_there(void **state)
{
	struct zv_conn *g, *h, *none;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	FAILS(zv_accept(P.h, 1000, &none), -EAGAIN, "zv_accept: ", "no connection waits");
	FAILS(zv_accept(P.h, ZV_PORT_ANY, &none), -EAGAIN, "zv_accept: ", "no connection waits");
	FAILS(zv_accept(P.h, 1001, &none), -ENOENT, "zv_accept: ", "port 1001");
	FAILS(zv_recv(g, data, 1, NULL), -EAGAIN, "zv_recv: ", "ZV_EV_IN");
	FAILS(zv_buf_recv(g, buf, 1), -EAGAIN, "zv_buf_recv: ", "ZV_EV_IN");
	fake_limit_tx(ZV_ROLE_GUEST, 0, 0);
	FAILS(zv_send(g, "x", 1, 0), -EAGAIN, "zv_send: ", "ZV_EV_OUT");
	FAILS(zv_buf_alloc(g, buf, 1, 1), -EAGAIN, "zv_buf_alloc: ", "ZV_EV_OUT");
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	pump();
	FAILS(zv_arm(P.g), -EAGAIN, "zv_arm: ", "zv_poll");
	assert_int_equal(zv_shutdown(g, 1), 0);
	FAILS(zv_send(g, "x", 1, 0), -EPIPE, "zv_send: ", "zv_shutdown");
	FAILS(zv_buf_alloc(g, buf, 1, 1), -EPIPE, "zv_buf_alloc: ", "zv_shutdown");
	FAILS(zv_buf_send(g, buf, 1), -EPIPE, "zv_buf_send: ", "zv_shutdown");
	assert_int_equal(zv_shutdown(g, 0), 0);
	pump();
	FAILS(zv_send(h, "x", 1, 0), -EPIPE, "zv_send: ", "the peer has ended receiving");
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_arguments_and_limits(void **state)
{
	static char big[70000];
	struct zv_conn *g, *h, *none;
	struct zv_opts o = {.size = 1};
	struct zv_dev *dev;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	FAILS(zv_send(g, big, sizeof(big), 0), -EMSGSIZE, "zv_send: ", "70000");
	FAILS(zv_send(NULL, big, 1, 0), -EINVAL, "zv_send: ", "NULL");
	FAILS(zv_recv(g, NULL, 1, NULL), -EINVAL, "zv_recv: ", "NULL");
	FAILS(zv_buf_recv(g, NULL, 1), -EINVAL, "zv_buf_recv: ", "bufs");
	FAILS(zv_buf_alloc(g, buf, 0, 1), -EINVAL, "zv_buf_alloc: ", "n");
	FAILS(zv_buf_send(g, NULL, 1), -EINVAL, "zv_buf_send: ", "bufs");
	FAILS(zv_buf_send(g, buf, 1), -EINVAL, "zv_buf_send: ", "not reserved");
	FAILS(zv_conn_answer(NULL, 0), -EINVAL, "zv_conn_answer: ", "conn");
	FAILS(zv_shutdown(g, 3), -EINVAL, "zv_shutdown: ", "3");
	FAILS(zv_conn_info(g, NULL), -EINVAL, "zv_conn_info: ", "info");
	FAILS(zv_dev_info(P.guest, NULL), -EINVAL, "zv_dev_info: ", "info");
	FAILS(zv_queue_stats(P.g, NULL, 0), -EINVAL, "zv_queue_stats: ", "stats");
	FAILS(zv_queue_conns(P.g, NULL, NULL, NULL), -EINVAL, "zv_queue_conns: ", "fn");
	FAILS(zv_set_tap(NULL, NULL, NULL), -EINVAL, "zv_set_tap: ", "queue");
	FAILS(zv_poll(P.g, NULL, 1), -EINVAL, "zv_poll: ", "events");
	FAILS(zv_wait(P.g, NULL, 1, 0), -EINVAL, "zv_wait: ", "events");
	FAILS(zv_accept(P.g, 1, NULL), -EINVAL, "zv_accept: ", "conn");
	FAILS(zv_listen(P.host, 0, ZV_STREAM, 0), -EINVAL, "zv_listen: ", "port");
	FAILS(zv_listen(P.host, 1000, ZV_STREAM, 0), -EADDRINUSE, "zv_listen: ", "1000");
	FAILS(zv_listen_all(P.guest, ZV_LISTEN_ANY_CID, 0), -EOPNOTSUPP,
	      "zv_listen_all: ", "guest");
	FAILS(zv_unlisten(P.host, 1), -ENOENT, "zv_unlisten: ", "port 1");
	FAILS(zv_connect(P.g, 2, ZV_PORT_ANY, ZV_STREAM, &none), -EINVAL, "zv_connect: ", "port");
	FAILS(zv_connect(P.h, 99, 1, ZV_STREAM, &none), -EHOSTUNREACH, "zv_connect: ", "CID 99");
	FAILS(zv_connect_from(P.g, 99, 1, 0, 1, ZV_STREAM, &none), -EOPNOTSUPP,
	      "zv_connect_from: ", "host");
	FAILS(zv_open(&dev, "fakeguest:", &o), -EINVAL, "zv_open: ", "size");
	FAILS(zv_open(&dev, "nothing:", NULL), -EPROTONOSUPPORT, "zv_open: ", "nothing:");
	assert_int_equal(zv_buf_alloc(g, buf, 1, 10), 1);
	FAILS(zv_conn_close(g), -EBUSY, "zv_conn_close: ", "1 transmit buffers");
	FAILS(zv_conn_reset(g), -EBUSY, "zv_conn_reset: ", "1 transmit buffers");
	FAILS(zv_close(P.guest), -EBUSY, "zv_close: ", "1 reserved");
	zv_buf_cancel(g, buf, 1);
	fake_new_session(false);
	FAILS(zv_connect(P.g, 2, 1, ZV_STREAM, &none), -ENETDOWN, "zv_connect: ", "is down");
	zv_conn_close(g);
	zv_conn_close(h);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void test_an_interrupted_wait(void **state)
{
	const struct itimerval t = {{0, 5000}, {0, 5000}}, off = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_signal};
	struct zv_event ev;

	(void)state;
	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &t, NULL), 0);
	FAILS(zv_wait(P.g, &ev, 1, UINT64_MAX), -EINTR, "zv_wait: ", "signal");
	assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_connections_that_are_not_there),
		T(test_no_room_and_nothing_there),
		T(test_arguments_and_limits),
		T(test_an_interrupted_wait),
	};

	return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
