/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit against a model of a Linux guest's receiving socket.
 *
 * Lesson 1: Linux since 6.12.92 charges every queued packet an skb's size and resets the stream
 * (or, at first, dropped the packet without a word) when that exceeds buf_alloc. The model keeps
 * the receive queue packet by packet, as the kernel does, and knows three generations of the rule;
 * it reports consumed bytes by each generation's own rule, so that a sender that waits for a report
 * that never comes is seen to be stuck. No time is involved: a round lets the sender send, the
 * reader read, and reports travel.
 */
#include "proto_test.h"

#include "proto/vsock_credit.h"

#define BUF_ALLOC (256u * 1024)
#define SKB_SIZE  576u /* SKB_TRUESIZE(0) */
#define MAX_PKT	  65536u
#define QUEUE	  8192u

enum rule {
	RULE_6_1,   /* bytes only; reports only when less than 64 KiB is left untold */
	RULE_JOINT, /* 6.12.92: payload and overhead share buf_alloc */
	RULE_COUNT, /* 6.12.94 and later: each has buf_alloc to itself */
};

struct guest {
	enum rule rule;
	uint32_t len[QUEUE]; /* ring of queued packets; the head may be partly read */
	uint32_t head, count;
	uint32_t head_read;
	uint32_t used;		/* payload bytes of packets not wholly read */
	uint32_t fwd_cnt, told; /* told: last_fwd_cnt */
	uint32_t most_queued;
	bool update; /* CREDIT_UPDATE is on its way */
};

/* False: the kernel would reset the stream or lose the packet. */
static bool guest_enqueue(struct guest *g, uint32_t len)
{
	uint64_t overhead = (uint64_t)(g->count + 1) * SKB_SIZE;
	uint64_t payload = (uint64_t)g->used + len;

	if (payload > BUF_ALLOC || g->count == QUEUE)
		return false;
	if (g->rule == RULE_COUNT && overhead > BUF_ALLOC)
		return false;
	if (g->rule == RULE_JOINT && overhead + payload > BUF_ALLOC)
		return false;
	g->len[(g->head + g->count++) % QUEUE] = len;
	g->used += len;
	if (g->count > g->most_queued)
		g->most_queued = g->count;
	return true;
}

/* The application reads up to @want bytes; fwd_cnt moves by whole packets, as in the kernel. */
static void guest_read(struct guest *g, uint32_t want)
{
	uint32_t untold;
	bool low;

	while (g->count && want) {
		uint32_t len = g->len[g->head];
		uint32_t n = len - g->head_read < want ? len - g->head_read : want;

		want -= n;
		g->head_read += n;
		if (g->head_read < len)
			break;
		g->head_read = 0;
		g->head = (g->head + 1) % QUEUE;
		g->count--;
		g->used -= len;
		g->fwd_cnt += len;
	}
	untold = g->fwd_cnt - g->told;
	low = g->rule != RULE_6_1 && g->count == 0; /* a reader would wait for more */
	if (untold && (low || BUF_ALLOC - untold < MAX_PKT))
		g->update = true;
}

static void guest_report(struct guest *g, struct vsock_credit *c)
{
	assert_true(credit_peer_update(c, BUF_ALLOC, g->fwd_cnt));
	g->told = g->fwd_cnt;
	g->update = false;
}

struct run {
	enum rule rule;
	uint32_t min_len, max_len;     /* the sender's packets */
	uint32_t reads_min, reads_max; /* bytes the reader takes in a round */
	bool slow_reader;	       /* reads only in one round of ten */
	uint64_t seed;
};

/* Bytes and packets in flight stay below every limit, and the reader never waits in vain. */
static void run_stream(const struct run *r)
{
	enum { ROUNDS = 3000 };
	struct guest g = {.rule = r->rule, .fwd_cnt = 0xffff0000, .told = 0xffff0000};
	uint64_t seed = r->seed;
	struct vsock_credit c;

	credit_init(&c, BUF_ALLOC);
	c.tx_cnt = c.peer_fwd_cnt = g.fwd_cnt; /* with fast readers the counters wrap */
	assert_true(credit_peer_update(&c, BUF_ALLOC, g.fwd_cnt));
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint32_t free;

		while ((free = credit_tx_free_packets(&c, 1)) != 0) {
			uint32_t len = test_between(&seed, r->min_len, r->max_len);

			len = len < free ? len : free;
			credit_tx_sent(&c, len);
			assert_true(guest_enqueue(&g, len));
		}
		assert_true(c.pkt_unread >= g.count);
		/* All is read, the guest has said so or was asked, and still nothing was sent? */
		assert_int_not_equal(g.count, 0);
		if (!r->slow_reader || round % 10 == 9)
			guest_read(&g, test_between(&seed, r->reads_min, r->reads_max));
		/*
		 * Newer guests report by themselves when the reader has emptied the queue. An old
		 * one must be asked, and answers with what it has, read or not.
		 */
		if (g.update || (r->rule == RULE_6_1 && !credit_tx_free_packets(&c, 1)))
			guest_report(&g, &c);
	}
	/* The budget is used, not merely kept: with small packets it fills. */
	if (r->max_len <= 64)
		assert_true(g.most_queued > 200);
	assert_true(g.most_queued * SKB_SIZE <= BUF_ALLOC);
}

