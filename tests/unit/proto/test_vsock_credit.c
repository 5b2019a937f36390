/* SPDX-License-Identifier: BSD-3-Clause */
/* Credit arithmetic: wrap at 2^32, hostile counters, when to report. */
#include "proto_test.h"

#include "proto/vsock/vsock_credit.h"

#define KIB 1024u

/* A sender in mid-stream: counters stand at @cnt, the peer has read everything. */
static struct vsock_credit sender(uint32_t cnt, uint32_t peer_buf_alloc)
{
	struct vsock_credit c;

	credit_init(&c, 256 * KIB);
	c.tx_cnt = cnt;
	c.peer_fwd_cnt = cnt;
	assert_true(credit_peer_update(&c, peer_buf_alloc, cnt));
	return c;
}

static void test_fresh_connection(void **state)
{
	struct vsock_credit c;

	(void)state;
	credit_init(&c, 1000);
	assert_int_equal(c.buf_alloc, 1000);
	assert_int_equal(credit_tx_free(&c), 0); /* nothing before the peer has told its buffer */
	assert_int_equal(credit_tx_packets(&c), UINT32_MAX);
	assert_false(credit_update_due(&c));
	assert_true(credit_peer_update(&c, 500, 0));
	assert_int_equal(credit_tx_free(&c), 500);
}

static void test_tx_cnt_wraps(void **state)
{
	struct vsock_credit c = sender(UINT32_MAX - 99, 1000);

	(void)state;
	credit_tx_sent(&c, 300, 0); /* 200 past the wrap */
	assert_int_equal(c.tx_cnt, 200);
	assert_int_equal(credit_tx_free(&c), 700);
	/* fwd_cnt up to the last byte before the wrap, then across it. */
	assert_true(credit_peer_update(&c, 1000, UINT32_MAX));
	assert_int_equal(credit_tx_free(&c), 799);
	assert_true(credit_peer_update(&c, 1000, 0));
	assert_int_equal(credit_tx_free(&c), 800);
	assert_true(credit_peer_update(&c, 1000, 200));
	assert_int_equal(credit_tx_free(&c), 1000);
}

static void test_rx_cnt_and_fwd_cnt_wrap(void **state)
{
	struct vsock_credit c;

	(void)state;
	credit_init(&c, 400);
	c.rx_cnt = c.fwd_cnt = c.sent_fwd_cnt = UINT32_MAX - 9;
	assert_true(credit_rx_take(&c, 400));
	assert_false(credit_rx_take(&c, 1));
	assert_int_equal(c.rx_cnt, 390);
	credit_rx_consumed(&c, 99); /* across the wrap */
	assert_int_equal(c.fwd_cnt, 89);
	assert_false(credit_update_due(&c));
	credit_rx_consumed(&c, 1);
	assert_true(credit_update_due(&c));
	credit_reported(&c);
	assert_false(credit_update_due(&c));
	assert_true(credit_rx_take(&c, 100));
	assert_false(credit_rx_take(&c, 1));
}

static void test_fwd_cnt_beyond_what_was_sent_is_refused(void **state)
{
	static const uint32_t bases[] = {0, 5, 0x7fffffff, 0x80000000, UINT32_MAX - 50, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(bases); i++) {
		struct vsock_credit c = sender(bases[i], 1000), before;

		credit_tx_sent(&c, 100, 0);
		assert_true(credit_peer_update(&c, 1000, bases[i] + 40));
		before = c;
		assert_false(credit_peer_update(&c, 5000, bases[i] + 101)); /* beyond tx_cnt */
		assert_false(credit_peer_update(&c, 5000, bases[i] + 39));  /* backwards */
		assert_false(credit_peer_update(&c, 5000, bases[i]));
		assert_false(credit_peer_update(&c, 5000, bases[i] + 0x80000000u));
		assert_memory_equal(&c, &before, sizeof(c)); /* buf_alloc was not taken either */
		assert_true(
			credit_peer_update(&c, 1000, bases[i] + 40)); /* the same again is fine */
		assert_memory_equal(&c, &before, sizeof(c));
		assert_true(credit_peer_update(&c, 1000, bases[i] + 100));
	}
}

