/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection and what follows from it: HELLO waits for a buffer, capabilities hold as
 * long as it lives, and an honest sender of empty messages is held up, never reset.
 */
#include "pair.h"
#include "socket/conn/conn.h"

#include "proto/ctrl/hello.h"

#define CTRL_SRC 512u

/* One queue a side; nothing has been polled yet, so HELLO has not begun. */
static void open_quiet(uint32_t guest_flags, uint32_t host_flags, uint64_t hello_timeout_ns)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = 1,
			    .buf_alloc = 65536,
			    .hello_timeout_ns = hello_timeout_ns};

	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 4096, .nseg = 1};
	o.flags = host_flags;
	assert_int_equal(zv_open(&P.host, "fakehost:", &o), 0);
	o.flags = guest_flags;
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
}

static uint32_t poll_one(struct zv_queue *q)
{
	struct zv_event ev[8];
	uint32_t seen = 0;
	int n = zv_poll(q, ev, 8);

	for (int i = 0; i < n; i++)
		seen |= ev[i].events;
	return seen;
}

static void polls(unsigned n)
{
	while (n--) {
		(void)poll_one(P.g);
		(void)poll_one(P.h);
	}
}

static enum zv_peer_kind peer_of(struct zv_dev *dev)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	assert_int_equal(zv_dev_info(dev, &info), 0);
	return info.peer;
}

static void assert_peers(enum zv_peer_kind of_guest, enum zv_peer_kind of_host)
{
	assert_int_equal(peer_of(P.guest), of_guest);
	assert_int_equal(peer_of(P.host), of_host);
}

/* ---- HELLO without a buffer ---- */

static void test_request_and_hello_wait_for_a_buffer(void **state)
{
	(void)state;
	open_quiet(0, 0, 0);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 0);
	polls(10);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 0);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 1); /* for REQUEST */
	polls(10);
	assert_peers(ZV_PEER_UNKNOWN, ZV_PEER_UNKNOWN);
	fake_limit_tx(ZV_ROLE_GUEST, 0, 1); /* for HELLO: the last buffer, kept for control */
	polls(10);
	assert_peers(ZV_PEER_ZVSOCK, ZV_PEER_ZVSOCK);
}

static void test_hello_answer_waits_for_a_buffer(void **state)
{
	(void)state;
	open_quiet(0, 0, 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, 1); /* for RESPONSE */
	polls(10);
	/* Not before the answer is on its way: what relies on it must come behind it. */
	assert_peers(ZV_PEER_UNKNOWN, ZV_PEER_UNKNOWN);
	fake_limit_tx(ZV_ROLE_HOST, 0, 1);
	polls(10);
	assert_peers(ZV_PEER_ZVSOCK, ZV_PEER_ZVSOCK);
}

static void test_hello_that_never_finds_a_buffer_times_out(void **state)
{
	for (unsigned side = 0; side < 2; side++) {
		open_quiet(0, 0, 1000000);
		fake_limit_tx(side ? ZV_ROLE_HOST : ZV_ROLE_GUEST, 0, 1);
		while (peer_of(side ? P.host : P.guest) != ZV_PEER_PLAIN)
			polls(1);
		fake_limit_tx(side ? ZV_ROLE_HOST : ZV_ROLE_GUEST, 0, -1);
		while (peer_of(side ? P.guest : P.host) != ZV_PEER_PLAIN)
			polls(1);
		if (!side)
			pair_teardown(state);
	}
}

/* ---- capabilities ---- */

static void to_guest(unsigned op, const void *payload, uint32_t len)
{
	struct vsock_hdr h = {.src_cid = ZV_CID_HOST,
			      .dst_cid = FAKE_CID,
			      .src_port = ZV_CTRL_PORT,
			      .dst_port = CTRL_SRC,
			      .len = len,
			      .type = ZV_STREAM,
			      .op = (uint16_t)op,
			      .buf_alloc = 65536};

	fake_drain(ZV_ROLE_HOST, 0); /* what the guest has said */
	assert_int_equal(fake_inject(ZV_ROLE_GUEST, 0, &h, payload), 0);
	(void)poll_one(P.g);
}

/* The test answers HELLO in the host's place. */
static void hello_with_caps(uint32_t caps)
{
	struct hello ack = {.type = CTRL_HELLO_ACK,
			    .version = ZV_CTRL_VERSION,
			    .npairs = 1,
			    .caps = caps,
			    .max_pkt = 65536};
	uint8_t wire[HELLO_WIRE_LEN];

	hello_put(wire, &ack);
	open_quiet(0, ZV_OPT_NO_HELLO, 0);
	(void)poll_one(P.g);
	to_guest(VSOCK_OP_RESPONSE, NULL, 0);
	to_guest(VSOCK_OP_RW, wire, sizeof(wire));
	assert_int_equal(peer_of(P.guest), ZV_PEER_ZVSOCK);
}

