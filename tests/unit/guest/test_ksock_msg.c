/* SPDX-License-Identifier: BSD-3-Clause */
/* The `vsock:` transport through the public API: messages, which threads of their own send. */
#include "ksock_fix.h"

#define MESSAGE 262144u /* the longest */

static void send_messages(struct zv_conn *from, struct zv_conn *to, uint32_t len, unsigned n)
{
	unsigned out = 0, in = 0;

	while (in < n) {
		uint32_t flags = 0;
		ssize_t r;

		while (out < n && (r = zv_send(from, want + out, len, 0)) >= 0) {
			assert_int_equal(r, len);
			out++;
		}
		PUMP(has(to, ZV_EV_IN) || (out < n && has(from, ZV_EV_OUT)));
		while ((r = zv_recv(to, got, BIG, &flags)) >= 0) {
			assert_int_equal(r, len);
			assert_true(flags & ZV_EOM);
			assert_memory_equal(got, want + in, len);
			in++;
		}
		assert_int_equal(r, -EAGAIN);
	}
}

static void messages_keep_their_boundaries(void **state)
{
	static const uint32_t len[] = {1, 64, 4096, 65536, 65537, 150000, 200000};
	struct zv_conn *c, *s;

	(void)state;
	join(ZV_SEQPACKET, &c, &s);
	for (unsigned i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		send_messages(c, s, len[i], len[i] > 10000 ? 10 : 500);
		send_messages(s, c, len[i], 5);
	}
	assert_int_equal(zv_send(c, want, MESSAGE + 1, 0), -EMSGSIZE);
	close_both(c, s);
}

/* One that is longer than a receive buffer is held, and given as there is room. */
static void long_messages_in_small_buffers(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .rx_buf = 256, .ring_size = 16};
	struct zv_conn *c, *s;

	(void)state;
	reopen(NULL, &o);
	join(ZV_SEQPACKET, &c, &s);
	send_messages(c, s, 256, 50);
	send_messages(c, s, 257, 50);
	send_messages(c, s, 100000, 5);
	close_both(c, s);
}

static void a_message_in_several_calls(void **state)
{
	struct zv_conn *c, *s;
	struct zv_buf b[2];
	ssize_t n;

	(void)state;
	join(ZV_SEQPACKET, &c, &s);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(zv_buf_alloc(c, b, 1, 1000), 1);
		memcpy(b[0].data, want + 1000 * i, 1000);
		b[0].len = 1000;
		b[0].flags = i == 2 ? ZV_EOM : 0;
		assert_int_equal(zv_buf_send(c, b, 1), 1);
		PUMP(1);
	}
	PUMP((n = zv_recv(s, got, BIG, NULL)) > 0);
	assert_int_equal(n, 3000);
	assert_memory_equal(got, want, 3000);
	close_both(c, s);
}

/* What does not fit is no shorter message: the connection ends with an error, and the log says why.
 */
static void a_message_beyond_the_credit_resets(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .buf_alloc = 8192};
	struct zv_conn *c, *s;

	(void)state;
	reopen(NULL, &o);
	join(ZV_SEQPACKET, &c, &s);
	send_messages(c, s, 8192, 10);
	assert_int_equal(zv_send(c, want, 8193, 0), 8193);
	PUMP(has(s, ZV_EV_ERR));
	assert_int_equal(zv_recv(s, got, BIG, NULL), -ECONNRESET);
	assert_non_null(strstr(logged, "longer than the receive credit of 8192 bytes"));
	close_both(c, s);
}

/* What was sent is not lost when the device is closed right after, as far as the peer reads. */
static void closing_the_device_waits_for_the_kernel(void **state)
{
	struct zv_conn *c, *s;
	size_t in = 0;
	ssize_t n;

	(void)state;
	join(ZV_SEQPACKET, &c, &s);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(zv_send(c, want, 1000, 0), 1000);
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(client), 0);
	assert_int_equal(zv_open(&client, "kunix:", NULL), 0);
	cq = zv_queue(client, 0);
	for (unsigned i = 0; i < 20; i++, in += (size_t)n)
		PUMP((n = zv_recv(s, got, BIG, NULL)) == 1000);
	PUMP(zv_recv(s, got, BIG, NULL) == 0);
	assert_int_equal(zv_conn_close(s), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(messages_keep_their_boundaries),
		TEST(long_messages_in_small_buffers),
		TEST(a_message_in_several_calls),
		TEST(a_message_beyond_the_credit_resets),
		TEST(closing_the_device_waits_for_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
