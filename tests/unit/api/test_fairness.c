/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One queue, many connections: nobody starves, and one that never gives a buffer back costs the
 * others nothing but a copy. Rounds are counted, not time: a round is one poll of each side, in
 * which every connection tries to send and receive as much as it can.
 */
#include "pair.h"

#include <stdlib.h>

#define MANY 1000u

struct flow {
	struct zv_conn *tx, *rx;
	uint64_t sent, got;
};

static struct flow flows[MANY];

/* @n connections; the guest side sends when @g2h, the host side otherwise. */
static void connect_many(unsigned n, bool g2h)
{
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, MANY), 0);
	for (unsigned i = 0; i < n; i++) {
		struct zv_conn *g, *h;

		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &g), 0);
		while (zv_accept(P.h, 1000, &h) == -EAGAIN)
			pump();
		flows[i] = (struct flow){g2h ? g : h, g2h ? h : g, 0, 0};
	}
	pump();
}

static void close_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(zv_conn_close(flows[i].tx), 0);
		assert_int_equal(zv_conn_close(flows[i].rx), 0);
	}
	pump();
}

static void send_all_it_can(struct flow *f, size_t len, bool zero_copy)
{
	static char data[65536];
	struct zv_buf b[16];
	ssize_t n;

	for (;;) {
		if (zero_copy) {
			n = zv_buf_alloc(f->tx, b, 16, len);
			if (n <= 0)
				break;
			for (ssize_t i = 0; i < n; i++)
				f->sent += b[i].len;
			assert_int_equal(zv_buf_send(f->tx, b, (unsigned)n), n);
			continue;
		}
		n = zv_send(f->tx, data, len, 0);
		if (n <= 0)
			break;
		f->sent += (uint64_t)n;
	}
	assert_int_equal(n, -EAGAIN);
}

static void receive_all(struct flow *f)
{
	static char data[65536];
	ssize_t n;

	while ((n = zv_recv(f->rx, data, sizeof(data), NULL)) > 0)
		f->got += (uint64_t)n;
	assert_int_equal(n, -EAGAIN);
}

/* Events decide who acts, as in a real program. */
static void round_of(struct zv_queue *q, size_t len, bool zero_copy)
{
	struct zv_event ev[64];
	int n = zv_poll(q, ev, 64);

	for (int i = 0; i < n; i++) {
		struct flow *f = ev[i].user;

		assert_false(ev[i].events & ZV_EV_ERR);
		if ((ev[i].events & ZV_EV_IN) && ev[i].conn == f->rx)
			receive_all(f);
		if ((ev[i].events & ZV_EV_OUT) && ev[i].conn == f->tx)
			send_all_it_can(f, len, zero_copy);
	}
}

static void many_active(bool g2h, size_t len, bool zero_copy)
{
	uint64_t sum = 0, least = UINT64_MAX;

	connect_many(MANY, g2h);
	for (unsigned i = 0; i < MANY; i++) {
		zv_set_user(flows[i].tx, &flows[i]);
		zv_set_user(flows[i].rx, &flows[i]);
		send_all_it_can(&flows[i], len, zero_copy); /* all wait in line from here on */
	}
	for (unsigned r = 0; r < 40000; r++) {
		round_of(P.g, len, zero_copy);
		round_of(P.h, len, zero_copy);
	}
	for (unsigned i = 0; i < MANY; i++) {
		sum += flows[i].got;
		least = flows[i].got < least ? flows[i].got : least;
	}
	assert_true(sum > 0);
	if (least < sum / MANY / 2)
		fail_msg("slowest %llu of a mean of %llu bytes", (unsigned long long)least,
			 (unsigned long long)(sum / MANY));
	close_many(MANY);
}

static void test_slowest_of_1000_has_half_the_mean_small_guest_to_host(void **state)
{
	(void)state;
	many_active(true, 64, false);
}

static void test_slowest_of_1000_has_half_the_mean_small_host_to_guest(void **state)
{
	(void)state;
	many_active(false, 64, true);
}

static void test_slowest_of_1000_has_half_the_mean_large_guest_to_host(void **state)
{
	(void)state;
	many_active(true, 4096, false);
}

static void test_slowest_of_1000_has_half_the_mean_large_host_to_guest(void **state)
{
	(void)state;
	many_active(false, 4096, true);
}

