/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection over a channel: each public call means what it means over packets. */
#include "chan_pair.h"

static struct chan_pair C;
static uint8_t data[1 << 20], got[1 << 20];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
}

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i;
}

/* ---- copying calls, STREAM ---- */

static void test_bytes_take_the_channel(void **state)
{
	struct zv_queue_stats before;
	struct shm_channel_desc d = chan_default();

	(void)state;
	chan_connect(&C, ZV_STREAM, &d, false);
	assert_int_equal(chan_stats(P.g).chans, 1);
	before = chan_stats(P.g);
	assert_int_equal(zv_send(C.guest.c, "hello", 5, 0), 5);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), 0);
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	assert_int_equal(info_of(C.host.c).rx_unread, 5);
	assert_int_equal(zv_recv(C.host.c, got, 3, NULL), 3);
	assert_int_equal(info_of(C.host.c).rx_unread, 2);
	assert_int_equal(zv_recv(C.host.c, got + 3, 10, NULL), 2);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), -EAGAIN);
	assert_int_equal(chan_events_of(P.h, C.host.c), 0);
	assert_int_equal(chan_stats(P.g).tx_bytes - before.tx_bytes, 5);
	assert_int_equal(chan_stats(P.g).tx_packets, before.tx_packets);
	assert_int_equal(info_of(C.guest.c).tx_bytes, 5);
	assert_int_equal(info_of(C.host.c).rx_bytes, 5);
	assert_int_equal(info_of(C.guest.c).flags, ZV_CONN_CHANNEL);
	assert_int_equal(info_of(C.host.c).flags, ZV_CONN_CHANNEL | ZV_CONN_INCOMING);
	chan_close(&C);
	assert_int_equal(chan_stats(P.g).chans, 0);
}

/* All of @len bytes there, in whatever pieces, with both sides polling. */
static void transfer(struct zv_conn *from, struct zv_queue *fq, struct zv_conn *to,
		     struct zv_queue *tq, size_t len, size_t piece)
{
	size_t sent = 0, had = 0;
	unsigned blocked = 0;

	while (had < len) {
		size_t part = len - sent < piece ? len - sent : piece;
		ssize_t n = part ? zv_send(from, data + sent, part, 0) : 0;

		assert_true(n >= 0 || n == -EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		if (n != (ssize_t)part) {
			blocked++;
			/* The room comes when the reader has read: no event before. */
			assert_int_equal(chan_events_of(fq, from) & ZV_EV_OUT, 0);
		}
		if (n == (ssize_t)part && part)
			continue;
		for (;;) {
			n = zv_recv(to, got + had, piece * 2 + 1, NULL);
			assert_true(n > 0 || n == -EAGAIN);
			if (n < 0)
				break;
			had += (size_t)n;
		}
		(void)zv_poll(tq, &(struct zv_event){0}, 1);
		if (sent < len)
			assert_int_equal(chan_events_of(fq, from) & ZV_EV_OUT, ZV_EV_OUT);
	}
	assert_true(blocked || len < 3000);
	assert_memory_equal(data, got, len);
}

static void test_partial_sends_and_room(void **state)
{
	static const size_t piece[] = {1, 64, 100, 128, 129, 300, 1024, 5000, 100000};
	struct shm_channel_desc d = chan_small();

	(void)state;
	fill();
	chan_connect(&C, ZV_STREAM, &d, false);
	for (size_t i = 0; i < sizeof(piece) / sizeof(*piece); i++) {
		memset(got, 0, sizeof(got));
		transfer(C.guest.c, P.g, C.host.c, P.h, 100000, piece[i]);
		transfer(C.host.c, P.h, C.guest.c, P.g, 100000, piece[i]);
	}
	chan_close(&C);
}

static void test_without_slots(void **state)
{
	struct shm_channel_desc d = chan_small();

	(void)state;
	fill();
	d.dir[0].classes = d.dir[1].classes = 0;
	d.length = shm_channel_bytes(&d);
	chan_connect(&C, ZV_STREAM, &d, false);
	transfer(C.guest.c, P.g, C.host.c, P.h, 20000, 7000);
	chan_close(&C);
}

static void test_more_gathers(void **state)
{
	struct shm_channel_desc d = chan_small();
	uint32_t full;

	(void)state;
	chan_connect(&C, ZV_STREAM, &d, false);
	assert_int_equal(zv_send(C.guest.c, "ab", 2, ZV_MORE), 2);
	assert_int_equal(zv_send(C.guest.c, "cd", 2, ZV_MORE), 2);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), -EAGAIN);
	assert_int_equal(zv_send(C.guest.c, "ef", 2, 0), 2);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 6);
	assert_memory_equal(got, "abcdef", 6);
	/* It leaves by an empty send, by zv_poll, before what zv_buf_send sends, and when full. */
	assert_int_equal(zv_send(C.guest.c, "g", 1, ZV_MORE), 1);
	assert_int_equal(zv_send(C.guest.c, NULL, 0, ZV_MORE), 0);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), -EAGAIN);
	assert_int_equal(zv_send(C.guest.c, NULL, 0, 0), 0);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 1);
	assert_int_equal(zv_send(C.guest.c, "h", 1, ZV_MORE), 1);
	(void)zv_poll(P.g, &(struct zv_event){0}, 1);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 1);
	assert_int_equal(zv_send(C.guest.c, data, 1, ZV_MORE), 1);
	full = C.guest.c->more.max;
	assert_int_equal(zv_send(C.guest.c, data, full - 1, ZV_MORE), full - 1);
	assert_int_equal(zv_recv(C.host.c, got, 2000, NULL), full);
	for (int i = 0; i < 40; i++) { /* nothing is left of what is gone */
		assert_int_equal(zv_send(C.guest.c, "xy", 2, ZV_MORE), 2);
		assert_int_equal(zv_send(C.guest.c, "z", 1, 0), 1);
		assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 3);
	}
	assert_int_equal(zv_send(C.guest.c, "i", 1, ZV_MORE), 1);
	assert_int_equal(zv_shutdown(C.guest.c, 1), 0);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 1);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 0);
	chan_close(&C);
}

