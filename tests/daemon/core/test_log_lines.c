/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the log says about a guest: every line of its frontend and queues, refusals of host
 * programs, and at debug each connection, with guest= and cid=.
 */
#include "host_side.h"
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

#define PORT 5000u
#define G    "level=info guest=g cid=11 msg=\""
#define D    "level=debug guest=g cid=11 msg=\""

static struct zv_dev *dev;
static const char *program;

static void frontends_and_queues_have_their_guest(void **state)
{
	(void)state;
	assert_true(zf_logged(G "[^\"]*/g: frontend connected"));
	assert_true(zf_logged(G "[^\"]*/g: queue 0 is up"));
	/* A socket's path may begin as another's does. */
	assert_non_null(zf_guest(1, "gg", 1));
	assert_true(zf_logged("guest=h cid=12 msg=\"[^\"]*/gg: frontend connected"));
	assert_true(zf_guest_close(1));
	assert_true(zf_logged("guest=h cid=12 msg=\"[^\"]*/gg: frontend gone"));
	assert_int_equal(zf_log_lines("level=[a-z]* msg=\"[^\"]*(frontend|queue [0-9])"), 0);
}

static void a_refused_host_program_is_told_about(void **state)
{
	char b;

	(void)state;
	/* Not each is told at level info, as a script that waits for a guest's program asks all the
	 * time; but one that comes a second after the last one is. */
	for (unsigned i = 0; i < 30 || !zf_log_lines(D "CONNECT 4999: refused"); i++) {
		int fd = hs_connect("u", "CONNECT 4999\n");

		assert_true(fd >= 0);
		assert_int_equal(hs_recv(fd, &b, 1), 0);
		close(fd);
	}
	assert_true(zf_logged(G "CONNECT 4999: refused: nobody listens there"));
}

static void another_socket_type_is_no_warning(void **state)
{
	int listener = hs_listen("u_6100", SOCK_STREAM), err = 0;

	(void)state;
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 6100, ZV_SEQPACKET, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_true(zf_logged(D "[^\"]*u_6100: the program there has a socket of another type"));
	close(listener);
}

static void a_host_programs_connection_is_told(void **state)
{
	struct zf_conn *c;
	int fd = hs_connect("u", "CONNECT 5000\n");
	char b[4];

	(void)state;
	assert_true(fd >= 0);
	c = zf_accept(dev, PORT);
	assert_non_null(c);
	assert_true(hs_expect_ok(fd));
	assert_int_equal(send(fd, "abc", 3, MSG_NOSIGNAL), 3);
	assert_int_equal(zf_recv(c, b, 3, NULL), 3);
	assert_true(zf_send(c, "abcd", 4, 0));
	assert_int_equal(hs_recv(fd, b, 4), 4);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(zf_recv(c, b, 1, NULL), 0);
	zf_close(c);
	assert_int_equal(hs_recv(fd, b, 1), 0);
	close(fd);
#define LINE "peer port 5000, local port [0-9]+, unix:[^\"]*/u, queue 0: "
	assert_true(zf_logged(D LINE "opened; 0 bytes from the peer, 0 to it"));
	assert_true(zf_logged(D LINE "half-closed by the program; 4 bytes from the peer, "
				     "3 to it"));
	assert_true(zf_logged(D LINE "ended: the peer has closed; 4 bytes from the peer, 3 to "
				     "it"));
#undef LINE
}

static void a_guests_connection_is_told(void **state)
{
	int listener = hs_listen("u_6000", SOCK_STREAM), fd, err = 0;
	struct zf_conn *c = zf_connect(dev, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err);

	(void)state;
	assert_non_null(c);
	fd = hs_accept(listener);
	assert_true(fd >= 0);
	(void)zv_conn_reset(c->c);
	free(c);
	assert_true(zf_logged(D "peer port [0-9]+, local port 6000, unix:[^\"]*/u_6000, queue 0: "
				"opened"));
	assert_true(zf_logged(D "peer port [0-9]+, local port 6000, unix:[^\"]*/u_6000, queue 0: "
				"ended: reset by the peer"));
	close(fd);
	close(listener);
}

static void a_builtins_connection_is_told(void **state)
{
	struct zf_conn *c = zf_connect(dev, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);

	(void)state;
	assert_non_null(c);
	zf_close(c);
	assert_true(zf_logged(D "peer port [0-9]+, local port 7, echo, queue 0: opened"));
	assert_true(zf_logged(D "peer port [0-9]+, local port 7, echo, queue 0: ended: "));
}

static void nothing_of_a_guest_is_a_warning(void **state)
{
	(void)state;
	assert_int_equal(zf_log_lines("level=(warn|err)"), 0);
}

/* A vhost-user message with a payload of 8 bytes, or none; its answer has 8 as well. */
static bool ask(int fd, uint32_t request, uint32_t flags, const uint64_t *payload)
{
	uint32_t m[5] = {request, 1 | flags, payload ? 8 : 0};

	if (payload)
		memcpy(&m[3], payload, 8);
	return send(fd, m, 12 + m[2], MSG_NOSIGNAL) == 12 + m[2] && hs_recv(fd, m, 20) == 20;
}

/*
 * What DPDK says about a frontend counts as that guest's: else one that is refused again and again
 * would fill the log, and push out of it what zvsockd itself has to say.
 */
static void lines_of_dpdk_are_the_guests(void **state)
{
	enum { GET_FEATURES = 1, SET_FEATURES = 2, GET_PROTOCOL = 15, NEED_REPLY = 8 };
	const uint64_t none_has = 1ull << 60;
	int fd = hs_connect("gg", NULL);

	(void)state;
	assert_true(fd >= 0 && ask(fd, GET_FEATURES, 0, NULL) && ask(fd, GET_PROTOCOL, 0, NULL));
	for (unsigned i = 0; i < 500; i++)
		assert_true(ask(fd, SET_FEATURES, NEED_REPLY, &none_has));
	close(fd);
	assert_true(zf_logged("level=err guest=h cid=12 msg=\"[^\"]*/gg: dpdk: "));
	assert_int_equal(zf_log_lines("level=[a-z]* msg=\"[^\"]*dpdk: "), 0);
	assert_int_equal(zf_log_lines("level=[a-z]* msg=\"[0-9]+ more lines"), 0);
}

static int group_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program,
		      "log_level = debug\n"
		      "[guest g]\ncid = 11\nsocket = @g\nunix = @u\nbuiltin = echo:7\n"
		      "[guest h]\ncid = 12\nsocket = @gg\n",
		      1))
		return -1;
	dev = zf_guest(0, "g", 1);
	return dev && zv_listen(dev, PORT, ZV_STREAM, 0) == 0 ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frontends_and_queues_have_their_guest),
		cmocka_unit_test(a_refused_host_program_is_told_about),
		cmocka_unit_test(another_socket_type_is_no_warning),
		cmocka_unit_test(a_host_programs_connection_is_told),
		cmocka_unit_test(a_guests_connection_is_told),
		cmocka_unit_test(a_builtins_connection_is_told),
		cmocka_unit_test(nothing_of_a_guest_is_a_warning),
		cmocka_unit_test(lines_of_dpdk_are_the_guests),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
