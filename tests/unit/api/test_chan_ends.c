/* SPDX-License-Identifier: BSD-3-Clause */
/* How a connection with a channel begins, is woken, and ends. */
#include "chan_pair.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct chan_pair C;
static char got[8192], data[8192];

static void begin(enum zv_type type, bool bells)
{
	struct shm_channel_desc d = chan_small();

	chan_connect(&C, type, &d, bells);
}

/* ---- the end of a half, and of the connection ---- */

static void test_the_end_comes_behind_the_data(void **state)
{
	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "last", 4, 0), 4);
	assert_int_equal(zv_shutdown(C.guest.c, 1), 0);
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), -EPIPE);
	/* The ring is seen before the packet. */
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 4);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 0);
	assert_int_equal(zv_send(C.host.c, "answer", 6, 0), 6); /* the other half goes on */
	pump();
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 0);
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 6);
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), -EAGAIN);
	assert_int_equal(zv_shutdown(C.host.c, 2), 0);
	pump();
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 0);
	chan_close(&C);
	assert_int_equal(chan_stats(P.g).conns_reset + chan_stats(P.h).conns_reset, 0);
}

static void test_the_packet_may_come_first(void **state)
{
	struct vsock_hdr h;

	(void)state;
	begin(ZV_STREAM, false);
	for (int i = 0; i < 10; i++)
		assert_int_equal(zv_send(C.guest.c, "abcd", 4, 0), 4);
	assert_int_equal(zv_conn_close(C.guest.c), 0);
	C.guest.c = NULL;
	assert_true(fake_peek(ZV_ROLE_HOST, 0, 0, &h));
	assert_int_equal(h.op, VSOCK_OP_SHUTDOWN);
	assert_int_equal(h.buf_alloc, 0); /* no packet with payload is welcome */
	pump();				  /* the SHUTDOWN packet is taken before anything is read */
	assert_true(chan_events_of(P.h, C.host.c) & ZV_EV_HUP);
	assert_int_equal(zv_recv(C.host.c, got, 38, NULL), 38);
	assert_int_equal(zv_recv(C.host.c, got, 38, NULL), 2);
	assert_int_equal(zv_recv(C.host.c, got, 38, NULL), 0);
	pump(); /* RST ends the other side */
	assert_int_equal(C.guest.gone, 1);
	chan_close(&C);
	assert_int_equal(chan_stats(P.g).conns_reset + chan_stats(P.h).conns_reset, 0);
}

/* SHUTDOWN says that all has been sent; without its mark in the ring it is a lie. */
static void test_an_end_that_is_not_in_the_ring(void **state)
{
	struct vsock_hdr h;

	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "half", 4, 0), 4);
	h = hdr_like(C.guest.c, VSOCK_OP_SHUTDOWN, 0);
	h.flags = VSOCK_SHUTDOWN_SEND;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &h, NULL), 0);
	assert_true(chan_events_of(P.h, C.host.c) & ZV_EV_ERR);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 4);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), -ECONNRESET);
	assert_int_equal(chan_stats(P.h).chan_broken, 1);
	chan_close(&C);
}

static void test_a_reset_comes_behind_the_data(void **state)
{
	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "abc", 3, 0), 3);
	assert_int_equal(zv_send(C.guest.c, data, 1000, 0), 1000);
	assert_int_equal(zv_conn_reset(C.guest.c), 0);
	C.guest.c = NULL;
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_int_equal(zv_recv(C.host.c, got, 5000, NULL), 1003);
	assert_int_equal(zv_recv(C.host.c, got, 5000, NULL), -ECONNRESET);
	assert_int_equal(zv_send(C.host.c, "x", 1, 0), -ECONNRESET);
	chan_close(&C);
}

static void end_of_session(bool closed)
{
	begin(ZV_SEQPACKET, false);
	assert_int_equal(zv_send(C.guest.c, "abc", 3, 0), 3);
	if (closed) {
		assert_int_equal(zv_conn_close(C.guest.c), 0);
		C.guest.c = NULL;
	}
	fake_end_session(true);
	pump();
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 3);
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), closed ? 0 : -ECONNRESET);
	chan_close(&C);
}

static void test_the_end_of_a_session(void **state)
{
	(void)state;
	end_of_session(false);
	end_of_session(true);
}

