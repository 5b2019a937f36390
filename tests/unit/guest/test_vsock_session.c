/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a pair: sessions, broken rings, notifications, the event queue. */
#include "drv_fix.h"
#include "ring_toy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static void test_broken_ring(void **state)
{
	struct fixture f;
	struct rx_pkt pkts[8];
	struct tx_slot s, held;
	uint32_t session;
	uint8_t fill;

	(void)state;
	setup(&f, 16, 128, false);
	session = f.q->session;
	assert_int_equal(f.q->ops->tx_reserve(f.q, &held, 1, 1, 0), 1);
	assert_true(dev_send(&f, 1, 1, true));
	raw_push(&f.rx, 99, 44);
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 8), 0);
	assert_int_equal(f.q->stats.ring_broken, 1);
	assert_int_equal(f.q->up, 0);
	assert_int_not_equal(f.q->session, session);
	/* down: everything is refused, and harmless */
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 8), 0);
	assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, TX_CTRL), 0);
	assert_false(f.q->ops->tx_ready(f.q));
	f.q->ops->publish(f.q);
	assert_int_equal(f.q->ops->arm(f.q, 1), 0);
	f.q->ops->disarm(f.q, true);
	drv_commit(&f, &held, 1, 1);
	/* the next session works, with all buffers */
	restart(&f);
	assert_int_equal(f.q->up, 1);
	for (unsigned i = 0; i < 16; i++)
		assert_true(dev_send(&f, 1, 1, true));
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 8), 8);
	assert_int_equal(dev_recv(&f, &fill, true), -1);
	/* and a broken tx ring */
	for (unsigned i = 0; i < 14; i++) {
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 1);
		drv_commit(&f, &s, 1, 1);
	}
	f.q->ops->publish(f.q);
	f.tx.used_idx = 15;
	(void)raw_flush(&f.tx);
	assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 0);
	assert_int_equal(f.q->stats.ring_broken, 2);
	assert_int_equal(f.q->up, 0);
	teardown(&f);
}

/* A ring found broken while the owner arms: it must not sleep, nobody would wake it. */
static void test_broken_while_arming(void **state)
{
	struct fixture f;
	struct tx_slot s;

	(void)state;
	setup(&f, 16, 128, false);
	for (unsigned i = 0; i < 14; i++) { /* as many as go beside those kept for control */
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 1);
		drv_commit(&f, &s, 1, 1);
	}
	f.q->ops->publish(f.q);
	f.tx.used_idx = 15;
	(void)raw_flush(&f.tx);
	assert_int_equal(f.q->up, 1);
	assert_int_equal(f.q->ops->arm(f.q, 1), 1);
	assert_int_equal(f.q->up, 0);
	assert_int_equal(f.q->stats.ring_broken, 1);
	assert_int_equal(f.q->ops->arm(f.q, 1), 0); /* it knows: now it may */
	teardown(&f);
}

/*
 * What the device has sent before a session ends can still be received: before or after the next
 * one begins, from buffers that the next one does not use meanwhile.
 */
static void test_the_rest_of_a_session(void **state)
{
	struct fixture f;
	struct rx_pkt pkts[16];
	unsigned seen = 0;

	(void)state;
	setup(&f, 16, 64, false);
	for (unsigned i = 0; i < 6; i++)
		assert_true(dev_send(&f, i == 5 ? 0 : 4, (uint8_t)(0x10 + i), true));
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 2), 2);
	f.q->ops->rx_release(f.q, pkts[0].token);
	f.q->ops->rx_release(f.q, pkts[1].token);
	assert_int_equal(f.q->ops->rx_rest(f.q, pkts, 16), 0); /* the session goes on */
	vsock_pair_stop(f.p);
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 16), 0);
	assert_int_equal(f.q->ops->rx_rest(f.q, pkts, 1), 1);
	assert_int_equal(pkts[0].hdr.src_port, 0x12);
	f.q->ops->rx_release(f.q, pkts[0].token);
	restart(&f); /* three are still to come */
	while (dev_send(&f, 4, 0xee, true))
		seen++;
	assert_int_equal(seen, 13);
	assert_int_equal(f.q->ops->rx_rest(f.q, pkts, 16), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pkts[i].hdr.src_port, 0x13 + i);
	assert_int_equal(pkts[0].seg[0].base[0], 0x13);
	assert_int_equal(pkts[2].nseg, 0); /* its buffer is back already */
	assert_int_equal(f.q->ops->rx_rest(f.q, pkts + 3, 13), 0);
	f.q->ops->rx_release(f.q, pkts[0].token);
	f.q->ops->rx_release(f.q, pkts[1].token);
	f.q->ops->rx_release(f.q, pkts[1].token); /* twice does no harm */
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 16), 13);
	for (unsigned i = 0; i < 13; i++)
		f.q->ops->rx_release(f.q, pkts[i].token);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0); /* posts all there are */
	for (seen = 0; dev_send(&f, 4, 0xee, true); seen++)
		;
	assert_int_equal(seen, 16);
	teardown(&f);
}

