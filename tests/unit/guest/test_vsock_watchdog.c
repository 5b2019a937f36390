/* SPDX-License-Identifier: BSD-3-Clause */
/* The transmit watchdog of a pair: what it takes for a device that is stuck, and what not. */
#include "drv_fix.h"
#include "vsock_watchdog.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIZE 16u

static const struct vsock_hdr probe = {
	.src_cid = 3, .dst_cid = 2, .type = VSOCK_TYPE_STREAM, .op = VSOCK_OP_RST};

static struct fixture f;
static struct vsock_watchdog *watchdog;

static int begin(void **state)
{
	(void)state;
	setup(&f, SIZE, 128, false);
	watchdog = &f.p->watchdog;
	watchdog->fd = eventfd(0, EFD_NONBLOCK);
	restart(&f);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(watchdog->fd);
	teardown(&f);
	return 0;
}

/* The owner sends @n packets of @len bytes, and finds nothing more to do. */
static void sends(unsigned n, uint32_t len)
{
	struct tx_slot s;
	struct rx_pkt pkt;

	while (n--) {
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, len, len ? 0 : TX_CTRL), 1);
		drv_commit(&f, &s, len, 7);
	}
	f.q->ops->publish(f.q);
	assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 0);
}

/* The control thread was told since the last time. */
static bool told(void)
{
	uint64_t n;

	return read(watchdog->fd, &n, sizeof(n)) > 0;
}

static enum vsock_watchdog_state look(void)
{
	return vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_CHECKS);
}

/* Looks @n times, and must look again each time. */
static void waits(unsigned n)
{
	while (n--)
		assert_int_equal(look(), VSOCK_WATCHDOG_PENDING);
}

/* The device takes all packets and keeps those with payload. How many were without. */
static unsigned device_keeps_data(void)
{
	struct vsock_hdr h;
	unsigned n = 0;
	uint16_t id;

	while (raw_pop(&f.tx, &id)) {
		vsock_hdr_get(&h, va(&f, f.tx.desc[id].addr));
		if (h.len)
			continue;
		assert_int_equal(h.op, n ? h.op : VSOCK_OP_RST);
		(void)raw_push(&f.tx, id, 0);
		n++;
	}
	return n;
}

static void a_device_that_takes_nothing_is_stuck(void **state)
{
	struct vsock_hdr h;
	uint16_t id = 0;

	(void)state;
	sends(3, 10);
	assert_true(told());
	waits(2); /* the first sees what there is, the second sends a packet without payload */
	waits(VSOCK_WATCHDOG_CHECKS - 1);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
	/* What it has sent is for nobody, and from the guest. */
	for (unsigned i = 0; i < 4; i++)
		assert_true(raw_pop(&f.tx, &id));
	assert_int_equal(virtq_in_flight(&f.p->tx), 4);
	assert_int_equal(f.tx.desc[id].len, VSOCK_HDR_LEN);
	vsock_hdr_get(&h, va(&f, f.tx.desc[id].addr));
	assert_true(h.src_cid == 3 && h.dst_cid == 2 && h.len == 0 && h.op == VSOCK_OP_RST);
	/* A stuck ring that goes on after all is no longer stuck. */
	(void)raw_push(&f.tx, id, 0);
	assert_int_equal(look(), VSOCK_WATCHDOG_PENDING);
}

/* A REQUEST, say: there is no need for another. */
static void a_packet_without_payload_is_enough(void **state)
{
	(void)state;
	sends(1, 0);
	waits(1);
	waits(VSOCK_WATCHDOG_CHECKS - 1);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
	assert_int_equal(virtq_in_flight(&f.p->tx), 1);
}

