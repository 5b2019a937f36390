/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit against a model of a Linux guest's receiving socket.
 *
 * Newer kernels charge every packet in a socket's queue an skb's size and reset the stream when
 * that exceeds buf_alloc. The model keeps the queue skb by skb, as the kernel does: small packets
 * are appended to the last one, fwd_cnt moves by whole skbs, and consumed bytes are reported by
 * each kernel's own rule, so that a sender that waits for a report that never comes is seen to be
 * stuck. No time is involved: a round lets the sender send, the reader read, and reports travel.
 */
#include "proto_test.h"

#include "proto/vsock/vsock_credit.h"

#include <string.h>

#define KIB	 1024u
#define SKB_SIZE 576u /* SKB_TRUESIZE(0) */
#define MAX_PKT	 65536u
#define QUEUE	 16384u
#define RX_BUF	 3732u /* payload that fits into a receive buffer: 4 KiB less two headers */

/* net/vmw_vsock/virtio_transport_common.c, as of Debian's 6.1.192 and 6.12.117 and upstream's logs.
 */
enum rule {
	RULE_BYTES,    /* 6.1; 6.12 up to .93: bytes only */
	RULE_COUNT,    /* 6.12.94: payload and overhead have buf_alloc each */
	RULE_COLLAPSE, /* 6.12.101: the same, but copies skbs together before that is used up */
	RULE_JOINT,    /* before 7.1, in no release: they share buf_alloc */
	RULES
};

struct skb {
	uint32_t len, read, room;
};

struct guest {
	enum rule rule;
	bool old; /* before 6.1.y learnt of it: does not report a queue that has run empty */
	uint32_t buf_alloc;
	struct skb q[QUEUE];
	uint32_t head, count;
	uint32_t used; /* payload bytes of skbs not wholly read */
	uint32_t fwd_cnt, told;
	uint32_t most_queued;
	bool update; /* CREDIT_UPDATE is on its way */
};

static struct skb *at(struct guest *g, uint32_t i)
{
	return &g->q[(g->head + i) % QUEUE];
}

/* Copies skbs that are not partly read together, two by two, until two are free. */
static void collapse(struct guest *g)
{
	uint32_t kept = 0, freed = 0;

	for (uint32_t i = 0; i < g->count; i++) {
		struct skb s = *at(g, i);

		if (freed < 2 && kept && !at(g, kept - 1)->read && !s.read) {
			at(g, kept - 1)->len += s.len;
			at(g, kept - 1)->room = 0;
			freed++;
		} else {
			*at(g, kept++) = s;
		}
	}
	g->count = kept;
}

/* False: the kernel would reset the stream. @cap: the buffer that the packet came in. */
static bool guest_enqueue(struct guest *g, uint32_t len, uint32_t cap)
{
	uint64_t payload = (uint64_t)g->used + len, overhead;
	struct skb *last = g->count ? at(g, g->count - 1) : NULL;

	if (g->rule == RULE_COLLAPSE && g->count >= g->buf_alloc / SKB_SIZE) {
		collapse(g);
		last = g->count ? at(g, g->count - 1) : NULL;
	}
	overhead = (uint64_t)(g->count + 1) * SKB_SIZE;
	if (payload > g->buf_alloc || g->count == QUEUE)
		return false;
	if ((g->rule == RULE_COUNT || g->rule == RULE_COLLAPSE) && overhead > g->buf_alloc)
		return false;
	if (g->rule == RULE_JOINT && overhead + payload > g->buf_alloc)
		return false;
	g->used += len;
	if (last && len <= 128 && len < last->room) {
		last->len += len;
		last->room -= len;
		return true;
	}
	*at(g, g->count++) = (struct skb){len, 0, cap > len ? cap - len : 0};
	if (g->count > g->most_queued)
		g->most_queued = g->count;
	return true;
}

