/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What moves payload without having been allowed to: nothing. On connections of which flow_may()
 * says 0 for ever (limited.h), not a byte gets through, whatever is at their other end, in both
 * directions, while other connections of the same queue are served.
 */
#include "host_side.h"
#include "limited.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_B	  12u
#define ECHO_FREE 7u
#define CREDIT	  262144u /* buf_alloc of the daemon's end */

#define ECHO	    BLOCKED_FIRST
#define DISCARD	    (BLOCKED_FIRST + 1)
#define SOURCE	    (BLOCKED_FIRST + 2)
#define TCP	    (BLOCKED_FIRST + 3)
#define UNIX_STREAM (BLOCKED_FIRST + 4)
#define UNIX_SEQ    (BLOCKED_FIRST + 5)
#define SIBLING	    (BLOCKED_FIRST + 6)
#define FROM_HOST   (BLOCKED_FIRST + 7)

static const char *program;
static struct zv_dev *A, *B;
static int tcp_listener, unix_listener, seq_listener;

/* Another connection of the guest carries some bytes there and back. */
static void others_are_served(void)
{
	struct zf_conn *c = zf_connect(A, 0, ZV_CID_HOST, ECHO_FREE, ZV_STREAM, NULL);
	char b[4];

	assert_non_null(c);
	for (unsigned i = 0; i < 20; i++) {
		assert_true(zf_send(c, "ping", 4, 0));
		assert_int_equal(zf_recv(c, b, 4, NULL), 4);
	}
	zf_close(c);
}

static void nothing_comes(struct zf_conn *c)
{
	char b[16];

	assert_int_equal(zv_recv(c->c, b, sizeof(b), NULL), -EAGAIN);
	assert_int_equal(c->err, 0);
}

static struct zf_conn *connected(uint64_t cid, uint32_t port, enum zv_type type)
{
	struct zf_conn *c = zf_connect(A, 0, cid, port, type, NULL);

	assert_non_null(c);
	return c;
}

static void services(void **state)
{
	struct zf_conn *c[3];
	static char block[65536];
	uint32_t sent = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		c[i] = connected(ZV_CID_HOST, ECHO + i, ZV_STREAM);
	assert_true(zf_send(c[0], "x", 1, 0));
	/* What discard takes gives credit back: so it takes nothing. */
	for (unsigned i = 0; i < 20; i++) {
		ssize_t n = zv_send(c[1]->c, block, sizeof(block), 0);

		sent += n > 0 ? (uint32_t)n : 0;
		others_are_served();
	}
	assert_in_range(sent, 1, CREDIT);
	for (unsigned i = 0; i < 3; i++) {
		nothing_comes(c[i]);
		zf_close(c[i]);
	}
}

/* Neither gets what the other has sent. */
static void socket_and_guest(int fd, struct zf_conn *c)
{
	char b[16];

	assert_true(fd >= 0);
	assert_true(zf_send(c, "x", 1, 0));
	assert_int_equal(send(fd, "y", 1, MSG_NOSIGNAL), 1);
	others_are_served();
	assert_int_equal(recv(fd, b, sizeof(b), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	nothing_comes(c);
	close(fd);
	zf_close(c);
}

static void sockets(void **state)
{
	struct zf_conn *c;

	(void)state;
	c = connected(ZV_CID_HOST, TCP, ZV_STREAM);
	socket_and_guest(hs_accept(tcp_listener), c);
	c = connected(ZV_CID_HOST, UNIX_STREAM, ZV_STREAM);
	socket_and_guest(hs_accept(unix_listener), c);
	c = connected(ZV_CID_HOST, UNIX_SEQ, ZV_SEQPACKET);
	socket_and_guest(hs_accept(seq_listener), c);
}

static void what_comes_with_connect(void **state)
{
	char line[32];
	struct zf_conn *c;
	int fd;

	(void)state;
	(void)snprintf(line, sizeof(line), "CONNECT %u\nearly", FROM_HOST);
	fd = hs_connect("u", line);
	assert_true(fd >= 0);
	c = zf_accept(A, FROM_HOST);
	assert_non_null(c);
	assert_true(hs_expect_ok(fd));
	socket_and_guest(fd, c);
}

static void siblings(void **state)
{
	struct zf_conn *a = connected(CID_B, SIBLING, ZV_STREAM), *b = zf_accept(B, SIBLING);

	(void)state;
	assert_non_null(b);
	assert_true(zf_send(a, "x", 1, 0));
	assert_true(zf_send(b, "y", 1, 0));
	others_are_served();
	nothing_comes(a);
	nothing_comes(b);
	zf_close(a);
	zf_close(b);
}

static int group_start(void **state)
{
	uint16_t port;
	char conf[512], name[16];

	(void)state;
	tcp_listener = hs_listen_tcp(&port);
	if (tcp_listener < 0)
		return -1;
	(void)snprintf(conf, sizeof(conf),
		       "[guest a]\ncid = 11\nsocket = @a\nunix = @u\ngroups = one\n"
		       "builtin = echo:%u, echo:%u, discard:%u, source:%u\n"
		       "tcp = %u=127.0.0.1:%u\n"
		       "[guest b]\ncid = 12\nsocket = @b\ngroups = one\n",
		       ECHO_FREE, ECHO, DISCARD, SOURCE, TCP, port);
	if (!zf_start(program, conf, 1))
		return -1;
	A = zf_guest(0, "a", 1);
	B = zf_guest(1, "b", 1);
	(void)snprintf(name, sizeof(name), "u_%u", UNIX_STREAM);
	unix_listener = hs_listen(name, SOCK_STREAM);
	(void)snprintf(name, sizeof(name), "u_%u", UNIX_SEQ);
	seq_listener = hs_listen(name, SOCK_SEQPACKET);
	return A && B && unix_listener >= 0 && seq_listener >= 0 &&
			       zv_listen(A, FROM_HOST, ZV_STREAM, 0) == 0 &&
			       zv_listen(B, SIBLING, ZV_STREAM, 0) == 0
		       ? 0
		       : -1;
}

static int group_end(void **state)
{
	(void)state;
	close(tcp_listener);
	close(unix_listener);
	close(seq_listener);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services),
		cmocka_unit_test(sockets),
		cmocka_unit_test(what_comes_with_connect),
		cmocka_unit_test(siblings),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD_LIMITED\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests_name("limited", tests, group_start, group_end);
}
