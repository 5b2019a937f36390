/* SPDX-License-Identifier: BSD-3-Clause */
/* What a call does not know is refused, and changes nothing. zv_recv of 0 bytes; a closed batch. */
#include "pair.h"

static void options_that_are_not_known_are_refused(void **state)
{
	struct {
		struct zv_opts o;
		uint32_t newer[4];
	} big = {.o = {.size = sizeof(big)}};
	struct zv_opts o = {.size = sizeof(o)};
	struct zv_dev *dev = (void *)state;

	for (unsigned bit = 9; bit < 32; bit++) {
		o.flags = 1u << bit;
		assert_int_equal(zv_open(&dev, "fakeguest:", &o), -EINVAL);
		assert_null(dev);
		assert_non_null(strstr(zv_error_text(), "flags has unknown bits"));
	}
	big.newer[3] = 1;
	assert_int_equal(zv_open(&dev, "fakeguest:", &big.o), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "older than the header"));
	big.newer[3] = 0;
	big.o.flags = ZV_OPT_NO_HELLO;
	assert_int_equal(zv_open(&dev, "fakeguest:", &big.o), 0); /* newer, and not made use of */
	assert_int_equal(zv_close(dev), 0);
}

static void flags_that_are_not_known_are_refused(void **state)
{
	const uint32_t send = ZV_EOM | ZV_EOR | ZV_MORE,
		       recv = ZV_PEEK | ZV_EOM | ZV_EOR | ZV_TRUNC;
	struct zv_conn *g, *h;
	struct zv_buf b;
	char got[4];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t f = 1u << bit;

		if (!(f & send))
			assert_int_equal(zv_send(g, "x", 1, f), -EINVAL);
		if (!(f & recv))
			assert_int_equal(zv_recv(h, got, 4, &(uint32_t){f}), -EINVAL);
		if (!(f & (ZV_EOM | ZV_EOR))) {
			assert_int_equal(zv_buf_alloc(g, &b, 1, 4), 1);
			b.flags = f;
			b.len = 1;
			assert_int_equal(zv_buf_send(g, &b, 1), -EINVAL);
		}
		if (f != ZV_LISTEN_ANY_CID)
			assert_int_equal(zv_listen_all(P.host, f, 0), -EINVAL);
	}
	assert_int_equal(zv_send_all(g, "x", 1, 1u << 9, 0, NULL), -EINVAL);
	pump();
	assert_int_equal(zv_recv(h, got, 4, NULL), -EAGAIN); /* nothing was sent */
	assert_int_equal(zv_send(g, "abc", 3, ZV_EOM | ZV_EOR), 3);
	pump();
	assert_int_equal(zv_recv(h, got, 4, &(uint32_t){ZV_EOM | ZV_EOR | ZV_TRUNC}), 3);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void receiving_no_bytes_takes_none_of_a_stream(void **state)
{
	struct zv_conn *g, *h;
	uint32_t flags = 0;
	char got[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_recv(h, NULL, 0, NULL), -EAGAIN);
	assert_int_equal(zv_send(g, "abc", 3, 0), 3);
	pump();
	assert_int_equal(zv_recv(h, NULL, 0, NULL), 0);
	assert_int_equal(zv_recv(h, got, 8, NULL), 3);
	assert_int_equal(zv_shutdown(g, 1), 0);
	pump();
	assert_int_equal(zv_recv(h, NULL, 0, NULL), 0);
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
	connect_pair(ZV_SEQPACKET, 1001, &g, &h);
	assert_int_equal(zv_send(g, "abc", 3, 0), 3);
	pump();
	assert_int_equal(zv_recv(h, NULL, 0, &flags), 0);
	assert_true(flags & ZV_TRUNC);
	assert_int_equal(zv_recv(h, got, 8, NULL), -EAGAIN);
	zv_conn_close(g);
	zv_conn_close(h);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_that_are_not_known_are_refused),
		CASE(flags_that_are_not_known_are_refused),
		CASE(receiving_no_bytes_takes_none_of_a_stream),
	};

	return cmocka_run_group_tests_name("flags", tests, NULL, NULL);
}