static void test_loans_outlive_the_connection(void **state)
{
	struct zv_buf r[4], t[2];

	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "line", 4, 0), 4);
	memset(data, 'x', 500);
	assert_int_equal(zv_send(C.guest.c, data, 500, 0), 500);
	assert_int_equal(zv_buf_recv(C.host.c, r, 4), 2);
	assert_int_equal(zv_buf_alloc(C.host.c, t, 1, 500), 1);
	assert_int_equal(zv_buf_alloc(C.host.c, t + 1, 1, 50), 1);
	assert_int_equal(zv_conn_reset(C.guest.c), 0);
	C.guest.c = NULL;
	pump();
	assert_int_equal(zv_conn_close(C.host.c), -EBUSY); /* reserved buffers come first */
	assert_int_equal(zv_buf_send(C.host.c, t, 1), -ECONNRESET);
	zv_buf_cancel(C.host.c, t + 1, 1);
	assert_int_equal(zv_conn_close(C.host.c), 0);
	C.host.c = NULL;
	assert_int_equal(C.host.gone, 0);
	assert_memory_equal(r[0].data, "line", 4);
	assert_int_equal(((char *)r[1].data)[499], 'x');
	assert_int_equal(zv_close(P.host), -EBUSY);
	zv_buf_release(P.h, r, 1);
	assert_int_equal(C.host.gone, 0);
	zv_buf_release(P.h, r + 1, 1);
	assert_int_equal(C.host.gone, 1);
	zv_buf_release(P.h, r + 1, 1);
	chan_close(&C);
}

static void test_closing_drops_what_is_unread(void **state)
{
	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_send(C.guest.c, "never read", 10, 0), 10);
	(void)chan_events_of(P.h, C.host.c);
	assert_int_equal(zv_send(C.host.c, "bye", 3, 0), 3);
	assert_int_equal(zv_conn_close(C.host.c), 0);
	C.host.c = NULL;
	pump();
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), -EPIPE);
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 3);
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 0);
	chan_close(&C);
}

static void test_the_own_end_of_receiving(void **state)
{
	(void)state;
	begin(ZV_STREAM, false);
	assert_int_equal(zv_shutdown(C.host.c, 0), 0);
	for (int i = 0; i < 100; i++) {
		(void)zv_send(C.guest.c, "dropped", 7, 0);
		(void)zv_poll(P.h, &(struct zv_event){0}, 1);
	}
	assert_int_equal(zv_recv(C.host.c, got, 10, NULL), 0);
	pump();
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), -EPIPE);
	assert_int_equal(zv_shutdown(C.guest.c, 1), 0);
	pump();
	assert_int_equal(zv_conn_close(C.host.c), 0);
	C.host.c = NULL;
	pump();
	chan_close(&C);
	assert_int_equal(chan_stats(P.h).chan_broken, 0);
}

static void test_packets_with_payload_are_refused(void **state)
{
	struct vsock_hdr h;

	(void)state;
	for (unsigned len = 0; len < 2; len++) {
		begin(ZV_STREAM, false);
		h = hdr_like(C.guest.c, VSOCK_OP_RW, len);
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &h, "x"), 0);
		pump();
		assert_int_equal(seen_host.err, -ECONNRESET);
		assert_int_equal(seen_guest.err, -ECONNRESET); /* by RST */
		chan_close(&C);
	}
	assert_int_equal(chan_stats(P.h).rx_overrun, 2);
}

/* ---- the beginning ---- */

static void test_attached_before_it_is_established(void **state)
{
	struct shm_channel_desc d = chan_small();

	(void)state;
	C = (struct chan_pair){0};
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 77, ZV_STREAM, &C.guest.c), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &C.host.c), 0);
	chan_attach_pair(&C, &d, false);
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), -ENOTCONN);
	assert_int_equal(zv_recv(C.host.c, got, 1, NULL), -ENOTCONN);
	assert_int_equal(zv_buf_recv(C.host.c, &(struct zv_buf){0}, 1), -ENOTCONN);
	assert_int_equal(zv_conn_answer(C.host.c, 0), 0);
	assert_int_equal(zv_send(C.host.c, "early", 5, 0), 5);
	assert_int_equal(zv_recv(C.guest.c, got, 9, NULL), -ENOTCONN); /* RESPONSE comes first */
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_true(seen_guest.events & ZV_EV_IN);
	assert_int_equal(zv_recv(C.guest.c, got, 9, NULL), 5);
	chan_close(&C);

	C = (struct chan_pair){0};
	assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 77, ZV_STREAM, &C.guest.c), 0);
	pump();
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &C.host.c), 0);
	chan_attach_pair(&C, &d, false);
	assert_int_equal(zv_conn_answer(C.host.c, -ECONNREFUSED), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	chan_close(&C);
}