static void connect_one(enum zv_type type, struct zv_conn **g, struct zv_conn **h)
{
	assert_int_equal(zv_listen(P.host, 1000, type, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 1000, type, g), 0);
	polls(2);
	assert_int_equal(zv_accept(P.h, 1000, h), 0);
}

static void close_both(struct zv_conn *g, struct zv_conn *h)
{
	assert_int_equal(zv_conn_close(g), 0);
	assert_int_equal(zv_conn_close(h), 0);
	polls(2);
}

/* Packets of one byte that go out unread, 1,000 at most. */
static unsigned unread_packets(struct zv_conn *g)
{
	unsigned n = 0;

	while (n < 1000 && zv_send(g, "x", 1, 0) == 1) {
		n++;
		polls(1);
	}
	return n;
}

static void test_packet_budget_without_the_capability(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	hello_with_caps(ZV_CAP_BIG_PKT);
	connect_one(ZV_STREAM, &g, &h);
	assert_in_range(unread_packets(g), 60, 64); /* 65,536 / 1,024 */
	close_both(g, h);
}

static void test_packet_budget_returns_when_the_control_connection_dies(void **state)
{
	struct zv_conn *g, *h;
	char b[4096];

	(void)state;
	hello_with_caps(ZV_CAP_MANY_PKTS);
	connect_one(ZV_STREAM, &g, &h);
	assert_int_equal(unread_packets(g), 1000);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), 1000);
	polls(2);
	to_guest(VSOCK_OP_RST, NULL, 0);
	assert_int_equal(peer_of(P.guest), ZV_PEER_PLAIN);
	assert_in_range(unread_packets(g), 0, 64);
	close_both(g, h);
}

static void test_empty_messages_need_the_capability(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b[2];

	(void)state;
	hello_with_caps(ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS);
	connect_one(ZV_SEQPACKET, &g, &h);
	assert_int_equal(zv_send(g, "", 0, 0), -EINVAL);
	assert_int_equal(zv_buf_alloc(g, b, 2, 64), 2);
	memcpy(b[0].data, "data", 4);
	b[0].len = 4;
	b[1].len = 0;
	b[1].flags = ZV_EOM;
	assert_int_equal(zv_buf_send(g, b, 2), -EINVAL); /* as zv_send, and nothing was sent */
	polls(2);
	assert_int_equal(zv_recv(h, b, sizeof(b), NULL), -EAGAIN);
	assert_int_equal(zv_conn_close(g), 0); /* no buffer is out */
	assert_int_equal(zv_conn_close(h), 0);
}

/* ---- empty messages ---- */

static unsigned send_empty(struct zv_conn *c, bool zero_copy)
{
	struct zv_buf b;
	unsigned n = 0;

	for (;; n++) {
		if (!zero_copy) {
			if (zv_send(c, "", 0, 0) != 0)
				return n;
			continue;
		}
		if (zv_buf_alloc(c, &b, 1, 1) != 1)
			return n;
		b.len = 0;
		b.flags = ZV_EOM;
		assert_int_equal(zv_buf_send(c, &b, 1), 1);
	}
}

static unsigned receive_empty(struct zv_conn *c, struct zv_queue *q, bool zero_copy)
{
	struct zv_buf b[32];
	uint32_t flags;
	unsigned n = 0;
	char x;

	if (zero_copy) {
		for (int got; (got = zv_buf_recv(c, b, 32)) > 0; n += (unsigned)got)
			zv_buf_release(q, b, (unsigned)got);
		return n;
	}
	while (flags = 0, zv_recv(c, &x, 1, &flags) == 0 && (flags & ZV_EOM))
		n++;
	return n;
}

/* One side sends empty messages for ever, the other reads nothing for a long time, then all. */
static void empty_for_ever(bool g2h, bool zero_copy)
{
	struct zv_conn *g, *h, *tx, *rx;
	uint64_t sent = 0, got = 0;

	connect_one(ZV_SEQPACKET, &g, &h);
	tx = g2h ? g : h;
	rx = g2h ? h : g;
	for (unsigned lap = 0; lap < 5; lap++) {
		uint64_t before = sent;

		for (unsigned r = 0; r < 2000; r++) {
			sent += send_empty(tx, zero_copy);
			polls(1);
		}
		/* buf_alloc / 16 of them may be unread. */
		assert_true(sent > before);
		assert_true(sent - got <= 65536 / 16);
		got += receive_empty(rx, g2h ? P.h : P.g, zero_copy);
		assert_int_equal(got, sent);
		polls(2);
	}
	assert_int_equal(got, 5 * 65536 / 16);
	close_both(g, h);
}

