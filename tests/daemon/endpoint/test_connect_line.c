/* SPDX-License-Identifier: BSD-3-Clause */
/* The first line of a hybrid vsock client, whole, in pieces, and wrong. */
#include "endpoint/unix/connect_line.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void good_lines(void **state)
{
	static const struct {
		const char *text;
		uint32_t port;
		int len;
	} t[] = {
		{"CONNECT 0\n", 0, 10},
		{"CONNECT 52\n", 52, 11},
		{"connect 1024\n", 1024, 13},
		{"Connect   7\n", 7, 12},
		{"CONNECT 7  \n", 7, 12},
		{"CONNECT 7\r\n", 7, 11},
		{"CONNECT 4294967295\n", 4294967295u, 19},
		{"CONNECT 00000000000000000000052\n", 52, 32},
		{"CONNECT 1\nCONNECT 2\n", 1, 10},
		{"CONNECT\t7\n", 7, 10},
		{" CONNECT 7\n", 7, 11},
		{"\t \rconnect \t7\t\n", 7, 15},
		{"CONNECT 7 \r\n", 7, 12},
		{"CONNECT\v7\f\r\r\n", 7, 13},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint32_t port = 99;

		assert_int_equal(connect_line_parse(t[i].text, strlen(t[i].text), &port), t[i].len);
		assert_int_equal(port, t[i].port);
		/* Any beginning of it is a beginning. */
		for (int n = 0; n < t[i].len; n++)
			assert_int_equal(connect_line_parse(t[i].text, (size_t)n, &port), 0);
	}
}

static void bad_lines(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} t[] = {
#define T(s) {s, sizeof(s) - 1}
		T("\n"),
		T("X"),
		T("GET / HTTP/1.1\r\n"),
		T("CONNECT\n"),
		T("CONNECT \n"),
		T("CONNECT7\n"),
		T(" \n"),
		T(" X"),
		T("\tCONNECT\t\n"),
		T(" CONNECT7\n"),
		T("CON NECT 7\n"),
		T("CONNECT\240\067\n"),
		T("CONNECT\t7\t8\n"),
		T("                        CONNECT "), /* 32 bytes without an end */
		T("CONNECT -1\n"),
		T("CONNECT +1\n"),
		T("CONNECT 0x10\n"),
		T("CONNECT 1.5\n"),
		T("CONNECT 1 2\n"),
		T("CONNECT 1\r2\n"),
		T("CONNECT 4294967296\n"),
		T("CONNECT 99999999999999999\n"),
		T("CONNECT 1\0\n"),
		T("\0\0\0\0"),
		T("\377\376CONNECT 1\n"),
		T("CONNECT 1111111111111111111111111"), /* 33 bytes without an end */
		T("CONNECT                        1\n"),
		T("CONNECT 000000000000000000000052\n"),
#undef T
	};
	uint32_t port;

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(connect_line_parse(t[i].text, t[i].len, &port), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines),
		cmocka_unit_test(bad_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