/* A buffer that shrinks below what is in flight gives zero credit, not 4 GiB. */
static void test_a_shrunken_buffer_gives_no_credit(void **state)
{
	struct vsock_credit c = sender(0, 1000);

	(void)state;
	credit_tx_sent(&c, 800, 0);
	assert_true(credit_peer_update(&c, 500, 0));
	assert_int_equal(credit_tx_free(&c), 0);
	assert_true(credit_peer_update(&c, 500, 299));
	assert_int_equal(credit_tx_free(&c), 0); /* 501 in flight */
	assert_true(credit_peer_update(&c, 500, 301));
	assert_int_equal(credit_tx_free(&c), 1);
	assert_true(credit_peer_update(&c, 0, 301));
	assert_int_equal(credit_tx_free(&c), 0);
	assert_true(credit_peer_update(&c, UINT32_MAX, 301));
	assert_int_equal(credit_tx_free(&c), UINT32_MAX - 499);
}

/* One account a connection; only bytes really consumed move it. */
static void test_fwd_cnt_is_what_this_connection_consumed(void **state)
{
	struct vsock_credit a, b;

	(void)state;
	credit_init(&a, 1000);
	credit_init(&b, 1000);
	assert_true(credit_rx_take(&a, 1000));
	assert_true(credit_rx_take(&b, 400));
	assert_int_equal(a.fwd_cnt, 0); /* received is not consumed */
	assert_false(credit_update_due(&a));
	credit_rx_consumed(&b, 400);
	assert_int_equal(a.fwd_cnt, 0);
	assert_int_equal(b.fwd_cnt, 400);
	assert_false(credit_rx_take(&a, 1)); /* b's reading made no room in a */
	assert_true(credit_rx_take(&b, 1000));
}

static void test_overrun_is_detected(void **state)
{
	struct vsock_credit c;

	(void)state;
	credit_init(&c, 1000);
	assert_false(credit_rx_take(&c, 1001));
	assert_false(credit_rx_take(&c, UINT32_MAX));
	assert_true(credit_rx_take(&c, 999));
	assert_false(credit_rx_take(&c, 2));
	assert_int_equal(c.rx_cnt, 999); /* a refused packet is not counted */
	assert_true(credit_rx_take(&c, 1));
	assert_true(credit_rx_take(&c, 0));
	assert_false(credit_rx_take(&c, UINT32_MAX));
	credit_rx_consumed(&c, 10);
	assert_false(credit_rx_take(&c, 11));
	assert_true(credit_rx_take(&c, 10));
	credit_init(&c, UINT32_MAX);
	assert_true(credit_rx_take(&c, UINT32_MAX));
	assert_false(credit_rx_take(&c, 1));
}

static void test_update_due_thresholds(void **state)
{
	static const struct {
		uint32_t own, peer, due_at;
	} cases[] = {
		{256 * KIB, 256 * KIB, 64 * KIB},
		{256 * KIB, UINT32_MAX, 64 * KIB},
		{256 * KIB, 0, 64 * KIB}, /* not told yet */
		{256 * KIB, 16 * KIB, 4 * KIB},
		{3, 3, 1}, /* a quarter of it is 0: never before something is consumed */
		{0, 0, 1},
		{UINT32_MAX, UINT32_MAX, UINT32_MAX / 4},
	};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct vsock_credit c;

		credit_init(&c, cases[i].own);
		assert_true(credit_peer_update(&c, cases[i].peer, 0));
		assert_false(credit_update_due(&c));
		credit_rx_consumed(&c, cases[i].due_at - 1);
		assert_false(credit_update_due(&c));
		credit_rx_consumed(&c, 1);
		assert_true(credit_update_due(&c));
		credit_reported(&c);
		assert_false(credit_update_due(&c));
	}
}