/* One sends large, the others small: turns are counted in bytes and in buffers. */
static void test_small_messages_get_turns_beside_bulk(void **state)
{
	const unsigned n = 8;

	(void)state;
	connect_many(n, true);
	for (unsigned r = 0; r < 3000; r++) {
		for (unsigned i = 0; i < n; i++)
			send_all_it_can(&flows[i], i ? 64 : 4096, false);
		zv_poll(P.g, &(struct zv_event){0}, 1);
		zv_poll(P.h, &(struct zv_event){0}, 1);
		for (unsigned i = 0; i < n; i++)
			receive_all(&flows[i]);
	}
	for (unsigned i = 1; i < n; i++) {
		uint64_t msgs = flows[i].got / 64, bulk = flows[0].got / 4096;

		if (msgs < bulk / 2)
			fail_msg("%llu small messages beside %llu large ones",
				 (unsigned long long)msgs, (unsigned long long)bulk);
	}
	close_many(n);
}

/* What the first connection does wrong. */
enum misuse { NO_MISUSE, NEVER_RELEASES, NEVER_SENDS };

/*
 * The first connection receives and never releases, or reserves and never sends; @others go on,
 * with zero-copy calls. Their slowest must get at least half of what it gets without the first.
 */
static uint64_t slowest_beside(enum misuse misuse, bool g2h, unsigned others)
{
	struct zv_buf held[64];
	uint64_t least = UINT64_MAX;
	unsigned nheld = 0;
	int n;

	connect_many(others + 1, g2h);
	while (misuse == NEVER_SENDS && nheld < 64 &&
	       (n = zv_buf_alloc(flows[0].tx, held + nheld, 64 - nheld, 64)) > 0)
		nheld += (unsigned)n;
	for (unsigned r = 0; r < 400; r++) {
		if (misuse == NEVER_RELEASES) {
			send_all_it_can(&flows[0], 4096, false);
			while (nheld < 64 &&
			       (n = zv_buf_recv(flows[0].rx, held + nheld, 64 - nheld)) > 0)
				nheld += (unsigned)n;
		}
		for (unsigned i = 1; i <= others; i++)
			send_all_it_can(&flows[i], 512, true);
		for (unsigned k = 0; k < 4; k++) {
			zv_poll(P.g, &(struct zv_event){0}, 1);
			zv_poll(P.h, &(struct zv_event){0}, 1);
		}
		for (unsigned i = 1; i <= others; i++)
			receive_all(&flows[i]);
	}
	for (unsigned i = 1; i <= others; i++)
		least = flows[i].got < least ? flows[i].got : least;
	assert_int_equal(misuse != NO_MISUSE, nheld != 0);
	if (misuse == NEVER_SENDS)
		zv_buf_cancel(flows[0].tx, held, nheld);
	else if (nheld)
		zv_buf_release(zv_conn_queue(flows[0].rx), held, nheld);
	close_many(others + 1);
	return least;
}

static void two_hundred_beside(void **state, enum misuse misuse, bool g2h)
{
	uint64_t alone, beside;

	alone = slowest_beside(NO_MISUSE, g2h, 200);
	pair_teardown(state);
	pair_setup(state);
	beside = slowest_beside(misuse, g2h, 200);
	assert_true(alone > 0);
	if (beside < alone / 2)
		fail_msg("%llu bytes beside a connection that keeps buffers, %llu without",
			 (unsigned long long)beside, (unsigned long long)alone);
}

static void test_hog_of_received_buffers_on_the_host(void **state)
{
	two_hundred_beside(state, NEVER_RELEASES, true);
}

static void test_hog_of_received_buffers_in_the_guest(void **state)
{
	two_hundred_beside(state, NEVER_RELEASES, false);
}

/* The mirror image: one reserves transmit buffers and never sends them. */
static void test_hog_of_reserved_buffers_in_the_guest(void **state)
{
	two_hundred_beside(state, NEVER_SENDS, true);
}

static void test_hog_of_reserved_buffers_on_the_host(void **state)
{
	two_hundred_beside(state, NEVER_SENDS, false);
}

/* Each may hold half of what the others leave of half the ring. */
static void test_shares_of_reserved_buffers(void **state)
{
	static const unsigned share[] = {15, 8, 4, 2, 1}; /* of 30, 15, 7, 3, 1 */
	struct zv_buf held[5][64], b[4];

	(void)state;
	connect_many(7, true);
	for (unsigned i = 0; i < 7; i++)
		earn_buffers(flows[i].tx, 16);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(zv_buf_alloc(flows[i].tx, held[i], 64, 64), share[i]);
		assert_int_equal(zv_buf_alloc(flows[i].tx, b, 4, 64), -ENOBUFS);
	}
	/* All is lent: copying needs no loan and goes on. */
	assert_int_equal(zv_buf_alloc(flows[5].tx, b, 4, 64), -ENOBUFS);
	send_all_it_can(&flows[6], 512, false);
	assert_true(flows[6].sent > 0);
	pump();
	receive_all(&flows[6]);
	zv_buf_cancel(flows[0].tx, held[0], 15);
	assert_int_equal(zv_buf_alloc(flows[6].tx, b, 4, 64), 4);
	zv_buf_cancel(flows[6].tx, b, 4);
	for (unsigned i = 1; i < 5; i++)
		zv_buf_cancel(flows[i].tx, held[i], share[i]);
	close_many(7);
}