/* The application reads up to @want bytes; fwd_cnt moves by whole skbs. */
static void guest_read(struct guest *g, uint32_t want)
{
	uint32_t untold, window = g->buf_alloc < MAX_PKT ? g->buf_alloc : MAX_PKT;
	bool low;

	while (g->count && want) {
		struct skb *s = at(g, 0);
		uint32_t n = s->len - s->read < want ? s->len - s->read : want;

		want -= n;
		s->read += n;
		if (s->read < s->len)
			break;
		g->head = (g->head + 1) % QUEUE;
		g->count--;
		g->used -= s->len;
		g->fwd_cnt += s->len;
	}
	untold = g->fwd_cnt - g->told;
	low = !g->old && g->count == 0; /* a reader would wait for more */
	if (untold && (low || g->buf_alloc - untold < window))
		g->update = true;
}

static void guest_report(struct guest *g, struct vsock_credit *c)
{
	assert_true(credit_peer_update(c, g->buf_alloc, g->fwd_cnt));
	g->told = g->fwd_cnt;
	g->update = false;
}

static void begin(struct guest *g, struct vsock_credit *c, enum rule rule, uint32_t buf_alloc)
{
	/* with fast readers the counters wrap */
	*g = (struct guest){.rule = rule, .buf_alloc = buf_alloc};
	g->fwd_cnt = g->told = 0xffff0000;
	credit_init(c, 256 * KIB);
	c->tx_cnt = c->peer_fwd_cnt = g->fwd_cnt;
	assert_true(credit_peer_update(c, buf_alloc, g->fwd_cnt));
	credit_limit_packets(c, CREDIT_PKT_OVERHEAD);
}

/* Sends up to @len bytes as stream.c does. Bytes sent. */
static uint32_t send_some(struct vsock_credit *c, struct guest *g, uint32_t len, uint32_t cap)
{
	uint32_t done = 0, free;

	while (done < len && (free = credit_tx_free(c)) != 0) {
		uint32_t n = len - done < free ? len - done : free;

		n = n < cap ? n : cap;
		n = credit_tx_pkt_len(c, n, cap, 0);
		credit_tx_sent(c, n, cap);
		assert_true(guest_enqueue(g, n, cap));
		assert_true(c->pkt_unread >= g->count);
		done += n;
	}
	return done;
}

static const struct {
	uint32_t min, max;
} sizes[] = {{1, 1},	   {20, 20},	 {1, 64},      {127, 130},
	     {200, 200},   {100, 700},	 {575, 577},   {1000, 1000},
	     {1, MAX_PKT}, {3000, 3732}, {4096, 4096}, {MAX_PKT, MAX_PKT}};

/* The reader comes when all is there (SO_RCVLOWAT, MSG_PEEK, a late accept): all must come. */
static void late_reader(enum rule rule, uint32_t buf_alloc, unsigned size, uint32_t cap)
{
	static struct guest g;
	struct vsock_credit c;
	uint64_t seed = 1 + size;

	begin(&g, &c, rule, buf_alloc);
	for (unsigned round = 0; round < 3; round++) {
		uint32_t sent = 0;

		while (sent < buf_alloc) {
			uint32_t n = test_between(&seed, sizes[size].min, sizes[size].max);

			n = send_some(&c, &g, n, cap);
			assert_int_not_equal(n, 0); /* bytes are free, and nothing is sent */
			sent += n;
		}
		assert_int_equal(g.used, buf_alloc);
		guest_read(&g, buf_alloc);
		guest_report(&g, &c);
	}
}

static void late_readers(enum rule rule)
{
	static const uint32_t bufs[] = {2 * SKB_SIZE, 2048,	     2049,     3000,
					4096,	      8192,	     16384,    100000,
					256 * KIB,    256 * KIB + 1, 600 * KIB};

	for (unsigned b = 0; b < COUNT_OF(bufs); b++)
		for (unsigned s = 0; s < COUNT_OF(sizes); s++) {
			late_reader(rule, bufs[b], s, RX_BUF);
			late_reader(rule, bufs[b], s, 4096);
		}
}

static void test_late_reader_gets_every_byte(void **state)
{
	(void)state;
	late_readers(RULE_BYTES);
	late_readers(RULE_COUNT);
	late_readers(RULE_COLLAPSE);
	/* A buffer below one skb: bytes only, or nothing at all. */
	for (unsigned s = 3; s < COUNT_OF(sizes); s++)
		late_reader(RULE_BYTES, 127, s, RX_BUF);
}