static void test_too_late_for_a_channel(void **state)
{
	struct shm_channel_desc d = chan_small();
	struct chan_opts o = {.desc = &d, .region = NULL};
	struct zv_conn *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(chan_attach(g, &o), -EINVAL); /* no region */
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	pump();
	assert_int_equal(chan_attach(g, &o), -EBUSY);
	assert_int_equal(chan_attach(h, &o), -EBUSY);
	assert_int_equal(zv_recv(h, got, 1, NULL), 1); /* it is as before */
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
}

/* ---- waking ---- */

static void go_idle(struct zv_queue *q)
{
	for (unsigned i = 0; i < 2 * CHAN_IDLE_POLLS && q->chans.nactive; i++)
		(void)zv_poll(q, &(struct zv_event){0}, 1);
	assert_int_equal(q->chans.nactive, 0);
}

static void woken_when_idle(bool bells)
{
	begin(ZV_STREAM, bells);
	for (int round = 0; round < 5; round++) {
		go_idle(P.g);
		go_idle(P.h);
		assert_int_equal(zv_send(C.guest.c, "a", 1, 0), 1);
		assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), !bells);
		assert_int_equal(zv_send(C.guest.c, "b", 1, 0), 1); /* wakes once */
		assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), !bells);
		if (round & 1) /* read before the wake-up is heard of */
			assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 2);
		assert_int_equal(chan_events_of(P.h, C.host.c), round & 1 ? 0 : ZV_EV_IN);
		if (!(round & 1))
			assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 2);
	}
	/* Rung for nothing: it is armed again, and the next one is heard. */
	go_idle(P.h);
	for (int i = 0; bells && i < 3; i++) {
		assert_true(chan_bell_ring(C.guest.c->chan));
		assert_int_equal(chan_events_of(P.h, C.host.c), 0);
		assert_int_equal(P.h->chans.nactive, 0);
	}
	assert_int_equal(zv_send(C.guest.c, "c", 1, 0), 1);
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	/* Unread data: there is nothing to look for. */
	go_idle(P.h);
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	assert_int_equal(zv_send(C.guest.c, "d", 1, 0), 1);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 2);
	chan_close(&C);
}

static void test_an_idle_channel_is_woken(void **state)
{
	(void)state;
	woken_when_idle(false);
	woken_when_idle(true);
}

static void woken_for_room(bool bells)
{
	begin(ZV_STREAM, bells);
	for (int round = 0; round < 3; round++) {
		while (zv_send(C.guest.c, data, 1000, 0) > 0)
			;
		go_idle(P.g);
		assert_int_equal(zv_recv(C.host.c, got, 1000, NULL), 1000);
		(void)zv_poll(P.h, &(struct zv_event){0}, 1); /* a burst ends at the latest here */
		assert_int_equal(chan_events_of(P.g, C.guest.c), ZV_EV_OUT);
		assert_true(zv_send(C.guest.c, data, 1000, 0) > 0);
		assert_true(zv_send(C.guest.c, data, 1000, 0) < 1000);
		assert_int_equal(chan_events_of(P.g, C.guest.c), 0);
		while (zv_recv(C.host.c, got, sizeof(got), NULL) > 0)
			;
		assert_int_equal(chan_events_of(P.g, C.guest.c), ZV_EV_OUT);
		/* Nobody asks for the room: that does not keep the channel awake. */
		go_idle(P.g);
	}
	chan_close(&C);
}

/* The first of the slots that come back are too few: it is armed again, and hears of the others. */
static void test_woken_for_too_little(void **state)
{
	(void)state;
	for (int bells = 0; bells < 2; bells++) {
		begin(ZV_SEQPACKET, bells);
		for (int i = 0; i < 4; i++)
			assert_int_equal(zv_send(C.guest.c, data, 1000, 0), 1000);
		assert_int_equal(zv_send(C.guest.c, data, 3000, 0), -EAGAIN);
		go_idle(P.g);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(chan_events_of(P.g, C.guest.c), 0);
			assert_int_equal(P.g->chans.nactive, 0);
			assert_int_equal(zv_recv(C.host.c, got, 1000, NULL), 1000);
			(void)zv_poll(P.h, &(struct zv_event){0}, 1);
		}
		assert_int_equal(chan_events_of(P.g, C.guest.c), ZV_EV_OUT);
		assert_int_equal(zv_send(C.guest.c, data, 3000, 0), 3000);
		chan_close(&C);
	}
}

static void test_a_blocked_sender_is_woken(void **state)
{
	(void)state;
	woken_for_room(false);
	woken_for_room(true);
}