/*
 * A connection may hold 8 unsent at first, and as many more as it has sent or cancelled, up to 15.
 */
static void test_first_shares_of_reserved_buffers(void **state)
{
	struct zv_buf b[64], more;

	(void)state;
	connect_many(1, true);
	assert_int_equal(zv_buf_alloc(flows[0].tx, b, 64, 64), 8);
	assert_int_equal(zv_buf_alloc(flows[0].tx, &more, 1, 64), -ENOBUFS);
	zv_buf_cancel(flows[0].tx, b, 2);
	assert_int_equal(zv_buf_send(flows[0].tx, b + 2, 2), 2);
	assert_int_equal(zv_buf_alloc(flows[0].tx, b + 8, 56, 64), 8); /* beside the other 4 */
	assert_int_equal(zv_buf_alloc(flows[0].tx, &more, 1, 64), -ENOBUFS);
	assert_int_equal(zv_buf_send(flows[0].tx, b + 4, 12), 12);
	pump();
	receive_all(&flows[0]);
	assert_int_equal(zv_buf_alloc(flows[0].tx, b, 64, 64), 15);
	assert_int_equal(zv_buf_alloc(flows[0].tx, &more, 1, 64), -ENOBUFS);
	zv_buf_cancel(flows[0].tx, b, 15);
	close_many(1);
}

/* A connection withholds 4 descriptors at first, and as many more as it has given back, up to 16.
 */
static void test_shares_of_received_buffers(void **state)
{
	static const unsigned share[] = {4, 8, 16, 16};
	static const char data[64];
	struct zv_buf b[64];

	(void)state;
	connect_many(1, true);
	for (unsigned k = 0; k < 4; k++) {
		int n;

		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(zv_send(flows[0].tx, data, 64, 0), 64);
		pump();
		assert_int_equal(fake_held(ZV_ROLE_HOST, 0), share[k]);
		n = zv_buf_recv(flows[0].rx, b, 64);
		assert_true(n > 0);
		zv_buf_release(P.h, b, (unsigned)n);
		assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	}
	close_many(1);
}

/* A message on connection @i arrives, and the host gets at most @max of its events. */
static int arrives(unsigned i, struct zv_event *ev, unsigned max)
{
	assert_int_equal(zv_send(flows[i].tx, "data", 4, 0), 4);
	return zv_poll(P.h, ev, max);
}

/* The second and the third are reported before the first, which has been readable for longer. */
static void test_new_events_before_those_that_remain(void **state)
{
	struct zv_event ev[8];

	(void)state;
	connect_many(3, true);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(arrives(0, ev, 8), 1);
		assert_ptr_equal(ev[0].conn, flows[0].rx);
	}
	assert_int_equal(zv_send(flows[1].tx, "data", 4, 0), 4);
	assert_int_equal(arrives(2, ev, 8), 3);
	assert_ptr_equal(ev[0].conn, flows[1].rx);
	assert_ptr_equal(ev[1].conn, flows[2].rx);
	assert_ptr_equal(ev[2].conn, flows[0].rx);
	for (unsigned i = 0; i < 3; i++)
		receive_all(&flows[i]);
	close_many(3);
}

/*
 * The first remains readable, and of the others one becomes readable before each poll, which has
 * room for one event: all have their turn. In between some are closed, wherever they are in line.
 */
static void test_each_is_reported_one_at_a_time(void **state)
{
	const unsigned n = 6;
	unsigned times[6] = {0};
	struct zv_event ev;

	(void)state;
	connect_many(n, true);
	for (unsigned i = 0; i < n; i++)
		zv_set_user(flows[i].rx, &flows[i]);
	assert_int_equal(arrives(0, &ev, 1), 1);
	for (unsigned r = 0; r < 200; r++) {
		struct flow *f;

		assert_int_equal(arrives(1 + r % (n - 1), &ev, 1), 1);
		f = ev.user;
		times[f - flows]++;
		if (f != &flows[0])
			receive_all(f);
	}
	for (unsigned i = 0; i < n; i++)
		if (times[i] < 200 / (n + 1))
			fail_msg("connection %u was reported %u times of 200", i, times[i]);
	receive_all(&flows[0]);
	close_many(n);
}

