/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients of a hybrid socket that do not get to the end of their CONNECT line: zvsockd gives each
 * some seconds for the whole of it, whether it says nothing or a byte now and then. Who has said it
 * may be silent for as long as it likes.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 5000u
#define BYTE_S                                                                                     \
	2 /* between two bytes of the slow client: the line would take many times the limit */

static struct zv_dev *G;
static const char *program;
static const char line[] = "CONNECT 4294967294"; /* its end never comes */

/* ---- clients that go on too long ---- */

struct late {
	int silent, slow; /* -1: closed by zvsockd */
	size_t said;	  /* by the slow one */
	time_t next;
};

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Closes what zvsockd has closed. */
static int still_open(int fd)
{
	char b;

	if (fd < 0 || recv(fd, &b, 1, MSG_DONTWAIT) != 0)
		return fd;
	close(fd);
	return -1;
}

static bool both_closed(void *arg)
{
	struct late *l = arg;

	usleep(10000);
	l->silent = still_open(l->silent);
	l->slow = still_open(l->slow);
	if (l->slow >= 0 && now() >= l->next && l->said < strlen(line)) {
		(void)send(l->slow, line + l->said++, 1, MSG_NOSIGNAL);
		l->next = now() + BYTE_S;
	}
	return l->silent < 0 && l->slow < 0;
}

static void the_line_has_its_time(void **state)
{
	struct late l = {.next = now()};
	struct zf_conn *c;
	unsigned fds;
	char b = 0;
	int idle;

	(void)state;
	idle = hs_connect("u", "CONN");
	assert_true(idle >= 0);
	assert_int_equal(send(idle, "ECT 5000\n", 9, MSG_NOSIGNAL), 9);
	c = zf_accept(G, PORT);
	assert_non_null(c);
	assert_true(hs_expect_ok(idle));
	fds = zf_fds();
	l.silent = hs_connect("u", NULL);
	l.slow = hs_connect("u", NULL);
	assert_true(l.silent >= 0 && l.slow >= 0);
	assert_true(zf_until(both_closed, &l));
	assert_in_range(l.said, 1, strlen(line) - 1); /* a byte is no new beginning */
	assert_int_equal(hs_counter("g", "connect_line_timeout"), 2);
	assert_int_equal(hs_counter("g", "connect_line_closed"), 0);
	assert_int_equal(hs_counter("g", "bad_connect_line"), 0);
	assert_true(zf_fds_back(fds));
	assert_int_equal(send(idle, "x", 1, MSG_NOSIGNAL), 1); /* its time was over long ago */
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_int_equal(b, 'x');
	close(idle);
	zf_close(c);
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	(void)state;
	if (!zf_start(program, "[guest g]\ncid = 11\nsocket = @g\nunix = @u\n", 2))
		return -1;
	G = zf_guest(0, "g", 1);
	return G && zv_listen(G, PORT, ZV_STREAM, 0) == 0 ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_line_has_its_time),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