/* As zvsock's host side does while nobody reads: this may last for hours. */
static void a_device_may_keep_data(void **state)
{
	(void)state;
	sends(4, 100);
	waits(2);
	assert_int_equal(device_keeps_data(), 1);
	waits(1);
	assert_int_equal(look(), VSOCK_WATCHDOG_IDLE);
	assert_false(watchdog->on);
	assert_int_equal(virtq_in_flight(&f.p->tx), 4);
	/* Nothing is sent: nobody is told. */
	assert_true(told());
	sends(0, 0);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	assert_false(told());
	/* What is sent now must be taken again. */
	sends(1, 100);
	assert_true(told());
	waits(2);
	waits(VSOCK_WATCHDOG_CHECKS - 1);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
}

/* Data that flows, however long something older is kept. */
static void a_device_that_moves_is_asked_nothing(void **state)
{
	uint8_t fill;

	(void)state;
	sends(2, 100);
	waits(1);
	assert_int_equal(dev_recv(&f, &fill, false), 100); /* kept */
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(dev_recv(&f, &fill, true), 100);
		sends(1, 100);
		waits(1);
	}
	assert_int_equal(virtq_in_flight(&f.p->tx), 2); /* no probe among them */
}

static void a_sender_that_stops_is_left_alone(void **state)
{
	uint8_t fill;

	(void)state;
	sends(1, 100);
	assert_true(told());
	sends(1, 100); /* told once */
	assert_false(told());
	waits(1);
	while (dev_recv(&f, &fill, true) >= 0)
		;
	waits(1);
	assert_int_equal(look(), VSOCK_WATCHDOG_IDLE);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	assert_false(told());
}

/* If the host is said to have died, fewer looks suffice; a device that takes packets stays. */
static void a_host_that_has_died_is_not_waited_for(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		sends(1, 100);
		assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
				 VSOCK_WATCHDOG_PENDING);
		assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
				 VSOCK_WATCHDOG_PENDING); /* sends a packet without payload */
		assert_int_equal(device_keeps_data(), 1);
		assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
				 VSOCK_WATCHDOG_PENDING);
		assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
				 VSOCK_WATCHDOG_IDLE);
	}
	sends(1, 0);
	for (unsigned i = 0; i < VSOCK_WATCHDOG_DIED; i++)
		assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
				 VSOCK_WATCHDOG_PENDING);
	assert_int_equal(vsock_watchdog_check(f.p, &probe, true, VSOCK_WATCHDOG_DIED),
			 VSOCK_WATCHDOG_STUCK);
}