static void run_all(enum rule rule)
{
	static const struct {
		uint32_t min, max;
	} sizes[] = {{1, 1},	   {1, 64},	 {64, 64},     {100, 700},	  {575, 577},
		     {1024, 1024}, {1, MAX_PKT}, {4096, 4096}, {MAX_PKT, MAX_PKT}};
	static const struct {
		uint32_t min, max;
	} reads[] = {{1, 1}, {1, 100}, {1, 20000}, {4096, 4096}, {BUF_ALLOC, BUF_ALLOC}};

	for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
		for (unsigned k = 0; k < COUNT_OF(reads) * 2; k++) {
			struct run r = {
				.rule = rule,
				.min_len = sizes[i].min,
				.max_len = sizes[i].max,
				.reads_min = reads[k / 2].min,
				.reads_max = reads[k / 2].max,
				.slow_reader = k & 1,
				.seed = 1 + i * 100 + k,
			};

			run_stream(&r);
		}
	}
}

static void test_lesson_01_packet_count_budget(void **state)
{
	(void)state;
	run_all(RULE_COUNT);
}

static void test_lesson_01_overhead_and_payload_share_the_buffer(void **state)
{
	(void)state;
	run_all(RULE_JOINT);
}

static void test_lesson_01_budget_does_not_deadlock_older_guests(void **state)
{
	(void)state;
	run_all(RULE_6_1);
}

/* The model is worth something: without the budget it does refuse. */
static void test_model_refuses_a_sender_without_budget(void **state)
{
	struct guest g = {.rule = RULE_COUNT};
	struct vsock_credit c;
	unsigned n = 0;

	(void)state;
	credit_init(&c, BUF_ALLOC);
	assert_true(credit_peer_update(&c, BUF_ALLOC, 0));
	while (credit_tx_free(&c)) {
		credit_tx_sent(&c, 1);
		if (!guest_enqueue(&g, 1))
			break;
		n++;
	}
	assert_int_equal(n, BUF_ALLOC / SKB_SIZE);
	assert_int_not_equal(credit_tx_free(&c), 0);

	g = (struct guest){.rule = RULE_JOINT};
	for (n = 0; guest_enqueue(&g, MAX_PKT); n++)
		;
	assert_int_equal(n, 3);
}

/* With the budget on, plain credit alone (no joint charge) is enough for 6.12.94 and later. */
static void test_lesson_01_plain_credit_is_enough_for_the_count_rule(void **state)
{
	struct guest g = {.rule = RULE_COUNT};
	struct vsock_credit c;
	uint64_t seed = 5;

	(void)state;
	credit_init(&c, BUF_ALLOC);
	assert_true(credit_peer_update(&c, BUF_ALLOC, 0));
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned round = 0; round < 20000; round++) {
		uint32_t free;

		while ((free = credit_tx_free(&c)) != 0) {
			uint32_t len = test_between(&seed, 1, round & 1 ? 2000 : MAX_PKT);

			len = len < free ? len : free;
			credit_tx_sent(&c, len);
			assert_true(guest_enqueue(&g, len));
		}
		guest_read(&g, test_between(&seed, 1, BUF_ALLOC));
		if (g.update || !credit_tx_free(&c))
			guest_report(&g, &c);
	}
}

/* A SEQPACKET message as large as the peer's buffer is sent whole to a peer that has read all. */
static void test_message_as_large_as_the_buffer(void **state)
{
	struct guest g = {.rule = RULE_COUNT};
	struct vsock_credit c;

	(void)state;
	credit_init(&c, BUF_ALLOC);
	assert_true(credit_peer_update(&c, BUF_ALLOC, 0));
	credit_limit_packets(&c, CREDIT_PKT_OVERHEAD);
	for (unsigned message = 0; message < 10; message++) {
		assert_int_equal(credit_tx_free(&c), BUF_ALLOC);
		for (unsigned i = 0; i < BUF_ALLOC / 4096; i++) {
			assert_int_not_equal(credit_tx_packets(&c), 0);
			credit_tx_sent(&c, 4096);
			assert_true(guest_enqueue(&g, 4096));
		}
		assert_int_equal(credit_tx_free(&c), 0);
		guest_read(&g, BUF_ALLOC);
		guest_report(&g, &c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_refuses_a_sender_without_budget),
		cmocka_unit_test(test_lesson_01_packet_count_budget),
		cmocka_unit_test(test_lesson_01_overhead_and_payload_share_the_buffer),
		cmocka_unit_test(test_lesson_01_budget_does_not_deadlock_older_guests),
		cmocka_unit_test(test_lesson_01_plain_credit_is_enough_for_the_count_rule),
		cmocka_unit_test(test_message_as_large_as_the_buffer),
	};

	return cmocka_run_group_tests_name("proto: credit against Linux", tests, NULL, NULL);
}