/* A device that breaks its ring gets nothing taken from it, at the end neither. */
static void test_no_rest_of_a_broken_ring(void **state)
{
	struct fixture f;
	struct rx_pkt pkt;

	(void)state;
	setup(&f, 16, 64, false);
	assert_true(dev_send(&f, 4, 0x11, true));
	f.rx.used_idx += 100;
	(void)raw_flush(&f.rx);
	vsock_pair_stop(f.p);
	assert_int_equal(f.q->ops->rx_rest(f.q, &pkt, 1), 0);
	restart(&f);
	assert_int_equal(f.q->ops->rx_rest(f.q, &pkt, 1), 0);
	teardown(&f);
}

static void test_tokens_across_sessions(void **state)
{
	struct fixture f;
	struct rx_pkt pkts[4];
	struct tx_slot s[6], r[16], t;
	uint8_t fill;
	uint32_t session;

	(void)state;
	setup(&f, 16, 64, false);
	for (unsigned i = 0; i < 4; i++)
		assert_true(dev_send(&f, 4, (uint8_t)(0x10 + i), true));
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 4), 4);
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, 6, 1, 0), 6);
	drv_commit(&f, &s[0], 1, 1); /* posted and published when the session ends */
	f.q->ops->publish(f.q);
	drv_commit(&f, &s[1], 1, 1); /* posted only */
	vsock_pair_stop(f.p);
	session = f.q->session;
	f.q->ops->rx_release(f.q, pkts[0].token); /* while down */
	drv_commit(&f, &s[2], 1, 1);		  /* dropped */
	vsock_tx_cancel(f.q, s[3].token);
	restart(&f);
	assert_int_equal(f.q->up, 1);
	assert_int_not_equal(f.q->session, session);
	assert_int_equal(f.q->stats.sessions, 2);

	/* three receive buffers are still out, and what is in them is intact */
	for (unsigned i = 0; i < 13; i++)
		assert_true(dev_send(&f, 4, 0xee, true));
	assert_false(dev_send(&f, 4, 0xee, true));
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(pkts[i].hdr.src_port, 0x10 + i);
	f.q->ops->rx_release(f.q, pkts[1].token);
	f.q->ops->rx_release(f.q, pkts[2].token);
	f.q->ops->publish(f.q);
	assert_true(dev_send(&f, 4, 0xee, true));
	assert_true(dev_send(&f, 4, 0xee, true));
	assert_false(dev_send(&f, 4, 0xee, true));

	/* two transmit buffers are still out; what is committed of them is not sent */
	assert_int_equal(f.q->ops->tx_reserve(f.q, r, 16, 0, TX_CTRL), 14);
	drv_commit(&f, &s[4], 1, 0x44);
	assert_int_equal(f.q->ops->tx_reserve(f.q, &t, 1, 0, TX_CTRL), 1);
	assert_int_equal(t.token, s[4].token);
	drv_commit(&f, &t, 1, 0x55);
	drv_commit(&f, &s[5], 1, 0x44);
	f.q->ops->publish(f.q);
	assert_int_equal(dev_recv(&f, &fill, true), 1);
	assert_int_equal(fill, 0x55);
	assert_int_equal(dev_recv(&f, &fill, true), -1);
	for (unsigned i = 0; i < 14; i++)
		vsock_tx_cancel(f.q, r[i].token);
	assert_int_equal(f.q->ops->tx_reserve(f.q, r, 16, 0, TX_CTRL), 16);
	teardown(&f);
}

static void test_arm(void **state)
{
	struct fixture f;
	struct rx_pkt pkt;
	struct tx_slot s[64];
	uint8_t fill;
	unsigned n;

	(void)state;
	setup(&f, 16, 64, false);
	assert_int_equal(vsock_fd(f.q), f.p->call_fd);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	assert_true(dev_send(&f, 1, 1, false));
	assert_true(raw_flush(&f.rx)); /* the device signals */
	vsock_pair_wake(f.p);
	assert_true(readable(vsock_fd(f.q)));
	assert_int_equal(f.q->ops->arm(f.q, 0), 1);
	f.q->ops->disarm(f.q, true);
	assert_false(readable(vsock_fd(f.q)));
	assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
	assert_true(dev_send(&f, 1, 1, false));
	assert_false(raw_flush(&f.rx)); /* disarmed: it does not */
	assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);

	/* waiting for room: there is room */
	assert_int_equal(f.q->ops->arm(f.q, 1), 1);
	n = f.q->ops->tx_reserve(f.q, s, 64, 1, 0);
	for (unsigned i = 0; i < n; i++)
		drv_commit(&f, &s[i], 1, 1);
	/* arm publishes; there is none, and the device signals when it gives one back */
	assert_int_equal(f.q->ops->arm(f.q, 1), 0);
	assert_int_equal(dev_recv(&f, &fill, false), 1);
	raw_put(&f.tx, s[0].token, 0);
	assert_true(raw_flush(&f.tx));
	assert_int_equal(f.q->ops->arm(f.q, 1), 1);
	f.q->ops->disarm(f.q, true);
	teardown(&f);
}

