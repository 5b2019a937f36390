/* SPDX-License-Identifier: BSD-3-Clause */
/* What received payload may cost: zv_opts.rx_memory, and that it comes back. */
#include "pair.h"
#include "socket/conn/rx_loan.h"

#define QUEUE_MEMORY (1u << 20) /* of each of the two queues */
#define BUF_ALLOC    65536u
#define CONNS	     400u

static int setup(void **state)
{
	(void)state;
	return pair_open(&(struct zv_opts){.buf_alloc = BUF_ALLOC, .rx_memory = 2 * QUEUE_MEMORY});
}

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
	return s;
}

/* Sends until the credit is used up; what went. */
static uint32_t fill(struct zv_conn *c)
{
	static const char data[4096];
	uint32_t sent = 0;
	ssize_t n;

	for (int idle = 0; idle < 3; idle++) {
		while ((n = zv_send(c, data, sizeof(data), 0)) > 0) {
			sent += (uint32_t)n;
			idle = 0;
		}
		assert_int_equal(n, -EAGAIN);
		pump();
	}
	return sent;
}

static uint32_t drain(struct zv_conn *c)
{
	char got[4096];
	uint32_t all = 0;
	ssize_t n;

	while ((n = zv_recv(c, got, sizeof(got), NULL)) > 0)
		all += (uint32_t)n;
	return all;
}

/* Nobody reads, and everybody has sent what it may: the sum is bounded, and every byte is there. */
static void credit_is_promised_as_memory_allows(void **state)
{
	static struct zv_conn *g[CONNS], *h[CONNS];
	static uint32_t sent[CONNS];
	uint64_t all = 0;

	(void)state;
	for (unsigned i = 0; i < CONNS; i++) {
		connect_pair(ZV_STREAM, 1000, &g[i], &h[i]);
		sent[i] = fill(g[i]);
		assert_true(sent[i] >= 4096);
		assert_true(i == 0 || sent[i] <= sent[i - 1]);
		all += sent[i];
	}
	assert_true(sent[0] <= QUEUE_MEMORY / 64 && sent[CONNS - 1] == 4096);
	assert_true(all <= QUEUE_MEMORY + CONNS * 4096);
	assert_true(all >= QUEUE_MEMORY / 2);
	assert_true(stats(P.h).rx_promised >= all);
	assert_true(stats(P.h).rx_promised <= QUEUE_MEMORY + CONNS * 4096);
	assert_true(stats(P.h).rx_private <= all + CONNS * 4096);
	assert_true(stats(P.h).rx_private >= all / 2);
	for (unsigned i = 0; i < CONNS; i++) {
		uint32_t got = 0;

		for (int quiet = 0; quiet < 3; quiet++) {
			got += drain(h[i]);
			pump();
		}
		assert_int_equal(got, sent[i]);
		assert_int_equal(zv_conn_close(g[i]), 0);
		assert_int_equal(zv_conn_close(h[i]), 0);
	}
	pump();
	assert_int_equal(stats(P.h).rx_private, 0);
	assert_int_equal(stats(P.g).rx_private, 0);
	/* what is left is that of the control connection */
	assert_true(stats(P.h).rx_promised <= BUF_ALLOC);
}

/* A closed connection whose payload nobody has read gives all of it back. */
static void unread_payload_comes_back(void **state)
{
	struct zv_conn *g, *h;
	uint64_t before = stats(P.h).rx_promised;

	(void)state;
	for (int reset = 0; reset < 2; reset++) {
		connect_pair(ZV_STREAM, 1000, &g, &h);
		assert_true(fill(g) > 0);
		assert_true(stats(P.h).rx_promised > before);
		assert_int_equal(reset ? zv_conn_reset(h) : zv_conn_close(h), 0);
		pump();
		assert_int_equal(zv_conn_close(g), 0);
		pump();
		assert_int_equal(stats(P.h).rx_private, 0);
		assert_int_equal(stats(P.h).rx_promised, before);
	}
}

