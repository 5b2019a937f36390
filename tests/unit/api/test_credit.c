/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit through the public calls: no byte that the peer has room for waits for ever, in either
 * direction, and nobody is told more often than need be.
 */
#include "pair.h"

#include "socket/core/timer.h"
#include "socket/tx/tx_wait.h"

#include <unistd.h>

enum way { COPIED, GATHERED, IN_PLACE };

static ssize_t send_by(enum way way, struct zv_conn *c, const uint8_t *data, size_t len)
{
	struct zv_buf b;
	int n;

	if (way == COPIED)
		return zv_send(c, data, len, 0);
	if (way == GATHERED) {
		ssize_t done = zv_send(c, data, (len + 1) / 2, ZV_MORE);

		if (done > 0) {
			ssize_t more = zv_send(c, data + done, len - (size_t)done, 0);

			done += more > 0 ? more : 0;
		}
		return done;
	}
	n = zv_buf_alloc(c, &b, 1, len);
	if (n < 0)
		return n;
	b.len = b.capacity < len ? b.capacity : (uint32_t)len;
	memcpy(b.data, data, b.len);
	n = zv_buf_send(c, &b, 1);
	return n < 0 ? n : (ssize_t)b.len;
}

/* The time between two questions is over. */
static void ask_again(struct zv_conn *c)
{
	assert_true(c->flags & CF_TIMER);
	assert_true(c->timer.which >= TIMER_CREDIT);
	conn_timer_stop(c);
	tx_credit_retry(c);
}

/*
 * Writes of @len bytes to a stock peer that reads nothing before its whole buffer is full. A guest
 * joins small packets, so nothing ever waits; a host joins none, so its answers are waited for.
 */
static void fill_late_reader(bool to_guest, enum way way, uint32_t len)
{
	uint8_t data[4096], got[4096];
	struct zv_conn *g, *h, *from, *to;
	unsigned asked = 0;
	uint32_t at = 0;
	ssize_t n;

	connect_pair(ZV_STREAM, 1000, &g, &h);
	from = to_guest ? h : g;
	to = to_guest ? g : h;
	for (uint32_t sent = 0; sent < 65536; sent += (uint32_t)n) {
		for (uint32_t i = 0; i < len; i++)
			data[i] = (uint8_t)((sent + i) * 7 / 3);
		while ((n = send_by(way, from, data, len)) == -EAGAIN) {
			assert_false(to_guest);
			assert_true(asked++ < 65536);
			pump();
			ask_again(from);
			pump();
		}
		assert_true(n > 0);
		pump();
	}
	assert_int_equal(send_by(way, from, data, len), -EAGAIN);
	while (at < 65536) {
		n = zv_recv(to, got, sizeof(got), NULL);
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(got[i], (uint8_t)(at * 7 / 3));
	}
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
}

static void test_a_late_reader_gets_all_of_its_buffer(void **state)
{
	static const uint32_t len[] = {1, 20, 200, 1000, 4096};

	(void)state;
	for (unsigned i = 0; i < sizeof(len) / sizeof(len[0]); i++)
		for (unsigned way = COPIED; way <= IN_PLACE; way++) {
			fill_late_reader(true, (enum way)way, len[i]);
			fill_late_reader(false, (enum way)way, len[i]);
		}
}

