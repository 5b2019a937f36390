/* SPDX-License-Identifier: BSD-3-Clause */
/* Credit: the budget of packets that a stock peer may have unread. */
#include "proto_test.h"

#include "proto/vsock/vsock_credit.h"

#define KIB 1024u

static struct vsock_credit sender(uint32_t cnt, uint32_t peer_buf_alloc)
{
	struct vsock_credit c;

	credit_init(&c, 256 * KIB);
	c.tx_cnt = cnt;
	c.peer_fwd_cnt = cnt;
	assert_true(credit_peer_update(&c, peer_buf_alloc, cnt));
	return c;
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
		credit_tx_sent(&c, 4, 0);
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
		credit_tx_sent(&c, 0, 0);
	assert_int_equal(credit_tx_packets(&c), 64);
}

static void test_budget_switched_on_in_mid_stream(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_tx_sent(&c, 1000, 0);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	/* The 1000 bytes may have been 1000 packets. */
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 64 * KIB, 999));
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 64 * KIB, 1000));
	assert_int_equal(credit_tx_packets(&c), 64);

	/* On twice changes nothing; off and on again with few bytes in flight is exact enough. */
	credit_tx_sent(&c, 10, 0);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), 63);
	credit_limit_packets(&c, 0);
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	assert_int_equal(credit_tx_packets(&c), 54);
}

/* Bytes are the peer's word: packets that are unread take none of them. */
static void test_budget_takes_no_bytes(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	credit_tx_sent(&c, 1000, 0);
	assert_int_equal(credit_tx_free(&c), 64 * KIB - 1000);
	for (unsigned i = 1; i < 64; i++) {
		assert_int_equal(credit_tx_free(&c), 64 * KIB - 1000 * i);
		credit_tx_sent(&c, 1000, 0);
	}
	assert_int_equal(credit_tx_bytes(&c), 64 * KIB - 64 * 1000);
}

/* A small packet is joined to the one before it while there is room behind that. */
static void test_small_packets_are_joined(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	credit_tx_sent(&c, 20, 100); /* the first is one of its own */
	assert_int_equal(c.pkt_unread, 1);
	credit_tx_sent(&c, 79, 100);
	assert_int_equal(c.pkt_unread, 1);
	credit_tx_sent(&c, 1, 3732); /* one byte of room is not more than it needs */
	assert_int_equal(c.pkt_unread, 2);
	credit_tx_sent(&c, CREDIT_SMALL + 1, 3732); /* too large */
	assert_int_equal(c.pkt_unread, 3);
	for (uint32_t used = CREDIT_SMALL + 1; used + CREDIT_SMALL < 3732; used += CREDIT_SMALL) {
		credit_tx_sent(&c, CREDIT_SMALL, 3732);
		assert_int_equal(c.pkt_unread, 3);
	}
	credit_tx_sent(&c, CREDIT_SMALL, 3732);
	assert_int_equal(c.pkt_unread, 4);
	credit_tx_sent(&c, 1, 50); /* joined; but the peer may have begun anew, with these 50 */
	credit_tx_sent(&c, 49, 3732);
	assert_int_equal(c.pkt_unread, 5);
	credit_tx_sent(&c, 10, CREDIT_TAIL_MAX + 1); /* in pieces: nothing joins it */
	assert_int_equal(c.pkt_unread, 5);
	credit_tx_sent(&c, 10, 3732);
	assert_int_equal(c.pkt_unread, 6);
	/* All is read: the next is one of its own again. */
	assert_true(credit_peer_update(&c, 64 * KIB, c.tx_cnt));
	assert_int_equal(c.pkt_unread, 0);
	credit_tx_sent(&c, 10, 3732);
	assert_int_equal(c.pkt_unread, 1);
}

/* What is joined is read only with the packet that it was joined to. */
static void test_joined_packets_keep_their_group(void **state)
{
	struct vsock_credit c = sender(0, 64 * KIB);

	(void)state;
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	credit_tx_sent(&c, 20, 3732);
	credit_tx_sent(&c, 20, 3732);
	assert_true(credit_peer_update(&c, 64 * KIB, 39));
	assert_int_equal(c.pkt_unread, 1);
	assert_true(credit_peer_update(&c, 64 * KIB, 40));
	assert_int_equal(c.pkt_unread, 0);
}

/* An answer that shows a peer that does not read is worth one packet, and no more. */
static void test_a_peer_that_does_not_read_gets_more(void **state)
{
	struct vsock_credit c = sender(0, 4 * KIB);

	(void)state;
	assert_false(credit_allow_extra(&c, 1)); /* no budget */
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned i = 0; i < 4; i++) {
		assert_false(credit_allow_extra(&c, 1)); /* not used up */
		credit_tx_sent(&c, 100, 0);
	}
	assert_int_equal(credit_tx_free(&c), 0);
	assert_false(credit_allow_extra(&c, 0));
	for (unsigned i = 4; i < 40; i++) {
		assert_true(credit_allow_extra(&c, 1));
		assert_int_equal(credit_tx_packets(&c), 1);
		assert_int_equal(credit_tx_free(&c), 4 * KIB - 100 * i);
		credit_tx_sent(&c, 100, 0);
		assert_int_equal(credit_tx_free(&c), 0);
	}
	assert_true(credit_allow_extra(&c, 1));
	credit_tx_sent(&c, 96, 0);
	assert_false(credit_allow_extra(&c, 1));		/* nothing is free */
	assert_true(credit_peer_update(&c, 4 * KIB, c.tx_cnt)); /* it has read: as before */
	assert_int_equal(credit_tx_packets(&c), 4);
	/* A buffer that holds one packet for a Linux that counts: its reader has more time. */
	assert_true(credit_peer_update(&c, 1024, c.tx_cnt));
	credit_tx_sent(&c, 100, 0);
	assert_false(credit_allow_extra(&c, CREDIT_PATIENCE - 1));
	assert_true(credit_allow_extra(&c, CREDIT_PATIENCE));
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
			credit_tx_sent(&c, len < free ? len : free, 0);
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
		credit_tx_sent(&c, 1, 0);
	assert_int_equal(c.mark_count, CREDIT_MARKS);
	assert_int_equal(credit_tx_packets(&c), 0);
	assert_true(credit_peer_update(&c, 256 * KIB, 0));
	for (unsigned n = CREDIT_MARKS; credit_tx_free(&c); check_books(&c, ++n))
		credit_tx_sent(&c, 1, 0);
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
		credit_tx_sent(&c, 1, 0);
	assert_int_equal(i, limit);
	check_books(&c, limit);
	assert_true(credit_peer_update(&c, UINT32_MAX, limit));
	assert_int_equal(credit_tx_packets(&c), limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget_follows_the_peers_buffer),
		cmocka_unit_test(test_budget_stops_and_opens),
		cmocka_unit_test(test_budget_ignores_packets_without_payload),
		cmocka_unit_test(test_budget_switched_on_in_mid_stream),
		cmocka_unit_test(test_budget_takes_no_bytes),
		cmocka_unit_test(test_small_packets_are_joined),
		cmocka_unit_test(test_joined_packets_keep_their_group),
		cmocka_unit_test(test_a_peer_that_does_not_read_gets_more),
		cmocka_unit_test(test_budget_never_undercounts),
		cmocka_unit_test(test_budget_grows_with_all_marks_in_use),
		cmocka_unit_test(test_budget_of_a_huge_buffer),
	};

	return cmocka_run_group_tests_name("proto: credit, packet budget", tests, NULL, NULL);
}