/* Those that leave the list of ready connections, first, last and alone, take nobody with them. */
static void test_ready_connections_are_closed(void **state)
{
	static const unsigned order[3][3] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}};
	struct zv_event ev[8];

	(void)state;
	for (unsigned k = 0; k < 3; k++) {
		connect_many(4, true);
		assert_int_equal(arrives(3, ev, 8), 1);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(zv_send(flows[i].tx, "data", 4, 0), 4);
		assert_int_equal(zv_poll(P.h, ev, 1), 1);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(zv_conn_close(flows[order[k][i]].rx), 0);
			assert_int_equal(zv_poll(P.h, ev, 8), 3 - (int)i);
			assert_int_equal(arrives(3, ev, 8), 3 - (int)i);
		}
		assert_ptr_equal(ev[0].conn, flows[3].rx);
		receive_all(&flows[3]);
		assert_int_equal(zv_conn_close(flows[3].rx), 0);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(zv_conn_close(flows[i].tx), 0);
		pump();
		assert_int_equal(zv_unlisten(P.host, 1000), 0);
	}
}

/* Devices whose buffers hold 64 KiB. */
static int setup_large(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = FAKE_QUEUES, .buf_alloc = 1u << 20};

	(void)state;
	fake_config = (struct fake_config){.nbuf = 16, .buf_len = 65536, .nseg = 1};
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	return 0;
}

static void rounds_of_large(unsigned n)
{
	while (n--) {
		round_of(P.h, 65536, true);
		round_of(P.g, 65536, true);
	}
}

/* A turn lasts as long as its owner need not wait; what it has sent meanwhile must not wrap. */
static void test_a_turn_of_4_gib_leaves_the_line_intact(void **state)
{
	struct zv_event ev[4];
	struct zv_buf b;
	uint64_t before;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 2), 0);
	for (unsigned i = 0; i < 2; i++) {
		flows[i] = (struct flow){0};
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, ZV_STREAM, &flows[i].tx), 0);
		while (zv_accept(P.h, 1000, &flows[i].rx) == -EAGAIN)
			assert_true(zv_poll(P.g, ev, 4) >= 0 && zv_poll(P.h, ev, 4) >= 0);
		zv_set_user(flows[i].tx, &flows[i]);
		zv_set_user(flows[i].rx, &flows[i]);
	}
	assert_true(zv_poll(P.g, ev, 4) >= 0); /* RESPONSE */
	for (unsigned i = 0; i < 2; i++)
		send_all_it_can(&flows[i], 65536, true);
	rounds_of_large(8); /* both have had turns */
	zv_set_events(flows[1].tx, 0);
	for (unsigned i = 0; i < 70000; i++) {
		if (zv_buf_alloc(flows[0].tx, &b, 1, 65536) == 1)
			assert_int_equal(zv_buf_send(flows[0].tx, &b, 1), 1);
		assert_true(zv_poll(P.h, ev, 4) >= 0);
		for (unsigned k = 0; k < 2; k++)
			while (zv_buf_recv(flows[k].rx, &b, 1) == 1)
				zv_buf_release(P.h, &b, 1);
		assert_true(zv_poll(P.g, ev, 4) >= 0);
	}
	zv_set_events(flows[1].tx, UINT32_MAX);
	for (unsigned i = 0; i < 2; i++)
		send_all_it_can(&flows[i], 65536, true);
	before = flows[1].got;
	rounds_of_large(200);
	assert_true(flows[1].got > before + (4u << 20));
	close_many(2);
}

static int setup_many(void **state)
{
	(void)state;
	return pair_setup(state);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_many, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_slowest_of_1000_has_half_the_mean_small_guest_to_host),
		T(test_slowest_of_1000_has_half_the_mean_small_host_to_guest),
		T(test_slowest_of_1000_has_half_the_mean_large_guest_to_host),
		T(test_slowest_of_1000_has_half_the_mean_large_host_to_guest),
		T(test_small_messages_get_turns_beside_bulk),
		T(test_hog_of_received_buffers_on_the_host),
		T(test_hog_of_received_buffers_in_the_guest),
		T(test_hog_of_reserved_buffers_in_the_guest),
		T(test_hog_of_reserved_buffers_on_the_host),
		T(test_shares_of_reserved_buffers),
		T(test_first_shares_of_reserved_buffers),
		T(test_shares_of_received_buffers),
		T(test_new_events_before_those_that_remain),
		T(test_each_is_reported_one_at_a_time),
		T(test_ready_connections_are_closed),
		cmocka_unit_test_setup_teardown(test_a_turn_of_4_gib_leaves_the_line_intact,
						setup_large, pair_teardown),
	};

	return cmocka_run_group_tests_name("fairness", tests, NULL, NULL);
}