static void test_peek_and_nothing(void **state)
{
	struct shm_channel_desc d = chan_small();
	uint32_t flags;

	(void)state;
	chan_connect(&C, ZV_STREAM, &d, false);
	assert_int_equal(zv_send(C.guest.c, NULL, 0, 0), 0);
	assert_int_equal(zv_recv(C.host.c, got, 0, NULL), -EAGAIN);
	for (int i = 0; i < 10; i++)
		assert_int_equal(zv_send(C.guest.c, "abc", 3, 0), 3);
	for (int i = 0; i < 2; i++) {
		flags = ZV_PEEK;
		memset(got, 0, 40);
		assert_int_equal(zv_recv(C.host.c, got, 40, &flags), 30);
		assert_memory_equal(got, "abcabcabcabcabcabcabcabcabcabc", 30);
		assert_int_equal(flags, 0);
	}
	assert_int_equal(zv_recv(C.host.c, got, 0, NULL), 0);
	assert_int_equal(zv_recv(C.host.c, got, 40, NULL), 30);
	chan_close(&C);
}

/* ---- SEQPACKET ---- */

static void test_messages_keep_their_ends(void **state)
{
	static const size_t len[] = {0, 1, 64, 65, 128, 129, 256, 257, 1024, 1025, 3000, 4500};
	struct shm_channel_desc d = chan_small();
	uint32_t flags;

	(void)state;
	fill();
	chan_connect(&C, ZV_SEQPACKET, &d, false);
	for (size_t i = 0; i < sizeof(len) / sizeof(*len); i++) {
		bool eor = i & 1;

		assert_int_equal(zv_send(C.guest.c, data, len[i], eor ? ZV_EOR : 0), len[i]);
		assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
		flags = ZV_PEEK;
		assert_int_equal(zv_recv(C.host.c, got, 5000, &flags), len[i]);
		assert_int_equal(flags, ZV_EOM | (eor ? ZV_EOR : 0));
		flags = 0;
		memset(got, 0, 5000);
		assert_int_equal(zv_recv(C.host.c, got, 5000, &flags), len[i]);
		assert_int_equal(flags, ZV_EOM | (eor ? ZV_EOR : 0));
		assert_memory_equal(data, got, len[i]);
		assert_int_equal(zv_recv(C.host.c, got, 5000, &flags), -EAGAIN);
	}
	/* Several wait; each is read by itself, and what does not fit is lost. */
	assert_int_equal(zv_send(C.guest.c, data, 10, 0), 10);
	assert_int_equal(zv_send(C.guest.c, data, 2000, 0), 2000);
	assert_int_equal(zv_send(C.guest.c, data, 20, 0), 20);
	flags = 0;
	assert_int_equal(zv_recv(C.host.c, got, 4, &flags), 4);
	assert_int_equal(flags, ZV_EOM | ZV_TRUNC);
	assert_int_equal(zv_recv(C.host.c, got, 1500, &flags), 1500);
	assert_int_equal(flags, ZV_EOM | ZV_TRUNC);
	assert_int_equal(zv_recv(C.host.c, NULL, 0, &flags), 0);
	assert_int_equal(flags, ZV_EOM | ZV_TRUNC);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), -EAGAIN);
	assert_int_equal(zv_send(C.guest.c, data, 1 << 16, 0), -EMSGSIZE);
	assert_non_null(strstr(zv_error_text(), "channel"));
	chan_close(&C);
}

