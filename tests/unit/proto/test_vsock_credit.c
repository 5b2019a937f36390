/* SPDX-License-Identifier: BSD-3-Clause */
/* Credit arithmetic: wrap at 2^32, hostile counters, when to report, the packet budget's books. */
#include "proto_test.h"

#include "proto/vsock_credit.h"

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
	credit_tx_sent(&c, 300); /* 200 past the wrap */
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
	c.rx_cnt = c.fwd_cnt = c.told_fwd = UINT32_MAX - 9;
	assert_true(credit_rx_take(&c, 400));
	assert_false(credit_rx_take(&c, 1));
	assert_int_equal(c.rx_cnt, 390);
	credit_rx_consumed(&c, 99); /* across the wrap */
	assert_int_equal(c.fwd_cnt, 89);
	assert_false(credit_update_due(&c));
	credit_rx_consumed(&c, 1);
	assert_true(credit_update_due(&c));
	credit_told(&c);
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

		credit_tx_sent(&c, 100);
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

/* Lesson 3: a buffer that shrinks below what is in flight gives zero credit, not 4 GiB. */
static void test_lesson_03_negative_credit_is_clamped(void **state)
{
	struct vsock_credit c = sender(0, 1000);

	(void)state;
	credit_tx_sent(&c, 800);
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

/* Lesson 3: one account a connection; only bytes really consumed move it. */
static void test_lesson_03_fwd_cnt_per_connection(void **state)
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
		credit_told(&c);
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
		c.untold_pkts++;
	}
	assert_true(credit_update_due(&c));
	credit_told(&c);
	assert_false(credit_update_due(&c));
}

/*
 * Lesson 2: newer Linux stops sending when its own buffer size is in flight, whatever we allow. Our
 * reader consumes all; if we report only by our own size, nobody ever moves again.
 */
static void test_lesson_02_guest_caps_tx_at_its_own_buffer(void **state)
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
				credit_told(&c);
			}
		}
	}
}

/* Lesson 4: data flows one way only; reports keep it going, and there are few of them. */
static void test_lesson_04_one_way_flow_is_reported(void **state)
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
		credit_tx_sent(&tx, len);
		assert_true(credit_rx_take(&rx, len));
		credit_rx_consumed(&rx, len);
		total += len;
		if (credit_update_due(&rx)) {
			assert_true(credit_peer_update(&tx, rx.buf_alloc, rx.fwd_cnt));
			credit_told(&rx);
			updates++;
		}
	}
	assert_true(updates <= 64 * KIB * KIB / (64 * KIB));
	assert_true(updates < packets);
}

static void test_budget_follows_the_peers_buffer(void **state)
{
	struct vsock_credit c = sender(0, 256 * KIB);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), 256);
	assert_true(credit_peer_update(&c, 64 * KIB, 0));
	assert_int_equal(credit_tx_packets(&c), 64);
	assert_true(credit_peer_update(&c, 1, 0));
	assert_int_equal(credit_tx_packets(&c), 1); /* never stuck by the budget alone */
	assert_int_equal(credit_tx_free(&c), 1);
	assert_true(credit_peer_update(&c, 0, 0));
	assert_int_equal(credit_tx_free(&c), 0);
	assert_true(credit_peer_update(&c, 256 * KIB, 0)); /* and it has not been switched off */
	assert_int_equal(credit_tx_packets(&c), 256);
	credit_limit_packets(&c, 0);
	assert_int_equal(credit_tx_packets(&c), UINT32_MAX);
	assert_true(credit_peer_update(&c, 64 * KIB, 0)); /* and stays off */
	assert_int_equal(credit_tx_packets(&c), UINT32_MAX);
}

static void test_budget_stops_and_opens(void **state)
{
	struct vsock_credit c = sender(UINT32_MAX - 100, 64 * KIB); /* marks cross the wrap */
	uint32_t base = c.tx_cnt;

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(credit_tx_packets(&c), 64 - i);
		assert_int_not_equal(credit_tx_free(&c), 0);
		credit_tx_sent(&c, 4);
	}
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_int_equal(credit_tx_free(&c), 0); /* 65,280 bytes are free, no packet is */
	/* A group (4 packets, 16 bytes) is free only when its last byte is read. */
	assert_true(credit_peer_update(&c, 64 * KIB, base + 15));
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 64 * KIB, base + 16));
	assert_int_equal(credit_tx_packets(&c), 4);
	assert_true(credit_peer_update(&c, 64 * KIB, base + 255));
	assert_int_equal(credit_tx_packets(&c), 60);
	assert_true(credit_peer_update(&c, 64 * KIB, base + 256));
	assert_int_equal(credit_tx_packets(&c), 64);
	assert_int_equal(c.mark_count, 0);
}

static void test_budget_ignores_packets_without_payload(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned i = 0; i < 1000; i++)
		credit_tx_sent(&c, 0);
	assert_int_equal(credit_tx_packets(&c), 64);
}

static void test_budget_switched_on_in_mid_stream(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_tx_sent(&c, 1000);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	/* The 1000 bytes may have been 1000 packets. */
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 64 * KIB, 999));
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 64 * KIB, 1000));
	assert_int_equal(credit_tx_packets(&c), 64);

	/* On twice changes nothing; off and on again with few bytes in flight is exact enough. */
	credit_tx_sent(&c, 10);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), 63);
	credit_limit_packets(&c, 0);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), 54);
}

static void test_joint_charge(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	assert_int_equal(credit_tx_free_packets(&c, 9), 64 * KIB); /* no budget, no charge */
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_free_packets(&c, 9), 64 * KIB); /* nothing unread: all of it */
	credit_tx_sent(&c, 1000);
	assert_int_equal(credit_tx_free_packets(&c, 1), 64 * KIB - 1000 - 2 * 1024);
	assert_int_equal(credit_tx_free_packets(&c, 9), 64 * KIB - 1000 - 10 * 1024);
	assert_int_equal(credit_tx_free_packets(&c, 63), 0);
	assert_int_equal(credit_tx_free_packets(&c, UINT32_MAX), 0);
}