static void test_sleep(void **state)
{
	(void)state;
	begin(ZV_STREAM, true);
	for (int round = 0; round < 5; round++) {
		struct zv_event ev;

		assert_int_equal(zv_send(C.guest.c, "a", 1, 0), 1);
		assert_int_equal(zv_arm(P.h), -EAGAIN); /* it is there already */
		assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
		assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 1);
		assert_int_equal(chan_events_of(P.h, C.host.c), 0);
		assert_int_equal(zv_arm(P.h), 0);
		assert_false(chan_readable(P.h));
		assert_int_equal(zv_send(C.guest.c, "b", 1, 0), 1);
		assert_true(chan_readable(P.h));
		assert_int_equal(zv_wait(P.h, &ev, 1, 0), 1);
		assert_ptr_equal(ev.conn, C.host.c);
		assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 1);
		(void)zv_poll(P.h, &ev, 1);
		assert_false(chan_readable(P.h)); /* the bell is answered */
	}
	chan_close(&C);
}

/* One byte for an armed host: it is woken by a packet, or by its bell. */
static void wakes_by(bool packet)
{
	go_idle(P.h);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(zv_send(C.guest.c, "x", 1, 0), 1);
	assert_int_equal(fake_pending(ZV_ROLE_HOST, 0), packet);
	if (!packet)
		assert_true(chan_readable(P.h));
	assert_int_equal(chan_events_of(P.h, C.host.c), ZV_EV_IN);
	assert_int_equal(zv_recv(C.host.c, got, 9, NULL), 1);
	assert_false(chan_readable(P.h));
}

static void test_bells_that_cannot_be_rung(void **state)
{
	struct bell_map *ring;
	uint64_t page;

	(void)state;
	begin(ZV_STREAM, true);
	ring = fake_regions.ring[ZV_ROLE_HOST];
	fake_regions.ring[ZV_ROLE_HOST] = NULL;
	wakes_by(true); /* the transport is about to get it */
	fake_regions.ring[ZV_ROLE_HOST] = ring;
	wakes_by(false);
	while (!eventfd_write(ring->fd, UINT64_MAX - 1)) /* somebody has filled it */
		;
	assert_int_equal(errno, EAGAIN);
	(void)zv_poll(P.h, &(struct zv_event){0}, 1);
	wakes_by(false);
	page = C.page[ZV_ROLE_HOST]->listening;
	C.page[ZV_ROLE_HOST]->listening = page + 1; /* the page is another one's by now */
	wakes_by(true);
	C.page[ZV_ROLE_HOST]->listening = page;
	wakes_by(false);
	chan_bells_close(P.h);
	wakes_by(true);
	chan_close(&C);
}

static void test_a_thousand_channels(void **state)
{
	static struct chan_pair many[1000];
	struct shm_channel_desc d = chan_small();
	struct zv_event ev[64];

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		chan_connect(&many[i], ZV_STREAM, &d, false);
	go_idle(P.g);
	go_idle(P.h);
	for (unsigned i = 0; i < 1000; i += 100)
		assert_int_equal(zv_send(many[i].guest.c, "x", 1, 0), 1);
	assert_int_equal(zv_poll(P.h, ev, 64), 10);
	assert_int_equal(P.h->chans.nactive, 10);
	for (unsigned i = 0; i < 1000; i++)
		(void)zv_send(many[i].guest.c, "y", 1, 0);
	for (unsigned i = 0; i < 1000; i++)
		pump();
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(zv_recv(many[i].host.c, got, 9, NULL), i % 100 ? 1 : 2);
		chan_close(&many[i]);
	}
	assert_int_equal(P.h->chans.n, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_end_comes_behind_the_data),
		TEST(test_the_packet_may_come_first),
		TEST(test_an_end_that_is_not_in_the_ring),
		TEST(test_a_reset_comes_behind_the_data),
		TEST(test_the_end_of_a_session),
		TEST(test_loans_outlive_the_connection),
		TEST(test_closing_drops_what_is_unread),
		TEST(test_the_own_end_of_receiving),
		TEST(test_packets_with_payload_are_refused),
		TEST(test_attached_before_it_is_established),
		TEST(test_too_late_for_a_channel),
		TEST(test_an_idle_channel_is_woken),
		TEST(test_a_blocked_sender_is_woken),
		TEST(test_woken_for_too_little),
		TEST(test_sleep),
		TEST(test_bells_that_cannot_be_rung),
		TEST(test_a_thousand_channels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
