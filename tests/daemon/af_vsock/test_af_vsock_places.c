/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places that AF_VSOCK programs give back by closing their sockets: they can be had again at once,
 * also if zvsockd reads the next request before it has noticed. It is stopped meanwhile. And what
 * programs see when there are none.
 */
#include "dropin_side.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FEW_FDS	  1024u /* that zvsockd may have */
#define FEWER_FDS 300u	/* likewise; fewer than this process may have */
#define MOST	  1000u /* more than it may have requests then */
#define PORT	  80u

static const char *program;
static struct zv_dev *dev;

static const char conf[] = "af_vsock = @\n"
			   "max_fds = 1\n"
			   "[guest a]\n"
			   "cid = 3\n"
			   "socket = @a.sock\n";

static const char conf_of_many[] = "af_vsock = @\n"
				   "[guest a]\n"
				   "cid = 3\n"
				   "queues = 2\n"
				   "socket = @a.sock\n";

static int up_with(unsigned fds, const char *text, unsigned lcores)
{
	zf_keep_log = true;
	zf_nofile = fds;
	if (!zf_start(program, text, lcores))
		return -1;
	dev = zf_guest(0, "a.sock", lcores);
	return dev && zv_listen(dev, PORT, ZV_STREAM, 16) == 0 && zf_logged("zvsockd .* is up")
		       ? 0
		       : -1;
}

static int up(void **state)
{
	(void)state;
	return up_with(FEW_FDS, conf, 1);
}

static int up_with_fewer(void **state)
{
	(void)state;
	return up_with(FEWER_FDS, conf_of_many, 2);
}

static int down(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

/* A connection on which HELLO has been sent. */
static int hello(void)
{
	int ask = ds_ask();
	struct dropin_msg m;

	assert_true(ask >= 0);
	dropin_msg_init(&m, DROPIN_HELLO);
	ds_send(ask, &m);
	return ask;
}

static int answer(int ask)
{
	struct dropin_msg m;

	assert_true(ds_answer(ask, &m));
	return m.result;
}

/* As many as this user may have: their number. */
static unsigned take_all(int ask[static MOST])
{
	for (unsigned n = 0; n < MOST; n++) {
		int ret;

		ask[n] = hello();
		ret = answer(ask[n]);
		if (ret) {
			assert_int_equal(ret, -EUSERS);
			close(ask[n]);
			return n;
		}
	}
	fail_msg("there is no limit");
	return 0;
}

static void all_requests_again(void **state)
{
	static int ask[MOST];
	unsigned n = take_all(ask);

	(void)state;
	assert_true(n > 16);
	zf_asleep();
	for (unsigned i = 0; i < n; i++)
		close(ask[i]);
	for (unsigned i = 0; i < n; i++)
		ask[i] = hello();
	zf_awake();
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(answer(ask[i]), 0);
	/* That was all, still. */
	assert_int_equal(answer(ask[n] = hello()), -EUSERS);
	for (unsigned i = 0; i <= n; i++)
		close(ask[i]);
}

/* Whichever it is, and however often. */
static void one_request_again(void **state)
{
	static int ask[MOST];
	unsigned n = take_all(ask);

	(void)state;
	for (unsigned i = 0; i < n; i += n / 5) {
		zf_asleep();
		close(ask[i]);
		ask[i] = hello();
		zf_awake();
		assert_int_equal(answer(ask[i]), 0);
	}
	for (unsigned i = 0; i < n; i++)
		close(ask[i]);
}

/* The guest may have one connection, and the one that is being made is withdrawn. The guest is this
 * process, which does not answer. */
static void a_withdrawn_connection_again(void **state)
{
	int ask = ds_ask(), other = ds_ask();
	struct dropin_msg m, first;

	(void)state;
	ds_connect_msg(&m, SOCK_STREAM, 3, PORT);
	ds_send(ask, &m);
	dropin_msg_init(&first, DROPIN_HELLO);
	assert_true(ds_question_alone(other, &first));
	zf_asleep();
	dropin_msg_init(&first, DROPIN_HELLO);
	ds_send(other, &first); /* so that zvsockd looks at this one first */
	close(ask);
	m.flags = DROPIN_NONBLOCK;
	ds_send(other, &m);
	zf_awake();
	assert_int_equal(recv(other, &first, sizeof(first), 0), sizeof(first));
	assert_int_equal(recv(other, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, 0);
	close(other);
}

/* As many connections as zvsockd may have, each of which carries a byte: their number. */
static unsigned connect_all(int ask)
{
	static int fd[FEWER_FDS + 1];
	static struct zf_conn *conn[FEWER_FDS];
	const unsigned before = zf_fds();
	unsigned n;

	for (n = 0; n < FEWER_FDS; n++) {
		char c = 0;

		fd[n] = ds_connect(ask, SOCK_STREAM, 3, PORT);
		if (fd[n] < 0)
			break;
		conn[n] = zf_accept(dev, PORT);
		assert_non_null(conn[n]);
		assert_int_equal(send(fd[n], "x", 1, MSG_NOSIGNAL), 1);
		assert_int_equal(zf_recv(conn[n], &c, 1, NULL), 1);
	}
	assert_in_range(n, 16, FEWER_FDS - 1);
	assert_int_equal(fd[n], -ENOBUFS);
	assert_int_equal(answer(fd[n] = hello()), -ENOBUFS); /* who asks is told, too */
	close(fd[n]);
	for (unsigned i = 0; i < n; i++) {
		close(fd[i]);
		zf_close(conn[i]);
	}
	assert_true(zf_fds_back(before));
	return n;
}

/* Whose socket comes before the guest refuses (@late: after it), and the program asks for the
 * error.
 */
static void is_refused(int ask, bool late)
{
	struct dropin_msg m, f;
	int fd;

	ds_connect_msg(&m, SOCK_STREAM, 3, PORT + 1); /* nobody listens there */
	m.flags = DROPIN_NONBLOCK;
	ds_send(ask, &m);
	assert_int_equal(recv(ask, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, 0);
	do {
		ds_about(&f, DROPIN_ERROR, m.label);
		assert_true(!late || ds_question(ask, &f));
	} while (late && f.error == EINPROGRESS);
	fd = ds_pending(SOCK_STREAM, m.label, &f);
	assert_true(fd >= 0 && ds_question(ask, &f));
	assert_true(ds_poll(fd, POLLOUT) & POLLHUP);
	close(fd);
}

/* All that zvsockd may have: who gets an answer has a connection. */
static void no_answered_connection_is_reset(void **state)
{
	int ask = ds_ask();
	unsigned n;

	(void)state;
	n = connect_all(ask);
	for (unsigned i = 0; i < 2 * n; i++)
		is_refused(ask, i % 2);
	assert_int_equal(connect_all(ask), n); /* nothing is lost of it */
	close(ask);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(all_requests_again),
		T(one_request_again),
		T(a_withdrawn_connection_again),
		cmocka_unit_test_setup_teardown(no_answered_connection_is_reset, up_with_fewer,
						down),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
