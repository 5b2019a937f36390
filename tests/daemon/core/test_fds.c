/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's descriptors: host programs of two guests take all that they may, and the third
 * guest's VMM attaches and works all the same.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NOFILE 400u
#define PORT   5000u
#define ECHO   7u

static struct zv_dev *G[2];
static struct zf_conn *conns[NOFILE];
static int fds[NOFILE];
static const char *program;

/* A client of guest @i's hybrid socket that is joined with the guest; -1: it was turned away. */
static int client(unsigned i, struct zf_conn **c)
{
	static const char line[] = "CONNECT 5000\n";
	const ssize_t len = sizeof(line) - 1;
	int fd = hs_connect(i ? "v" : "u", NULL);
	char b;

	assert_true(fd >= 0);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len || hs_recv(fd, &b, 1) != 1) {
		close(fd);
		return -1;
	}
	*c = zf_accept(G[i], PORT);
	assert_non_null(*c);
	return fd;
}

static void vmms_attach_when_connections_hold_all_descriptors(void **state)
{
	unsigned n = 0, turned_away = 0;
	struct zf_conn *c;
	struct zv_dev *third;
	char b = 'x';
	int err = 0;

	(void)state;
	for (unsigned i = 0; turned_away < 2; i = !i) {
		assert_true(n < NOFILE);
		fds[n] = client(i, &conns[n]);
		if (fds[n] >= 0)
			n++;
		else
			turned_away++;
	}
	printf("%u connections of %u descriptors\n", n, NOFILE);
	assert_true(n >= NOFILE / 4);
	assert_true(hs_counter("g", "fd_limit") + hs_counter("h", "fd_limit") >= 2);
	assert_true(zf_logged("guest=[gh] cid=1[12] msg=\"the connections of all guests hold "
			      "[0-9]+ descriptors"));
	third = zf_guest(2, "i", 1);
	assert_non_null(third);
	c = zf_connect(third, 0, ZV_CID_HOST, ECHO, ZV_STREAM, &err);
	assert_non_null(c);
	assert_true(zf_send(c, &b, 1, 0));
	b = 0;
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_int_equal(b, 'x');
	zf_close(c);
	/* A VMM that comes again takes no more than it had. */
	assert_true(zf_guest_close(2));
	assert_non_null(zf_guest(2, "i", 1));
	while (n--) {
		zf_close(conns[n]);
		close(fds[n]);
	}
}

static int group_start(void **state)
{
	(void)state;
	zf_nofile = NOFILE;
	zf_keep_log = true;
	if (!zf_start(program,
		      "[guest g]\ncid = 11\nsocket = @g\nunix = @u\n"
		      "[guest h]\ncid = 12\nsocket = @h\nunix = @v\n"
		      "[guest i]\ncid = 13\nsocket = @i\nbuiltin = echo:7\n",
		      1))
		return -1;
	G[0] = zf_guest(0, "g", 1);
	G[1] = zf_guest(1, "h", 1);
	return G[0] && G[1] && zv_listen(G[0], PORT, ZV_STREAM, 0) == 0 &&
			       zv_listen(G[1], PORT, ZV_STREAM, 0) == 0
		       ? 0
		       : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmms_attach_when_connections_hold_all_descriptors),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
