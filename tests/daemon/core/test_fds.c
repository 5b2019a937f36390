/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's descriptors: host programs of three guests take all that they may, none more than
 * it leaves for others, and the fourth guest's VMM attaches and works all the same.
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

#define NOFILE 500u
#define FULL   3u /* guests whose host programs take all that they may */
#define PORT   5000u
#define ECHO   7u

static const char *const names[FULL] = {"g", "h", "j"};
static struct zv_dev *G[FULL];
static unsigned n;
static struct zf_conn *conns[NOFILE];
static int fds[NOFILE];
static const char *program;

/* A client of guest @i's hybrid socket that is joined with the guest; -1: it was turned away. */
static int client(unsigned i, struct zf_conn **c)
{
	static const char line[] = "CONNECT 5000\n";
	const ssize_t len = sizeof(line) - 1;
	char path[8], b;
	int fd;

	(void)snprintf(path, sizeof(path), "u%u", i);
	fd = hs_connect(path, NULL);
	assert_true(fd >= 0);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len || hs_recv(fd, &b, 1) != 1) {
		close(fd);
		return -1;
	}
	*c = zf_accept(G[i], PORT);
	assert_non_null(*c);
	return fd;
}

/* Takes as many for guest @i as there are. */
static unsigned fill(unsigned i)
{
	unsigned before = n;

	while ((fds[n] = client(i, &conns[n])) >= 0)
		assert_true(++n < NOFILE);
	assert_true(hs_counter(names[i], "fd_limit") >= 1);
	return n - before;
}

static void a_guest_leaves_descriptors_for_others(void **state)
{
	unsigned before = fill(0), got;

	(void)state;
	assert_true(
		zf_logged("guest=g cid=11 msg=\"its connections hold [0-9]+ descriptors, as many "
			  "as they leave for those of others"));
	for (unsigned i = 1; i < FULL; i++) {
		got = fill(i);
		printf("%u connections of guest %s, %u of the one before\n", got, names[i], before);
		assert_in_range(got, before / 2 - 1, before / 2 + 1);
		before = got;
	}
}

static void vmms_attach_when_connections_hold_all_descriptors(void **state)
{
	struct zf_conn *c;
	struct zv_dev *last;
	char b = 'x';
	int err = 0;

	(void)state;
	printf("%u connections of %u descriptors\n", n, NOFILE);
	assert_true(n >= NOFILE / 4 * 7 / 8 - FULL);
	last = zf_guest(FULL, "i", 1);
	assert_non_null(last);
	c = zf_connect(last, 0, ZV_CID_HOST, ECHO, ZV_STREAM, &err);
	assert_non_null(c);
	assert_true(zf_send(c, &b, 1, 0));
	b = 0;
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_int_equal(b, 'x');
	zf_close(c);
	/* A VMM that comes again takes no more than it had. */
	assert_true(zf_guest_close(FULL));
	assert_non_null(zf_guest(FULL, "i", 1));
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
		      "[guest g]\ncid = 11\nsocket = @g\nunix = @u0\n"
		      "[guest h]\ncid = 12\nsocket = @h\nunix = @u1\n"
		      "[guest j]\ncid = 14\nsocket = @j\nunix = @u2\n"
		      "[guest i]\ncid = 13\nsocket = @i\nbuiltin = echo:7\n",
		      1))
		return -1;
	for (unsigned i = 0; i < FULL; i++) {
		G[i] = zf_guest(i, names[i], 1);
		if (!G[i] || zv_listen(G[i], PORT, ZV_STREAM, 0) != 0)
			return -1;
	}
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_leaves_descriptors_for_others),
		cmocka_unit_test(vmms_attach_when_connections_hold_all_descriptors),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
