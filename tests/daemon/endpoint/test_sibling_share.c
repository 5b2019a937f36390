/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that takes all the connections of its sibling that it can get: the sibling's host
 * programs still get theirs, and what it gives back it can have again. The same of applications of
 * the host.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_B 12u
#define PORT  5000u
#define MAX   64u /* max_conns of b */

static struct zv_dev *A, *B, *app, *other;
static const char *program;

static bool none_left(void *arg)
{
	(void)arg;
	return hs_counter("b", "sibling_share") >= 0 && zf_log_lines("guest=b .*its share") > 0;
}

/* @from connects until it is refused. */
static unsigned take_all(struct zv_dev *from, struct zf_conn **a, struct zf_conn **b)
{
	unsigned n = 0;
	int err = 0;

	while (n < MAX && (a[n] = zf_connect(from, 0, CID_B, PORT, ZV_STREAM, &err))) {
		b[n] = zf_accept(B, PORT);
		assert_non_null(b[n]);
		n++;
	}
	assert_true(n < MAX);
	assert_int_equal(err, -ECONNREFUSED);
	return n;
}

static bool b_has_none(void *arg)
{
	int fd = hs_connect("control.sock", "{\"v\":1,\"cmd\":\"list\",\"guest\":\"b\"}\n");
	static char text[1 << 16];
	size_t n = 0;

	(void)arg;
	assert_true(fd >= 0);
	do
		assert_true(n < sizeof(text) - 1 && hs_recv(fd, text + n, 1) == 1);
	while (text[n++] != '\n');
	text[n] = 0;
	close(fd);
	return strstr(text, "\"connections\":[]");
}

static void give_back(struct zf_conn **a, struct zf_conn **b, unsigned n)
{
	char byte;

	for (unsigned i = 0; i < n; i++) {
		zf_close(a[i]);
		assert_int_equal(zf_recv(b[i], &byte, 1, NULL), 0);
		zf_close(b[i]);
	}
}

/* zvsockd, too, is done with what was given back. */
static void all_are_back(void)
{
	assert_true(zf_until(b_has_none, NULL));
}

static void a_sibling_leaves_some(void **state)
{
	static struct zf_conn *a[MAX], *b[MAX], *h[MAX];
	unsigned n = take_all(A, a, b);
	int fd[MAX / 2];

	(void)state;
	assert_int_equal(n, MAX / 4);
	assert_true(zf_until(none_left, NULL));
	for (unsigned i = 0; i < MAX / 2; i++) {
		fd[i] = hs_connect("u", "CONNECT 5000\n");
		assert_true(fd[i] >= 0 && hs_expect_ok(fd[i]));
		h[i] = zf_accept(B, PORT);
		assert_non_null(h[i]);
	}
	for (unsigned i = 0; i < MAX / 2; i++) {
		zf_close(h[i]);
		close(fd[i]);
	}
	give_back(a, b, n);
	all_are_back();
	a[0] = zf_connect(A, 0, CID_B, PORT, ZV_STREAM, NULL);
	assert_non_null(a[0]);
	b[0] = zf_accept(B, PORT);
	assert_non_null(b[0]);
	give_back(a, b, 1);
	all_are_back();
}

/* However many of them it attaches. */
static void applications_of_a_user_leave_some(void **state)
{
	static struct zf_conn *a[2][MAX], *b[2][MAX];
	unsigned n[2];

	(void)state;
	n[0] = take_all(app, a[0], b[0]);
	assert_int_equal(take_all(other, a[1], b[1]), 0);
	n[1] = take_all(A, a[1], b[1]);
	assert_int_equal(n[0], MAX / 4);
	assert_int_equal(n[1], MAX / 8);
	give_back(a[0], b[0], n[0]);
	give_back(a[1], b[1], n[1]);
}

static int group_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program,
		      "applications = @apps\n"
		      "[guest a]\ncid = 11\nsocket = @a.sock\ngroups = x\n"
		      "[guest b]\ncid = 12\nsocket = @b.sock\ngroups = x\nunix = @u\n"
		      "max_conns = 64\n",
		      1))
		return -1;
	A = zf_guest(0, "a.sock", 1);
	B = zf_guest(1, "b.sock", 1);
	app = zf_app(2, "apps", 1);
	other = zf_app(3, "apps", 1);
	return A && B && app && other && zv_listen(B, PORT, ZV_STREAM, 0) == 0 ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sibling_leaves_some),
		cmocka_unit_test(applications_of_a_user_leave_some),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