static void check_books(const struct vsock_credit *c, uint32_t exact)
{
	uint32_t sum = 0, behind = UINT32_MAX;

	for (unsigned k = 0; k < c->mark_count; k++) {
		unsigned i = (c->mark_head + k) % CREDIT_MARKS;

		sum += c->group[i];
		assert_true(c->tx_cnt - c->mark[i] < behind); /* in order */
		behind = c->tx_cnt - c->mark[i];
		assert_true(behind < c->tx_cnt - c->peer_fwd_cnt); /* none that is read */
	}
	assert_int_equal(sum, c->pkt_unread);
	if (c->mark_count)
		assert_int_equal(behind, 0); /* the newest ends at tx_cnt */
	/* Never fewer than there are; the excess lies in the one group that is half read. */
	assert_true(c->pkt_unread >= exact);
}

/* The books against an exact list of packets, while the peer's buffer size changes at will. */
static void test_budget_never_undercounts(void **state)
{
	enum { N = 1 << 16 };
	static uint32_t end[N];
	struct vsock_credit c = sender(UINT32_MAX - 50000, 256 * KIB);
	uint32_t head = 0, tail = 0;
	uint64_t seed = 11;

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned step = 0; step < 60000; step++) {
		if (test_rand(&seed) % 3) {
			uint32_t free = credit_tx_free(&c), len = test_between(&seed, 1, 300);

			if (!free)
				continue;
			credit_tx_sent(&c, len < free ? len : free);
			end[tail++ % N] = c.tx_cnt;
			continue;
		}
		uint32_t fwd = c.peer_fwd_cnt + test_between(&seed, 0, c.tx_cnt - c.peer_fwd_cnt);
		uint32_t buf = test_rand(&seed) % 16 ? c.peer_buf_alloc
						     : test_between(&seed, 0, 512 * KIB);

		assert_true(credit_peer_update(&c, buf, fwd));
		while (head != tail && c.tx_cnt - end[head % N] >= c.tx_cnt - fwd)
			head++;
		check_books(&c, tail - head);
	}
	assert_true(tail > 10000);
	assert_true(credit_peer_update(&c, 256 * KIB, c.tx_cnt));
	assert_int_equal(c.pkt_unread, 0);
	assert_int_equal(credit_tx_packets(&c), 256);
}

/* All marks are taken by small groups when the peer enlarges its buffer. */
static void test_budget_grows_with_all_marks_in_use(void **state)
{
	struct vsock_credit c = sender(0, CREDIT_MARKS * CREDIT_PKT_OVERHEAD);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned i = 0; i < CREDIT_MARKS; i++)
		credit_tx_sent(&c, 1);
	assert_int_equal(c.mark_count, CREDIT_MARKS);
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 256 * KIB, 0));
	for (unsigned n = CREDIT_MARKS; credit_tx_free(&c); check_books(&c, ++n))
		credit_tx_sent(&c, 1);
	assert_int_equal(c.tx_cnt, 256);
	assert_int_equal(c.mark_count, CREDIT_MARKS);
	/* The first groups are free one by one; the rest, in the newest group, at its end. */
	assert_true(credit_peer_update(&c, 256 * KIB, 15));
	assert_int_equal(credit_tx_packets(&c), 15);
	assert_true(credit_peer_update(&c, 256 * KIB, 255));
	assert_int_equal(credit_tx_packets(&c), 15);
	assert_true(credit_peer_update(&c, 256 * KIB, 256));
	assert_int_equal(credit_tx_packets(&c), 256);
}

static void test_budget_of_a_huge_buffer(void **state)
{
	struct vsock_credit c = sender(0, UINT32_MAX);
	uint32_t limit = UINT32_MAX / CREDIT_PKT_OVERHEAD, i;

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), limit);
	for (i = 0; credit_tx_free(&c); i++)
		credit_tx_sent(&c, 1);
	assert_int_equal(i, limit);
	check_books(&c, limit);
	assert_true(credit_peer_update(&c, UINT32_MAX, limit));
	assert_int_equal(credit_tx_packets(&c), limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fresh_connection),
		cmocka_unit_test(test_tx_cnt_wraps),
		cmocka_unit_test(test_rx_cnt_and_fwd_cnt_wrap),
		cmocka_unit_test(test_fwd_cnt_beyond_what_was_sent_is_refused),
		cmocka_unit_test(test_lesson_03_negative_credit_is_clamped),
		cmocka_unit_test(test_lesson_03_fwd_cnt_per_connection),
		cmocka_unit_test(test_overrun_is_detected),
		cmocka_unit_test(test_update_due_thresholds),
		cmocka_unit_test(test_update_due_by_packets),
		cmocka_unit_test(test_lesson_02_guest_caps_tx_at_its_own_buffer),
		cmocka_unit_test(test_lesson_04_one_way_flow_is_reported),
		cmocka_unit_test(test_budget_follows_the_peers_buffer),
		cmocka_unit_test(test_budget_stops_and_opens),
		cmocka_unit_test(test_budget_ignores_packets_without_payload),
		cmocka_unit_test(test_budget_switched_on_in_mid_stream),
		cmocka_unit_test(test_joint_charge),
		cmocka_unit_test(test_budget_never_undercounts),
		cmocka_unit_test(test_budget_grows_with_all_marks_in_use),
		cmocka_unit_test(test_budget_of_a_huge_buffer),
	};

	return cmocka_run_group_tests_name("proto: credit", tests, NULL, NULL);
}