static void test_kicks(void **state)
{
	struct fixture f;
	struct tx_slot s;
	uint64_t kicks;
	uint8_t fill;

	(void)state;
	setup(&f, 16, 64, false);
	assert_true(readable(f.p->kick_rx.fd)); /* avail_event was 0 when the buffers were posted */
	kicks = f.q->stats.kicks;
	assert_int_equal(kicks, 1);
	assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 1);
	drv_commit(&f, &s, 1, 1);
	assert_false(readable(f.p->kick_tx.fd));
	f.q->ops->publish(f.q);
	assert_true(readable(f.p->kick_tx.fd)); /* avail_event 0: wanted */
	assert_int_equal(f.q->stats.kicks, kicks + 1);
	assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 1);
	drv_commit(&f, &s, 1, 1);
	f.q->ops->publish(f.q);
	assert_int_equal(f.q->stats.kicks, kicks + 1); /* not again */
	assert_int_equal(vsock_pair_unsent(f.p), 2);
	assert_int_equal(dev_recv(&f, &fill, true), 1);
	assert_int_equal(vsock_pair_unsent(f.p), 1);
	teardown(&f);
}

static void dev_event(struct fixture *f, uint32_t what)
{
	uint16_t id;

	assert_true(raw_pop(&f->ev_ring, &id));
	memcpy(f->ev_buf + (f->ev_ring.desc[id].addr - IOVA_EV.v), &what, sizeof(what));
	assert_true(raw_push(&f->ev_ring, id, sizeof(what))); /* always armed */
}

static void test_nothing_is_received_between_reset_and_replenished_events(void **state)
{
	struct fixture f;
	struct rx_pkt pkt;
	struct tx_slot s;
	uint32_t session;
	uint64_t count;
	uint8_t fill;

	(void)state;
	setup(&f, 16, 64, true);
	assert_int_equal(virtq_in_flight(&f.ev.vq), VSOCK_EVENTS);
	for (unsigned i = 0; i < 40; i++) {
		session = f.q->session;
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 1, 0), 1);
		assert_true(dev_send(&f, 1, 1, true));
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
		f.q->ops->rx_release(f.q, pkt.token);
		f.q->ops->publish(f.q);
		dev_event(&f, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
		assert_true(dev_send(&f, 1, 2, true));
		/* held back until the control thread has dealt with the event */
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 0);
		assert_true(readable(f.ev.call_fd)); /* and it is told, once */
		assert_int_equal(read(f.ev.call_fd, &count, sizeof(count)), sizeof(count));
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 0);
		assert_false(readable(f.ev.call_fd));
		assert_int_equal(f.q->ops->arm(f.q, 0), 0);
		assert_int_equal(vsock_events_take(&f.ev), 1);
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 0);
		vsock_pair_renew(f.p);
		vsock_events_done(&f.ev);
		assert_int_equal(virtq_in_flight(&f.ev.vq), VSOCK_EVENTS);
		assert_int_not_equal(f.q->session, session);
		assert_int_equal(f.q->up, 1);
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
		assert_int_equal(pkt.hdr.src_port, 2);
		f.q->ops->rx_release(f.q, pkt.token);
		drv_commit(&f, &s, 1, 1); /* of the old session */
		f.q->ops->publish(f.q);
		assert_int_equal(dev_recv(&f, &fill, true), -1);
		f.q->ops->disarm(f.q, true);
	}
	/* an unknown event is none */
	dev_event(&f, 77);
	assert_int_equal(vsock_events_take(&f.ev), 0);
	vsock_events_done(&f.ev);
	assert_true(dev_send(&f, 1, 2, true));
	assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
	/* hostile */
	raw_push(&f.ev_ring, 12, 4);
	assert_int_equal(vsock_events_take(&f.ev), -EPROTO);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken_ring),
		cmocka_unit_test(test_broken_while_arming),
		cmocka_unit_test(test_the_rest_of_a_session),
		cmocka_unit_test(test_no_rest_of_a_broken_ring),
		cmocka_unit_test(test_tokens_across_sessions),
		cmocka_unit_test(test_arm),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_nothing_is_received_between_reset_and_replenished_events),
	};

	/* Those that break no rule of the split layout in particular. */
	const struct CMUnitTest any[] = {
		cmocka_unit_test(test_the_rest_of_a_session),
		cmocka_unit_test(test_tokens_across_sessions),
		cmocka_unit_test(test_arm),
		cmocka_unit_test(test_nothing_is_received_between_reset_and_replenished_events),
	};
	int failed = cmocka_run_group_tests_name("vsock_session, split rings", tests, NULL, NULL);

	fix_layout(&vsock_rings_packed);
	failed += cmocka_run_group_tests_name("vsock_session, packed rings", any, NULL, NULL);
	fix_layout(&toy_rings);
	return failed + cmocka_run_group_tests_name("vsock_session, toy rings", any, NULL, NULL);
}