static void test_a_message_waits_for_all_of_its_room(void **state)
{
	struct shm_channel_desc d = chan_small();

	(void)state;
	chan_connect(&C, ZV_SEQPACKET, &d, false);
	assert_int_equal(zv_send(C.guest.c, data, 3000, 0), 3000);
	assert_int_equal(zv_send(C.guest.c, data, 3000, 0), -EAGAIN);
	assert_int_equal(chan_events_of(P.g, C.guest.c), 0);
	assert_int_equal(zv_send(C.guest.c, data, 100, 0), 100); /* a short one fits */
	assert_int_equal(zv_send(C.guest.c, data, 3000, 0), -EAGAIN);
	assert_int_equal(zv_recv(C.host.c, got, 4000, NULL), 3000);
	assert_int_equal(zv_recv(C.host.c, got, 4000, NULL), 100);
	assert_int_equal(chan_events_of(P.g, C.guest.c), ZV_EV_OUT);
	assert_int_equal(zv_send(C.guest.c, data, 3000, 0), 3000);
	assert_int_equal(chan_events_of(P.g, C.guest.c), 0);
	chan_close(&C);
}

static void test_messages_in_pieces(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct zv_buf b[16], r[16];
	int n;

	(void)state;
	fill();
	chan_connect(&C, ZV_SEQPACKET, &d, false);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(zv_buf_alloc(C.guest.c, &b[i], 1, 200), 1);
		memcpy(b[i].data, data + i * 200, 200);
		assert_int_equal(zv_buf_send(C.guest.c, &b[i], 1), 1);
		assert_int_equal(chan_events_of(P.h, C.host.c), 0);
		assert_int_equal(zv_recv(C.host.c, got, 1000, NULL), -EAGAIN);
	}
	assert_int_equal(zv_send(C.guest.c, data, 1, 0), -EINVAL); /* the other has begun */
	assert_int_equal(zv_buf_alloc(C.guest.c, b, 1, 100), 1);
	b[0].len = 0;
	b[0].flags = ZV_EOR;
	assert_int_equal(zv_buf_send(C.guest.c, b, 1), 1);
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	n = zv_buf_recv(C.host.c, r, 16);
	assert_int_equal(n, 4);
	assert_int_equal(r[2].flags, 0);
	assert_int_equal(r[3].flags, ZV_EOM | ZV_EOR);
	assert_int_equal(r[3].len, 0);
	assert_memory_equal(r[2].data, data + 400, 200);
	assert_int_equal(chan_events_of(P.h, C.host.c), 0);
	zv_buf_release(P.h, r, 4);

	/* A message that fills the channel before its end can neither go on nor be taken back. */
	while ((n = zv_buf_alloc(C.guest.c, b, 1, 200)) == 1)
		assert_int_equal(zv_buf_send(C.guest.c, b, 1), 1);
	for (int i = 0; i < 3 && n == -EAGAIN; i++) {
		pump();
		n = zv_buf_alloc(C.guest.c, b, 1, 200);
	}
	assert_int_equal(n, -EMSGSIZE);
	chan_close(&C);
}

/* ---- zero copy ---- */

static void test_buffers_in_any_order(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct zv_buf b[16], r[16];

	(void)state;
	chan_connect(&C, ZV_STREAM, &d, false);
	assert_int_equal(zv_buf_alloc(C.guest.c, b, 2, 40), 2);
	assert_int_equal(zv_buf_alloc(C.guest.c, b + 2, 2, 1000), 2);
	assert_int_equal(zv_buf_alloc(C.guest.c, b + 4, 1, 100), 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(b[i].len, b[i].capacity);
		memset(b[i].data, 'a' + i, b[i].capacity);
		b[i].len = 40;
	}
	assert_int_equal(zv_send(C.guest.c, "first", 5, 0), 5);
	r[0] = b[3];
	r[1] = b[4];
	r[2] = b[0];
	assert_int_equal(zv_buf_send(C.guest.c, r, 3), 3);
	zv_buf_cancel(C.guest.c, b + 1, 1);
	assert_null(strstr(zv_error_text(), "zv_buf_cancel"));
	zv_buf_cancel(C.guest.c, b + 1, 1);
	assert_non_null(strstr(zv_error_text(), "zv_buf_cancel: buffer 0 of 1"));
	assert_int_equal(zv_buf_send(C.guest.c, b, 1), -EINVAL); /* sent before */
	b[2].len = 0;						 /* gives it back unsent */
	assert_int_equal(zv_buf_send(C.guest.c, b + 2, 1), 1);
	assert_int_equal(zv_buf_recv(C.host.c, r, 16), 4);
	assert_memory_equal(r[0].data, "first", 5);
	assert_int_equal(*(char *)r[1].data, 'd');
	assert_int_equal(*(char *)r[2].data, 'e');
	assert_int_equal(*(char *)r[3].data, 'a');
	assert_int_equal(zv_close(P.host), -EBUSY);
	b[0] = r[2];
	zv_buf_release(P.h, r + 2, 1);
	zv_buf_release(P.h, r, 1);
	zv_buf_release(P.h, r + 3, 1);
	zv_buf_release(P.h, r + 1, 1);
	zv_buf_release(P.h, b, 1); /* twice */
	assert_non_null(strstr(zv_error_text(), "zv_buf_release: buffer 0 of 1"));
	assert_int_equal(info_of(C.host.c).rx_unread, 0);
	chan_close(&C);
}