/* The worst for the room behind a packet: each large one leaves most of the small one's unused. */
static void test_large_and_small_in_turn(void **state)
{
	static struct guest g;
	struct vsock_credit c;

	(void)state;
	for (uint32_t large = 129; large <= RX_BUF; large += 7) {
		uint32_t sent = 0;

		begin(&g, &c, RULE_COUNT, 256 * KIB);
		for (unsigned i = 0; sent < 256 * KIB; i++) {
			uint32_t n = send_some(&c, &g, i & 1 ? large : 1 + i % 128, RX_BUF);

			assert_int_not_equal(n, 0);
			sent += n;
		}
	}
}

struct run {
	enum rule rule;
	bool old;
	unsigned size;		       /* the sender's packets */
	uint32_t reads_min, reads_max; /* bytes the reader takes in a round */
	bool slow_reader;	       /* reads only in one round of ten */
	uint64_t seed;
};

/* Bytes and packets in flight stay below every limit, and the reader never waits in vain. */
static void run_stream(const struct run *r)
{
	enum { ROUNDS = 1000, ENOUGH = 4096 * KIB };
	static struct guest g;
	uint64_t seed = r->seed;
	struct vsock_credit c;

	begin(&g, &c, r->rule, 256 * KIB);
	g.old = r->old;
	for (unsigned round = 0; round < ROUNDS && c.tx_cnt - 0xffff0000 < ENOUGH; round++) {
		while (credit_tx_free(&c))
			(void)send_some(&c, &g,
					test_between(&seed, sizes[r->size].min, sizes[r->size].max),
					RX_BUF);
		/* All is read, the guest has said so or was asked, and still nothing was sent? */
		assert_int_not_equal(g.count, 0);
		if (!r->slow_reader || round % 10 == 9)
			guest_read(&g, test_between(&seed, r->reads_min, r->reads_max));
		/* One that does not report by itself must be asked, and answers with what it has.
		 */
		if (g.update || r->old)
			guest_report(&g, &c);
	}
	assert_true(r->rule == RULE_BYTES || g.most_queued * SKB_SIZE <= 256 * KIB);
}

static void run_all(enum rule rule, bool old)
{
	static const struct {
		uint32_t min, max;
	} reads[] = {{1, 1}, {1, 100}, {1, 20000}, {4096, 4096}, {256 * KIB, 256 * KIB}};

	for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
		for (unsigned k = 0; k < COUNT_OF(reads) * 2; k++) {
			struct run r = {
				.rule = rule,
				.old = old,
				.size = i,
				.reads_min = reads[k / 2].min,
				.reads_max = reads[k / 2].max,
				.slow_reader = k & 1,
				.seed = 1 + i * 100 + k,
			};

			run_stream(&r);
		}
	}
}

static void test_kernels_that_count_packets_reset_no_stream(void **state)
{
	(void)state;
	run_all(RULE_COUNT, false);
	run_all(RULE_COLLAPSE, false);
}

static void test_the_packet_budget_stalls_no_older_kernel(void **state)
{
	(void)state;
	run_all(RULE_BYTES, false);
	run_all(RULE_BYTES, true);
}

/* The model is worth something: without the budget it does refuse. */
static void test_model_refuses_a_sender_without_budget(void **state)
{
	static struct guest g;
	struct vsock_credit c;
	unsigned n = 0;

	(void)state;
	begin(&g, &c, RULE_COUNT, 256 * KIB);
	while (guest_enqueue(&g, 129, RX_BUF))
		n++;
	assert_int_equal(n, 256 * KIB / SKB_SIZE);
	begin(&g, &c, RULE_COUNT, 256 * KIB);
	for (n = 0; guest_enqueue(&g, 1, 0); n++) /* a host kernel's queue: nothing is joined */
		;
	assert_int_equal(n, 256 * KIB / SKB_SIZE);
	begin(&g, &c, RULE_COLLAPSE, 256 * KIB);
	for (n = 0; guest_enqueue(&g, 129, RX_BUF); n++)
		;
	assert_int_equal(n, 256 * KIB / 129);
}