/* Only an answer lets the sender go on: not the clock alone, nor a peer that has read meanwhile. */
static void test_silence_is_no_answer(void **state)
{
	struct zv_conn *g, *h;
	char got[128];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while (zv_send(g, "x", 1, 0) == 1)
		pump();
	pump();
	ask_again(g); /* it has answered the first */
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	for (int i = 0; i < 20; i++) { /* the host is not there */
		ask_again(g);
		assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	}
	pump();
	assert_true(zv_recv(h, got, 20, NULL) > 0);
	ask_again(g);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- credit that is told ---- */

/* A millisecond at most, and then the peer has heard. */
static ssize_t send_when_told(struct zv_conn *c)
{
	ssize_t n = -EAGAIN;

	for (int i = 0; i < 10000 && n == -EAGAIN; i++) {
		usleep(100);
		pump();
		n = zv_send(c, "more", 4, 0);
	}
	return n;
}

/*
 * A parser has taken the head of a frame and waits for the rest, which its peer holds back for want
 * of credit: far less than a quarter of the buffer is free.
 */
static void parser_waits(struct zv_conn *from, struct zv_conn *to, struct zv_queue *tq,
			 bool in_place)
{
	static char data[4096];
	struct zv_buf b[64];
	int n = 0;

	while (zv_send(from, data, 1000, 0) > 0)
		pump();
	pump();
	assert_int_equal(zv_send(from, "more", 4, 0), -EAGAIN);
	if (in_place) {
		n = zv_buf_recv(to, b, 64);
		assert_true(n > 1);
		zv_buf_release(tq, b, 1);
	} else {
		assert_int_equal(zv_recv(to, data, 1000, NULL), 1000);
	}
	assert_int_equal(send_when_told(from), 4);
	if (in_place)
		zv_buf_release(tq, b + 1, (unsigned)n - 1);
}

static void test_a_blocked_sender_is_told_of_little(void **state)
{
	(void)state;
	for (int way = 0; way < 4; way++) {
		struct zv_conn *g, *h;

		connect_pair(ZV_STREAM, 1000, &g, &h);
		if (way & 1)
			parser_waits(g, h, P.h, way & 2);
		else
			parser_waits(h, g, P.g, way & 2);
		zv_conn_close(g);
		zv_conn_close(h);
		pump();
	}
}

/* The reader is slower than the sender, and takes little at a time: few packets tell of it. */
static void test_a_slow_reader_does_not_flood(void **state)
{
	static char data[4096];
	struct zv_queue_stats st;
	struct zv_conn *g, *h;
	uint64_t begin, updates;
	unsigned reads = 0;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_queue_stats(P.h, &st, sizeof(st)), 0);
	updates = st.tx_packets;
	begin = zv_now();
	for (; reads < 20000; reads++) {
		while (zv_send(g, data, sizeof(data), 0) > 0)
			pump();
		pump();
		assert_int_equal(zv_recv(h, data, 64, NULL), 64);
	}
	assert_int_equal(zv_queue_stats(P.h, &st, sizeof(st)), 0);
	updates = st.tx_packets - updates;
	assert_true(updates <= reads * 64 / (65536 / 4) + (zv_now() - begin) / 1000000u + 2);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- wants to send, and cannot ---- */

/* Nothing to do: no event, and the queue may sleep. */
static void assert_asleep(struct zv_queue *q)
{
	struct zv_event ev;

	for (int i = 0; i < 200; i++)
		assert_int_equal(zv_poll(q, &ev, 1), 0);
	assert_int_equal(zv_arm(q), 0);
	assert_int_equal(zv_poll(q, &ev, 1), 0);
}

static void test_a_peer_without_a_buffer_is_waited_for(void **state)
{
	struct zv_conn *g, *h;
	struct vsock_hdr told;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	told = hdr_like(g, VSOCK_OP_CREDIT_UPDATE, 0);
	told.buf_alloc = 0;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &told, NULL), 0);
	pump();
	assert_int_equal(zv_send(h, "x", 1, 0), -EAGAIN);
	fake_drain(ZV_ROLE_GUEST, 0); /* its answer would tell of a buffer */
	assert_asleep(P.h);
	told.buf_alloc = 1;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &told, NULL), 0);
	pump();
	assert_true(seen_host.events & ZV_EV_OUT);
	assert_int_equal(zv_send(h, "x", 1, 0), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* Buffers are free, but fewer than a message needs: it waits for so many. */
static void test_a_message_waits_for_its_buffers(void **state)
{
	static char data[65536];
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	for (int left = 0; left < 9; left++) {
		fake_limit_tx(ZV_ROLE_GUEST, 0, FAKE_CTRL_RESERVE + left);
		assert_int_equal(zv_send(g, data, 9 * 4096, 0), -EAGAIN);
		assert_asleep(P.g);
	}
	fake_limit_tx(ZV_ROLE_GUEST, 0, FAKE_CTRL_RESERVE + 9);
	pump();
	assert_true(seen_guest.events & ZV_EV_OUT);
	assert_int_equal(zv_send(g, data, 9 * 4096, 0), 9 * 4096);
	fake_limit_tx(ZV_ROLE_GUEST, 0, -1);
	assert_int_equal(zv_send(g, data, 61 * 4096, 0), -EMSGSIZE);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* ---- a message in pieces ---- */

static int piece(struct zv_conn *c, uint32_t len, uint32_t flags)
{
	struct zv_buf b;
	int n = zv_buf_alloc(c, &b, 1, len);

	if (n < 0)
		return n;
	b.len = len < b.capacity ? len : b.capacity;
	b.flags = flags;
	n = zv_buf_send(c, &b, 1);
	return n < 0 ? n : (int)b.len;
}

/* What the peer takes at once makes room for more bytes, but not for a larger message. */
static void test_pieces_of_a_message_that_is_too_long(void **state)
{
	for (int eager = 0; eager < 2; eager++) {
		struct zv_conn *g, *h;
		struct zv_buf b[16];
		int n, sent = 0;

		(void)state;
		connect_pair(ZV_SEQPACKET, 1000, &g, &h);
		while ((n = piece(g, 3000, 0)) > 0) {
			sent += n;
			pump();
			while (eager && (n = zv_buf_recv(h, b, 16)) > 0)
				zv_buf_release(P.h, b, (unsigned)n);
			pump();
		}
		assert_int_equal(n, -EMSGSIZE);
		assert_int_equal(sent, 65536);
		assert_int_equal(zv_send(g, "x", 1, 0), -EINVAL); /* nor does another join it */
		pump();
		assert_int_equal(seen_host.err, 0);
		assert_int_equal(seen_guest.err, 0);
		zv_conn_close(g);
		zv_conn_close(h);
		pump();
	}
}

static void test_the_last_piece_may_fill_the_buffer(void **state)
{
	struct zv_conn *g, *h;
	static char got[65536];
	uint32_t flags = 0;
	struct zv_buf b[8];

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	assert_int_equal(zv_buf_alloc(g, b, 8, 4096), 8);
	assert_int_equal(zv_buf_send(g, b, 8), 8);
	pump();
	assert_int_equal(zv_buf_alloc(g, b, 8, 4096), 8);
	b[7].flags = ZV_EOM;
	assert_int_equal(zv_buf_send(g, b, 8), 8);
	pump();
	assert_int_equal(zv_recv(h, got, sizeof(got), &flags), 65536);
	pump();
	assert_int_equal(piece(g, 10, 0), 10);
	assert_int_equal(zv_send(g, "x", 1, 0), -EINVAL);
	assert_int_equal(piece(g, 10, ZV_EOM), 10);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	pump();
	assert_int_equal(zv_recv(h, got, sizeof(got), &flags), 20);
	assert_int_equal(zv_recv(h, got, sizeof(got), &flags), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* A stock peer keeps 64 packets: a message of more is refused, not waited for. */
static void test_too_many_pieces_for_a_stock_peer(void **state)
{
	struct zv_conn *g, *h;
	int n, pieces = 0;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	while ((n = piece(g, 10, 0)) > 0) {
		pieces++;
		pump();
	}
	assert_int_equal(n, -EMSGSIZE);
	assert_int_equal(pieces, 64);
	zv_conn_close(g);
	zv_conn_close(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_late_reader_gets_all_of_its_buffer,
						pair_setup_plain, pair_teardown),
		cmocka_unit_test_setup_teardown(test_silence_is_no_answer, pair_setup_plain,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_a_blocked_sender_is_told_of_little, pair_setup,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_a_slow_reader_does_not_flood, pair_setup,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_a_peer_without_a_buffer_is_waited_for,
						pair_setup, pair_teardown),
		cmocka_unit_test_setup_teardown(test_a_message_waits_for_its_buffers, pair_setup,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_pieces_of_a_message_that_is_too_long,
						pair_setup, pair_teardown),
		cmocka_unit_test_setup_teardown(test_the_last_piece_may_fill_the_buffer, pair_setup,
						pair_teardown),
		cmocka_unit_test_setup_teardown(test_too_many_pieces_for_a_stock_peer,
						pair_setup_plain, pair_teardown),
	};

	return cmocka_run_group_tests_name("api: credit", tests, NULL, NULL);
}