/* A message costs more than its bytes: its sender gets less credit, and it can still be sent. */
static void messages_are_promised_more_than_their_bytes(void **state)
{
	struct zv_conn *g, *h;
	uint64_t before = stats(P.h).rx_promised;
	struct zv_conn_info info = {.size = sizeof(info)};

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	assert_int_equal(zv_conn_info(g, &info), 0);
	assert_in_range(info.peer_buf_alloc, 4096, QUEUE_MEMORY / 64);
	assert_int_equal(stats(P.h).rx_promised - before, 8 * info.peer_buf_alloc);
	assert_int_equal(zv_send(g, "message", 7, 0), 7);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* Sends messages of a byte for as long as there is credit; how many. */
static unsigned send_tiny(struct zv_conn *c)
{
	unsigned sent = 0;

	for (int idle = 0; idle < 3; idle++) {
		while (zv_send(c, "t", 1, 0) == 1) {
			sent++;
			idle = 0;
		}
		pump();
	}
	return sent;
}

/* @n of them, from a peer that counts bytes only. */
static void inject_tiny(struct zv_conn *g, unsigned n)
{
	struct vsock_hdr hdr = hdr_like(g, VSOCK_OP_RW, 1);

	hdr.type = VSOCK_TYPE_SEQPACKET;
	hdr.flags = VSOCK_SEQ_EOM;
	while (n--) {
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, "t"), 0);
		if (n % 8 == 0)
			pump();
	}
}

static unsigned take_tiny(struct zv_conn *c)
{
	unsigned n = 0;
	char byte;

	while (zv_recv(c, &byte, 1, NULL) == 1)
		n++;
	return n;
}

/*
 * A peer that does not charge itself for each message, and sends tiny ones that nobody reads: what
 * they take is bounded as the promise is. Who has sent few has all of them.
 */
static void tiny_messages_take_what_is_promised(void **state)
{
	static struct zv_conn *g[CONNS], *h[CONNS], *small[2];
	uint64_t taken = 0;
	unsigned cut = 0;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &small[0], &small[1]);
	inject_tiny(small[0], 100);
	for (unsigned i = 0; i < CONNS; i++)
		connect_pair(ZV_SEQPACKET, 1000, &g[i], &h[i]);
	for (unsigned i = 0; i < CONNS; i++)
		inject_tiny(g[i], 1000);
	inject_tiny(small[0], 50);
	for (unsigned i = 0; i < CONNS; i++) {
		unsigned n = take_tiny(h[i]);

		taken += n;
		cut += n < 1000;
	}
	assert_in_range(cut, CONNS / 2, CONNS - 1);
	assert_true(taken * (sizeof(struct rx_entry) + 32) <=
		    QUEUE_MEMORY + CONNS * (uint64_t)8 * 4096);
	assert_int_equal(take_tiny(small[1]), 150);
	for (unsigned i = 0; i < CONNS; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
	zv_conn_close(small[0]);
	zv_conn_close(small[1]);
	pump();
	assert_int_equal(stats(P.h).rx_private, 0);
}

/* Peers that charge for it lose no message, however little memory there is. */
static void tiny_messages_within_credit_arrive(void **state)
{
	static struct zv_conn *g[CONNS / 4], *h[CONNS / 4];
	static unsigned sent[CONNS / 4];

	(void)state;
	for (unsigned i = 0; i < CONNS / 4; i++) {
		connect_pair(ZV_SEQPACKET, 1000, &g[i], &h[i]);
		sent[i] = send_tiny(g[i]);
		assert_true(sent[i] >= 4096 / 17);
	}
	for (unsigned i = 0; i < CONNS / 4; i++) {
		assert_int_equal(take_tiny(h[i]), sent[i]);
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
}

/* Whoever asks for large windows gets them, without a word about rx_memory. */
static void a_large_window_has_its_memory(void **state)
{
	struct zv_conn *g, *h;
	struct zv_conn_info info = {.size = sizeof(info)};

	(void)state;
	assert_int_equal(pair_open(&(struct zv_opts){.buf_alloc = 64u << 20}), 0);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_conn_info(g, &info), 0);
	/* the control connection has had some */
	assert_in_range(info.peer_buf_alloc, (64u << 20) - (2u << 20), 64u << 20);
	zv_conn_close(g);
	zv_conn_close(h);
	(void)pair_teardown(NULL);
}

/* Many messages that end at once are released by several polls, and so is the memory of their
 * entries. */
static void the_end_of_many_messages_is_bounded(void **state)
{
	enum { MSGS = 6000, OF_A_POLL = 1024 };
	const struct zv_opts o = {.buf_alloc = 1u << 20, .rx_memory = 64u << 20};
	struct zv_conn *g, *h;
	struct zv_event ev[4];
	uint32_t used;
	int ret;

	(void)state;
	assert_int_equal(pair_open(&o), 0);
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	for (unsigned i = 0; i < MSGS; i++) {
		while ((ret = (int)zv_send(g, "x", 1, 0)) == -EAGAIN)
			pump();
		assert_int_equal(ret, 1);
	}
	pump();
	assert_int_equal(h->rx.queued, MSGS);
	used = P.h->rx.used;
	assert_int_equal(zv_conn_close(h), 0);
	for (unsigned polls = 0; P.h->rx.used; polls++) {
		assert_true(polls <= MSGS / OF_A_POLL);
		assert_true(used - P.h->rx.used <= OF_A_POLL);
		used = P.h->rx.used;
		assert_int_equal(zv_arm(P.h), -EAGAIN); /* it may not sleep */
		(void)zv_poll(P.h, ev, 4);
	}
	while (P.h->rx.chores)
		(void)zv_poll(P.h, ev, 4);
	assert_in_range(P.h->rx.touched, 1, 4096);
	zv_conn_close(g);
	pump();
	(void)pair_teardown(NULL);
}