/*
 * The joint rule: no sender can both use the credit that it was given and stay below the limit.
 * This one keeps to the credit; the model says what that costs there.
 */
static void test_credit_that_the_kernel_takes_back(void **state)
{
	static struct guest g;
	struct vsock_credit c;
	uint32_t sent = 0;

	(void)state;
	begin(&g, &c, RULE_JOINT, 256 * KIB);
	while (guest_enqueue(&g, RX_BUF, RX_BUF))
		sent += RX_BUF;
	assert_in_range(sent, 256 * KIB * 85 / 100, 256 * KIB * 86 / 100);
}

/*
 * A peer that joins nothing (the kernel of a host, as the guest's driver meets it) and a program
 * that writes now and then: once the budget is used up, answers that show that nothing is read let
 * one packet go each, with all that was written meanwhile. Asked as tx.c asks: every 5 ms, 50 ms,
 * 500 ms. Returns the milliseconds until @lowat bytes were there.
 */
static unsigned trickle(enum rule rule, uint32_t write, unsigned every_ms, uint32_t lowat)
{
	static struct guest g;
	struct vsock_credit c;
	uint32_t waiting = 0, asked = 0;
	unsigned next = 0, ms;

	begin(&g, &c, rule, 256 * KIB);
	for (ms = 0; g.used < lowat; ms++) {
		assert_in_range(ms, 0, 3600 * 1000);
		if (ms % every_ms == 0)
			waiting += write;
		if (!credit_tx_free(&c) && ms >= next) {
			(void)credit_allow_extra(&c, asked);
			next = ms + (asked < 16 ? 5 : asked < 16 + 40 ? 50 : 500);
			asked++;
		}
		while (waiting && credit_tx_free(&c)) {
			uint32_t n = waiting < MAX_PKT ? waiting : MAX_PKT,
				 free = credit_tx_free(&c);

			n = n < free ? n : free;
			credit_tx_sent(&c, n, 0);
			assert_true(guest_enqueue(&g, n, 0));
			waiting -= n;
		}
	}
	return ms;
}

static void test_a_trickle_reaches_the_low_water_mark(void **state)
{
	(void)state;
	for (enum rule rule = RULE_BYTES; rule <= RULE_COUNT; rule++) {
		assert_in_range(trickle(rule, 20, 3, 16384), 1, 4000);
		assert_in_range(trickle(rule, 200, 1, 100000), 1, 2000);
		assert_in_range(trickle(rule, 129, 1, 256 * KIB), 1, 4000);
	}
}

/* A SEQPACKET message as large as the peer's buffer is sent whole to a peer that has read all. */
static void test_message_as_large_as_the_buffer(void **state)
{
	static struct guest g;
	struct vsock_credit c;

	(void)state;
	begin(&g, &c, RULE_COUNT, 256 * KIB);
	for (unsigned message = 0; message < 10; message++) {
		assert_int_equal(credit_tx_free(&c), 256 * KIB);
		for (unsigned i = 0; i < 256 * KIB / 4096; i++) {
			assert_int_not_equal(credit_tx_packets(&c), 0);
			credit_tx_sent(&c, 4096, 0);
			assert_true(guest_enqueue(&g, 4096, 4096));
		}
		assert_int_equal(credit_tx_free(&c), 0);
		guest_read(&g, 256 * KIB);
		guest_report(&g, &c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model_refuses_a_sender_without_budget),
		cmocka_unit_test(test_late_reader_gets_every_byte),
		cmocka_unit_test(test_large_and_small_in_turn),
		cmocka_unit_test(test_a_trickle_reaches_the_low_water_mark),
		cmocka_unit_test(test_kernels_that_count_packets_reset_no_stream),
		cmocka_unit_test(test_the_packet_budget_stalls_no_older_kernel),
		cmocka_unit_test(test_credit_that_the_kernel_takes_back),
		cmocka_unit_test(test_message_as_large_as_the_buffer),
	};

	return cmocka_run_group_tests_name("proto: credit against Linux", tests, NULL, NULL);
}