static void test_honest_sender_of_empty_messages_is_not_reset(void **state)
{
	(void)state;
	open_quiet(0, 0, 0);
	polls(4);
	assert_peers(ZV_PEER_ZVSOCK, ZV_PEER_ZVSOCK);
	for (unsigned i = 0; i < 4; i++) {
		empty_for_ever(i & 1, i & 2);
		assert_int_equal(zv_unlisten(P.host, 1000), 0);
		polls(2);
	}
}

/* ---- buffers that are released as the connection ends ---- */

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
	return s;
}

/* The first release ends the connection; the second belongs to one that is out of the table. */
static void test_release_ends_the_connection(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b[2];

	(void)state;
	open_quiet(0, 0, 0);
	polls(4);
	connect_one(ZV_STREAM, &g, &h);
	assert_int_equal(zv_send(g, "one", 3, 0), 3);
	assert_int_equal(zv_send(g, "two", 3, 0), 3);
	assert_int_equal(zv_conn_close(g), 0);
	(void)poll_one(P.h);
	assert_int_equal(zv_buf_recv(h, b, 2), 2);
	assert_int_equal(stats(P.h).rst_sent, 0);
	zv_buf_release(P.h, b, 2);
	assert_int_equal(stats(P.h).rst_sent, 1);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	assert_true(poll_one(P.h) & ZV_EV_HUP);
	assert_int_equal(zv_conn_close(h), 0);
}

/* The application has closed, so the end frees the connection, with buffers still on loan. */
static void test_release_after_close_from_both_sides(void **state)
{
	struct zv_conn *g, *h;
	struct zv_buf b[3];

	(void)state;
	open_quiet(0, 0, 0);
	polls(4);
	connect_one(ZV_STREAM, &g, &h);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(zv_send(g, "data", 4, 0), 4);
	(void)poll_one(P.h);
	assert_int_equal(zv_buf_recv(h, b, 3), 3);
	assert_int_equal(zv_conn_close(h), 0);
	zv_buf_release(P.h, b, 1); /* closing: still in the table */
	assert_int_equal(zv_conn_close(g), 0);
	(void)poll_one(P.h); /* the peer's SHUTDOWN: freed */
	assert_memory_equal(b[1].data, "data", 4);
	zv_buf_release(P.h, b + 1, 2);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	polls(2);
}

/* Either by its own option, or because the guest lets hello_timeout go by in silence. */
static void test_a_peer_without_hello_is_plain(void **state)
{
	struct zv_opts host = {.size = sizeof(host), .queues = 2, .hello_timeout_ns = 1};
	struct zv_opts guest = {.size = sizeof(guest), .queues = 2, .flags = ZV_OPT_NO_HELLO};
	struct zv_conn *g, *h;

	(void)state;
	fake_config = (struct fake_config){.nbuf = 64, .buf_len = 4096, .nseg = 1};
	assert_int_equal(zv_open(&P.host, "fakehost:", &host), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &guest), 0);
	P.g = zv_queue(P.guest, 0);
	P.h = zv_queue(P.host, 0);
	assert_int_equal(peer_of(P.host), ZV_PEER_UNKNOWN);
	assert_int_equal(zv_arm(P.h), -EAGAIN); /* the session has not been seen */
	for (int i = 0; i < 100; i++)
		pump();
	assert_int_equal(peer_of(P.guest), ZV_PEER_PLAIN);
	assert_int_equal(peer_of(P.host), ZV_PEER_PLAIN);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	zv_conn_close(g);
	zv_conn_close(h);

	fake_new_session(false); /* nobody is attached */
	pump();
	assert_int_equal(peer_of(P.guest), ZV_PEER_UNKNOWN);
	assert_int_equal(peer_of(P.host), ZV_PEER_UNKNOWN);

	/* One that says it late is heard all the same. */
	assert_int_equal(zv_close(P.guest), 0);
	fake_new_session(true);
	for (int i = 0; i < 100; i++)
		(void)zv_poll(P.h, &(struct zv_event){0}, 1);
	assert_int_equal(peer_of(P.host), ZV_PEER_PLAIN);
	guest.flags = 0;
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &guest), 0);
	P.g = zv_queue(P.guest, 0);
	P.host->opts.hello_timeout_ns = 60000000000u;
	pump();
	assert_int_equal(peer_of(P.guest), ZV_PEER_ZVSOCK);
	assert_int_equal(peer_of(P.host), ZV_PEER_ZVSOCK);
}

/*
 * A guest with thousands of connections that begins its control connection again and again: what a
 * poll does with each of the connections is done for some of them only, and the next polls go on.
 */