static void too_little_is_refused(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .rx_memory = 65535};
	struct zv_dev *dev;

	(void)state;
	assert_int_equal(zv_open(&dev, "fakehost:", &o), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "rx_memory"));
}

/* ---- what waits for the application ---- */

/* The count is that of the entries, and @want. */
static void assert_waiting(const struct zv_conn *c, uint32_t want)
{
	uint32_t sum = 0;

	for (uint32_t i = c->rx.head; i != LOAN_NONE; i = c->q->rx.e[i].next)
		sum += c->q->rx.e[i].len + c->q->rx.e[i].extra;
	assert_int_equal(sum, want);
	assert_int_equal(rx_waiting(c), want);
}

static void bytes_on_loan_do_not_wait(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b[3];
	char data[100] = {0};
	uint32_t flags = ZV_PEEK;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	for (int i = 0; i < 4; i++)
		assert_int_equal(zv_send(g, data, sizeof(data), 0), sizeof(data));
	pump();
	assert_waiting(h, 400);
	assert_int_equal(zv_recv(h, data, 30, &flags), 30); /* a look takes nothing */
	assert_waiting(h, 400);
	assert_int_equal(zv_recv(h, data, 30, NULL), 30);
	assert_waiting(h, 370);
	assert_int_equal(zv_buf_recv(h, b, 2), 2); /* 70 and 100 */
	assert_waiting(h, 200);
	assert_int_equal(zv_recv(h, data, 100, NULL), 100);
	zv_buf_release(P.h, b + 1, 1);
	zv_buf_release(P.h, b + 1, 1); /* refused: counted once */
	assert_waiting(h, 100);
	assert_int_equal(zv_conn_close(g), 0); /* what waits and what is lent outlive the peer */
	pump();
	assert_waiting(h, 100);
	zv_buf_release(P.h, b, 1);
	assert_int_equal(zv_buf_recv(h, b, 3), 1);
	assert_waiting(h, 0);
	zv_buf_release(P.h, b, 1);
	assert_waiting(h, 0);
	assert_int_equal(zv_conn_close(h), 0);
}

/* The last of it lies in private memory, which packets share. */
static void copied_bytes_wait_too(void **state)
{
	struct zv_conn *g, *h;
	uint64_t before = stats(P.h).rx_copied;
	struct zv_buf b;
	uint32_t all = 0, left;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while (stats(P.h).rx_copied < before + 3) {
		assert_int_equal(zv_send(g, "sixteen bytes...", 16, 0), 16);
		all += 16;
		pump();
	}
	assert_waiting(h, all);
	for (left = all; zv_buf_recv(h, &b, 1) == 1; zv_buf_release(P.h, &b, 1)) {
		left -= b.len;
		assert_waiting(h, left);
	}
	assert_int_equal(left, 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void messages_wait_until_they_are_taken(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b;
	char got[8];

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	assert_int_equal(zv_send(g, "", 0, 0), 0);
	assert_int_equal(zv_send(g, "message", 7, 0), 7);
	assert_int_equal(zv_send(g, "", 0, 0), 0);
	pump();
	assert_waiting(h, 9); /* an empty one counts as a byte */
	assert_int_equal(zv_buf_recv(h, &b, 1), 1);
	assert_waiting(h, 8);
	assert_int_equal(zv_recv(h, got, 3, NULL), 3); /* the rest of it is lost */
	assert_waiting(h, 1);
	zv_buf_release(P.h, &b, 1);
	assert_waiting(h, 1);
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), 0);
	assert_waiting(h, 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(credit_is_promised_as_memory_allows),
		T(unread_payload_comes_back),
		T(messages_are_promised_more_than_their_bytes),
		T(tiny_messages_take_what_is_promised),
		T(tiny_messages_within_credit_arrive),
		T(bytes_on_loan_do_not_wait),
		T(copied_bytes_wait_too),
		T(messages_wait_until_they_are_taken),
		cmocka_unit_test(a_large_window_has_its_memory),
		cmocka_unit_test(the_end_of_many_messages_is_bounded),
		cmocka_unit_test(too_little_is_refused),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
