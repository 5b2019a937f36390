/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections with channels whose broker dies: no packet says so to the other end, nor, where a VMM
 * is in between, to one's own.
 */
#include "chan_pair.h"
#include "socket/core/timer.h"

static struct chan_pair C;
static char got[100];

/* The guest sleeps or polls, and its transport hears of the backend's end as @end says. */
static void begin(enum transport_end end)
{
	struct shm_channel_desc d = chan_small();

	fake_set_end(ZV_ROLE_GUEST, end);
	chan_connect(&C, ZV_STREAM, &d, false);
}

/* Only the host's side hears that its session is over, and its packets reach nobody any more. */
static void the_broker_dies(void)
{
	struct zv_event ev;

	fake_lose_session(ZV_ROLE_HOST);
	fake_limit_tx(ZV_ROLE_HOST, 0, 0);
	(void)zv_poll(P.h, &ev, 1);
	assert_int_equal(fake_pending(ZV_ROLE_GUEST, 0), 0);
}

static void finish(void)
{
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	fake_end_session(true);
	pump();
	chan_close(&C);
}

static void go_idle(struct zv_queue *q)
{
	for (unsigned i = 0; i < 2 * CHAN_IDLE_POLLS && q->chans.nactive; i++)
		(void)zv_poll(q, &(struct zv_event){0}, 1);
	assert_int_equal(q->chans.nactive, 0);
}

static void expect_reset_behind_data(void)
{
	assert_int_equal(zv_recv(C.guest.c, got, 4, NULL), 4);
	assert_memory_equal(got, "last", 4);
	assert_int_equal(zv_recv(C.guest.c, got, 1, NULL), -ECONNRESET);
	assert_int_equal(chan_stats(P.g).chan_broken, 0); /* it was not the peer's fault */
}

static void test_who_polls_is_told_in_the_channel(void **state)
{
	(void)state;
	begin(END_REPORTED);
	assert_int_equal(zv_send(C.host.c, "last", 4, 0), 4);
	the_broker_dies();
	assert_true(chan_events_of(P.g, C.guest.c) & ZV_EV_ERR);
	expect_reset_behind_data();
	finish();
}

static void test_who_sleeps_looks_now_and_then(void **state)
{
	struct zv_event ev;

	(void)state;
	begin(END_SILENT);
	go_idle(P.g);
	assert_int_equal(zv_send(C.host.c, "last", 4, 0), 4);
	fake_drain(ZV_ROLE_GUEST, 0); /* the wake-up was lost with the broker */
	the_broker_dies();
	assert_int_equal(zv_wait(P.g, &ev, 1, UINT64_MAX), 1);
	assert_true(ev.events & ZV_EV_ERR);
	expect_reset_behind_data();
	finish();
}

/* Nor is one that waits for room missed: it looks at what comes as well. */
static void test_who_waits_for_room_looks_too(void **state)
{
	struct zv_event ev;

	(void)state;
	begin(END_SILENT);
	while (zv_send(C.guest.c, got, sizeof(got), 0) > 0)
		;
	fake_drain(ZV_ROLE_HOST, 0);
	go_idle(P.g);
	the_broker_dies();
	assert_int_equal(zv_wait(P.g, &ev, 1, UINT64_MAX), 1);
	assert_true(ev.events & ZV_EV_ERR);
	assert_int_equal(ev.err, -ECONNRESET);
	finish();
}

/* What has ended in order is not cut off. */
static void test_a_half_that_has_ended(void **state)
{
	(void)state;
	begin(END_SILENT);
	assert_int_equal(zv_send(C.host.c, "last", 4, 0), 4);
	assert_int_equal(zv_shutdown(C.host.c, 1), 0);
	fake_drain(ZV_ROLE_GUEST, 0);
	the_broker_dies();
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 4);
	assert_int_equal(zv_recv(C.guest.c, got, 10, NULL), 0);
	assert_int_equal(chan_stats(P.g).chan_broken, 0);
	finish();
}

/* Once, with the clock at the next look. */
static void tick(void)
{
	P.g->chans.next_tick = 0;
	P.g->clock.tick = 0;
	(void)zv_poll(P.g, &(struct zv_event){0}, 1);
}

/* How many packets that nobody answers were sent; they are taken. */
static unsigned probes(void)
{
	unsigned n = fake_pending(ZV_ROLE_HOST, 0);
	struct vsock_hdr h;

	for (unsigned i = 0; i < n; i++) {
		assert_true(fake_peek(ZV_ROLE_HOST, 0, i, &h));
		assert_int_equal(h.op, VSOCK_OP_RST);
		assert_true(h.src_port == 0 && h.dst_port == 0);
		assert_true(h.src_cid == FAKE_CID && h.dst_cid == ZV_CID_HOST);
	}
	pump();
	return n;
}

static void test_a_watchdog_has_something_to_watch(void **state)
{
	(void)state;
	for (enum transport_end end = END_REPORTED; end <= END_MISSED; end++) {
		struct zv_queue_stats before;

		assert_int_equal(queue_timers_next(P.g), UINT64_MAX);
		begin(end);
		assert_int_equal(queue_timers_next(P.g) == UINT64_MAX, end == END_REPORTED);
		go_idle(P.g);
		before = chan_stats(P.h);
		for (unsigned i = 0; i < 3 && end != END_REPORTED; i++) {
			tick();
			assert_int_equal(probes(), end == END_MISSED);
			assert_true(P.g->chans.next_tick - queue_clock(P.g) <= 1000000000u);
			assert_true(P.g->chans.next_tick % 1000000000u == 0);
		}
		/* Nobody takes them for a fault. */
		assert_int_equal(chan_stats(P.h).rx_bad_state, before.rx_bad_state);
		assert_int_equal(chan_stats(P.h).rst_sent, before.rst_sent);
		chan_close(&C);
		assert_int_equal(queue_timers_next(P.g), UINT64_MAX); /* the guest sleeps */
	}
}

/* The broker may have died: who has not heard of that sends a packet, because there will be no
 * more. */
static void test_who_is_cut_off_sends_a_packet(void **state)
{
	(void)state;
	for (enum transport_end end = END_REPORTED; end <= END_MISSED; end++) {
		struct vsock_hdr h;
		unsigned n = 0;

		begin(end);
		the_broker_dies();
		assert_true(chan_events_of(P.g, C.guest.c) & ZV_EV_ERR);
		for (unsigned i = 0; i < fake_pending(ZV_ROLE_HOST, 0); i++) {
			assert_true(fake_peek(ZV_ROLE_HOST, 0, i, &h));
			n += h.op == VSOCK_OP_RST && h.src_port == 0 && h.dst_port == 0;
		}
		assert_int_equal(n, end == END_MISSED);
		finish();
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_polls_is_told_in_the_channel),
		TEST(test_who_sleeps_looks_now_and_then),
		TEST(test_who_waits_for_room_looks_too),
		TEST(test_a_half_that_has_ended),
		TEST(test_a_watchdog_has_something_to_watch),
		TEST(test_who_is_cut_off_sends_a_packet),
	};

	return cmocka_run_group_tests_name("chan_deaths", tests, NULL, NULL);
}