static void test_budgets_are_changed_piece_by_piece(void **state)
{
	enum { CONNS = 5000 };
	static struct zv_conn *g[CONNS], *h[CONNS];
	unsigned polls_used = 0, changed = 0;

	(void)state;
	open_quiet(0, 0, 0);
	polls(20);
	assert_peers(ZV_PEER_ZVSOCK, ZV_PEER_ZVSOCK);
	assert_int_equal(zv_listen(P.host, 7, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < CONNS; i++) {
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 7, ZV_STREAM, &g[i]), 0);
		while (zv_accept(P.h, 7, &h[i]) == -EAGAIN)
			polls(1);
		assert_int_equal(h[i]->credit.pkt_overhead, 0);
	}
	polls(20);
	/* What the host sees when its guest hangs up. */
	conn_over(P.h->hello.conn, -ECONNRESET);
	do {
		unsigned before = changed;

		changed = 0;
		(void)poll_one(P.h);
		for (unsigned i = 0; i < CONNS; i++)
			changed += h[i]->credit.pkt_overhead != 0;
		assert_true(changed - before <= 256);
		if (changed < CONNS)
			assert_int_equal(zv_arm(P.h),
					 -EAGAIN); /* nobody sleeps before it is done */
		polls_used++;
	} while (changed < CONNS && polls_used < CONNS);
	assert_int_equal(changed, CONNS);
	for (unsigned i = 0; i < CONNS; i++)
		close_both(g[i], h[i]);
}

static unsigned closed_of(struct zv_conn **c, unsigned n)
{
	unsigned closed = 0;

	for (unsigned i = 0; i < n; i++)
		closed += c[i]->state == VC_CLOSED;
	return closed;
}

/*
 * A peer that goes with thousands of connections: a poll resets some of them, and until all are
 * done nothing of the next session gets in between, and no call on one of them reaches it.
 */
static void test_a_session_is_left_piece_by_piece(void **state)
{
	enum { CONNS = 5000 };
	static struct zv_conn *g[CONNS], *h[CONNS], *c;
	unsigned polls_used = 0, over = 0;

	(void)state;
	open_quiet(ZV_OPT_NO_HELLO, ZV_OPT_NO_HELLO, 0);
	polls(20);
	assert_int_equal(zv_listen(P.host, 7, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < CONNS; i++) {
		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 7, ZV_STREAM, &g[i]), 0);
		while (zv_accept(P.h, 7, &h[i]) == -EAGAIN)
			polls(1);
	}
	polls(20);
	fake_new_session(true);
	do {
		unsigned before = closed_of(h, CONNS);

		(void)poll_one(P.h);
		over = closed_of(h, CONNS);
		assert_in_range(over - before, 1, polls_used ? 256 : 512);
		if (over == CONNS)
			break;
		assert_int_equal(zv_arm(P.h), -EAGAIN);
		assert_int_equal(zv_connect(P.h, 0, 7, ZV_STREAM, &c), -ENETDOWN);
		/* The last one's turn would come last: it goes alone, and no other with it. */
		assert_int_equal(zv_send(h[CONNS - 1], "x", 1, 0), -ECONNRESET);
		assert_in_range(closed_of(h, CONNS) - over, 0, 1);
	} while (polls_used++ < CONNS);
	assert_int_equal(over, CONNS);
	assert_in_range(polls_used, CONNS / 256 / 2, CONNS);
	assert_int_equal(fake_pending(ZV_ROLE_GUEST, 0), 0);
	for (unsigned i = 0; i < CONNS; i++) {
		assert_int_equal(h[i]->err, -ECONNRESET);
		assert_int_equal(zv_conn_close(h[i]), 0);
	}
	while (zv_connect(P.g, ZV_CID_HOST, 7, ZV_STREAM, &c) == -ENETDOWN)
		polls(1);
	while (zv_accept(P.h, 7, &h[0]) == -EAGAIN)
		polls(1);
	polls(2);
	assert_int_equal(zv_send(c, "new", 3, 0), 3);
	for (unsigned i = 0; i < CONNS; i++)
		assert_int_equal(zv_conn_close(g[i]), 0);
	close_both(c, h[0]);
}

int main(void)
{
#define T(f) cmocka_unit_test_teardown(f, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_request_and_hello_wait_for_a_buffer),
		T(test_hello_answer_waits_for_a_buffer),
		T(test_hello_that_never_finds_a_buffer_times_out),
		T(test_packet_budget_without_the_capability),
		T(test_packet_budget_returns_when_the_control_connection_dies),
		T(test_empty_messages_need_the_capability),
		T(test_honest_sender_of_empty_messages_is_not_reset),
		T(test_release_ends_the_connection),
		T(test_release_after_close_from_both_sides),
		T(test_a_peer_without_hello_is_plain),
		T(test_budgets_are_changed_piece_by_piece),
		T(test_a_session_is_left_piece_by_piece),
	};

	return cmocka_run_group_tests_name("control connection", tests, NULL, NULL);
}