/* Tiny messages use up the packet budget of their sender long before its bytes. */
static void test_update_due_by_packets(void **state)
{
	struct vsock_credit c;

	(void)state;
	credit_init(&c, 64 * KIB);
	assert_true(credit_peer_update(&c, 64 * KIB, 0));
	for (unsigned i = 1; i <= 64 * KIB / CREDIT_MSG_OVERHEAD / 4; i++) {
		assert_false(credit_update_due(&c));
		credit_rx_consumed(&c, 1);
		c.unreported_pkts++;
	}
	assert_true(credit_update_due(&c));
	credit_reported(&c);
	assert_false(credit_update_due(&c));
}

/*
 * Newer Linux stops sending when its own buffer size is in flight, whatever we allow. Our
 * reader consumes all; if we report only by our own size, nobody ever moves again.
 */
static void test_a_sender_that_caps_at_its_own_buffer_goes_on(void **state)
{
	static const uint32_t guest_buf[] = {128, 4 * KIB, 64 * KIB, 256 * KIB, 8192 * KIB};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(guest_buf); i++) {
		uint32_t sent = 0, heard = 0;
		struct vsock_credit c;

		credit_init(&c, 1024 * KIB);
		assert_true(credit_peer_update(&c, guest_buf[i], 0));
		while (sent < 16384 * KIB) {
			uint32_t cap = guest_buf[i] < 1024 * KIB ? guest_buf[i] : 1024 * KIB;
			uint32_t len = cap - (sent - heard);

			if (len > 64 * KIB)
				len = 64 * KIB;
			assert_int_not_equal(len, 0); /* stuck */
			assert_true(credit_rx_take(&c, len));
			sent += len;
			credit_rx_consumed(&c, len);
			if (credit_update_due(&c)) {
				heard = c.fwd_cnt;
				credit_reported(&c);
			}
		}
	}
}

/* Data flows one way only; reports keep it going, and there are few of them. */
static void test_one_way_flow_is_reported_and_rarely(void **state)
{
	struct vsock_credit tx = sender(0, 256 * KIB), rx;
	unsigned updates = 0, packets = 0;
	uint64_t seed = 4;

	(void)state;
	credit_init(&rx, 256 * KIB);
	assert_true(credit_peer_update(&rx, 256 * KIB, 0));
	for (uint32_t total = 0; total < 64 * KIB * KIB; packets++) {
		uint32_t len = test_between(&seed, 1, 64 * KIB), free = credit_tx_free(&tx);

		len = len < free ? len : free;
		assert_int_not_equal(len, 0); /* the reader is never behind: never stuck */
		credit_tx_sent(&tx, len, 0);
		assert_true(credit_rx_take(&rx, len));
		credit_rx_consumed(&rx, len);
		total += len;
		if (credit_update_due(&rx)) {
			assert_true(credit_peer_update(&tx, rx.buf_alloc, rx.fwd_cnt));
			credit_reported(&rx);
			updates++;
		}
	}
	assert_true(updates <= 64 * KIB * KIB / (64 * KIB));
	assert_true(updates < packets);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fresh_connection),
		cmocka_unit_test(test_tx_cnt_wraps),
		cmocka_unit_test(test_rx_cnt_and_fwd_cnt_wrap),
		cmocka_unit_test(test_fwd_cnt_beyond_what_was_sent_is_refused),
		cmocka_unit_test(test_a_shrunken_buffer_gives_no_credit),
		cmocka_unit_test(test_fwd_cnt_is_what_this_connection_consumed),
		cmocka_unit_test(test_overrun_is_detected),
		cmocka_unit_test(test_update_due_thresholds),
		cmocka_unit_test(test_update_due_by_packets),
		cmocka_unit_test(test_a_sender_that_caps_at_its_own_buffer_goes_on),
		cmocka_unit_test(test_one_way_flow_is_reported_and_rarely),
	};

	return cmocka_run_group_tests_name("proto: credit", tests, NULL, NULL);
}