/* A process, or a VM, that stood still has given the device no time. */
static void a_look_that_comes_late_does_not_count(void **state)
{
	(void)state;
	sends(1, 0);
	waits(1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(vsock_watchdog_check(f.p, &probe, false, VSOCK_WATCHDOG_CHECKS),
				 VSOCK_WATCHDOG_PENDING);
	waits(VSOCK_WATCHDOG_CHECKS - 1);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
}

/* To answer it needs room: section 5.10.6.1. */
static void a_device_that_waits_for_us_is_not_stuck(void **state)
{
	struct rx_pkt pkts[SIZE];
	unsigned n = 0;

	(void)state;
	sends(1, 0);
	waits(1);
	assert_true(dev_send(&f, 8, 1, true)); /* received, and nobody has looked */
	waits(20);
	while (dev_send(&f, 8, 1, true))
		;
	for (int got; (got = f.q->ops->rx_burst(f.q, pkts + n, SIZE - n)) > 0;)
		n += (unsigned)got;
	assert_int_equal(n, SIZE); /* all with the application: the device has none */
	waits(20);
	for (unsigned i = 0; i < n; i++)
		f.q->ops->rx_release(f.q, pkts[i].token);
	f.q->ops->publish(f.q);
	assert_true(virtq_with_device(&f.p->rx) > 0);
	waits(VSOCK_WATCHDOG_CHECKS - 1);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
}

/* Buffers for packets without payload are kept back, so the last of a full ring are such. */
static void a_full_ring_is_seen_as_well(void **state)
{
	struct tx_slot s;

	(void)state;
	while (f.q->ops->tx_reserve(f.q, &s, 1, 100, 0))
		drv_commit(&f, &s, 100, 7);
	sends(2, 0);
	assert_int_equal(virtq_in_flight(&f.p->tx), SIZE);
	assert_false(vsock_probe(f.p, &probe));
	waits(VSOCK_WATCHDOG_CHECKS);
	assert_int_equal(look(), VSOCK_WATCHDOG_STUCK);
}

static void a_ring_that_is_broken_meanwhile_ends_the_session(void **state)
{
	(void)state;
	sends(1, 0);
	waits(1);
	(void)raw_push(&f.tx, SIZE + 1, 0);
	assert_int_equal(look(), VSOCK_WATCHDOG_IDLE);
	assert_int_equal(f.q->up, 0);
	assert_int_equal(f.q->stats.ring_broken, 1);
}

static void a_session_begins_unwatched(void **state)
{
	uint8_t fill;

	(void)state;
	sends(1, 0);
	waits(3);
	assert_true(told());
	vsock_pair_stop(f.p);
	restart(&f);
	assert_false(watchdog->on);
	sends(0, 0);
	assert_false(told());
	sends(1, 0);
	assert_true(told());
	waits(1);
	assert_int_equal(dev_recv(&f, &fill, true), 0);
	waits(1);
	assert_int_equal(look(), VSOCK_WATCHDOG_IDLE);
}

static void there_may_be_no_watchdog(void **state)
{
	int fd = watchdog->fd;

	(void)state;
	watchdog->fd = -1;
	restart(&f);
	sends(3, 10);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	assert_false(watchdog->first); /* not even an attempt to tell */
	watchdog->fd = fd;
	assert_false(told());
}

/* Before a pair is up: whoever asks must not use what the application has. */
static void a_pair_that_is_down_can_be_tried(void **state)
{
	struct tx_slot s[SIZE];
	uint8_t fill;

	(void)state;
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, SIZE, 10, 0), SIZE - f.p->ctrl_reserve);
	vsock_pair_stop(f.p);
	vsock_pair_reset(f.p, &vsock_rings_split, true);
	f.tx = raw_split(&f.p->tx, true);
	assert_true(vsock_probe(f.p, &probe));
	assert_int_equal(vsock_probe_taken(f.p), 0);
	assert_int_equal(dev_recv(&f, &fill, true), 0);
	assert_int_equal(vsock_probe_taken(f.p), 1);
	assert_int_equal(hot_tx_free(&f.p->hot_tx), f.p->ctrl_reserve);
	assert_true(vsock_probe(f.p, &probe));
	(void)raw_push(&f.tx, SIZE, 0);
	assert_true(vsock_probe_taken(f.p) < 0);
	vsock_pair_reset(f.p, &vsock_rings_split, true);
	assert_int_equal(hot_tx_free(&f.p->hot_tx), f.p->ctrl_reserve);
	for (unsigned i = 0; i < SIZE - f.p->ctrl_reserve; i++)
		f.q->ops->tx_cancel(f.q, s[i].token);
	assert_int_equal(hot_tx_free(&f.p->hot_tx), SIZE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_device_that_takes_nothing_is_stuck),
		T(a_packet_without_payload_is_enough),
		T(a_device_may_keep_data),
		T(a_device_that_moves_is_asked_nothing),
		T(a_sender_that_stops_is_left_alone),
		T(a_look_that_comes_late_does_not_count),
		T(a_host_that_has_died_is_not_waited_for),
		T(a_device_that_waits_for_us_is_not_stuck),
		T(a_full_ring_is_seen_as_well),
		T(a_ring_that_is_broken_meanwhile_ends_the_session),
		T(a_session_begins_unwatched),
		T(there_may_be_no_watchdog),
		T(a_pair_that_is_down_can_be_tried),
	};

	return cmocka_run_group_tests_name("vsock_watchdog", tests, NULL, NULL);
}