/* A loan's name is never used again, though its place in the ring and its slot are. */
static void test_old_loans_are_refused(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct zv_buf old[8][2], r[2]; /* a ring has places for 8 of these */

	(void)state;
	d.dir[0].classes = 1;
	d.dir[0].cls[0].slots = 1;
	d.length = shm_channel_bytes(&d);
	chan_connect(&C, ZV_STREAM, &d, false);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(zv_send(C.guest.c, data, 64, 0), 64);
		assert_int_equal(zv_send(C.guest.c, data, 200, 0), 200);
		assert_int_equal(zv_buf_recv(C.host.c, r, 2), 2);
		if (i >= 8) {
			zv_buf_release(P.h, old[i % 8], 2);
			assert_int_equal(P.h->rx.app_loans, 2);
		}
		memcpy(old[i % 8], r, sizeof(r));
		zv_buf_release(P.h, r, 2);
		assert_int_equal(P.h->rx.app_loans, 0);
	}
	chan_close(&C);
}

static void test_all_reserved_is_said(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct zv_buf b[32];
	int n = 0, k;

	(void)state;
	chan_connect(&C, ZV_STREAM, &d, false);
	while ((k = zv_buf_alloc(C.guest.c, b + n, 8, 1000)) > 0)
		n += k;
	assert_int_equal(k, -ENOBUFS);
	assert_int_equal(n, 7); /* the last three are shorter */
	assert_int_equal(b[6].capacity, 256);
	zv_buf_cancel(C.guest.c, b, (unsigned)n);
	n = 0;
	while ((k = zv_buf_alloc(C.guest.c, b + n, 8, 64)) > 0)
		n += k;
	assert_int_equal(k, -ENOBUFS);
	assert_int_equal(n, 12); /* all places but those kept for the end */
	/* A reserved buffer has its place: others wait. */
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), -EAGAIN);
	assert_int_equal(zv_buf_send(C.guest.c, b, (unsigned)n), n);
	assert_int_equal(zv_buf_alloc(C.guest.c, b, 8, 64), -EAGAIN);
	assert_int_equal(zv_recv(C.host.c, got, 4000, NULL), 12 * 64);
	assert_int_equal(chan_events_of(P.g, C.guest.c), ZV_EV_OUT);
	chan_close(&C);
}

static void test_buffers_of_both_kinds_in_one_release(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct zv_conn *g, *h;
	struct zv_buf r[6];

	(void)state;
	connect_pair(ZV_STREAM, 1001, &g, &h);
	chan_connect(&C, ZV_STREAM, &d, false);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(zv_send(g, "packet", 6, 0), 6);
		assert_int_equal(zv_send(C.guest.c, "message", 7, 0), 7);
		pump();
		assert_int_equal(zv_buf_recv(h, &r[2 * i], 1), 1);
		assert_int_equal(zv_buf_recv(C.host.c, &r[2 * i + 1], 1), 1);
	}
	zv_buf_release(P.h, r, 6);
	assert_int_equal(P.h->rx.app_loans, 0);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	chan_close(&C);
	zv_conn_close(g);
	zv_conn_close(h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bytes_take_the_channel),
		TEST(test_partial_sends_and_room),
		TEST(test_without_slots),
		TEST(test_more_gathers),
		TEST(test_peek_and_nothing),
		TEST(test_messages_keep_their_ends),
		TEST(test_a_message_waits_for_all_of_its_room),
		TEST(test_messages_in_pieces),
		TEST(test_buffers_in_any_order),
		TEST(test_old_loans_are_refused),
		TEST(test_all_reserved_is_said),
		TEST(test_buffers_of_both_kinds_in_one_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
