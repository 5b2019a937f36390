/* SPDX-License-Identifier: BSD-3-Clause */
/* The data path of a pair: packets in both directions. */
#include "drv_fix.h"
#include "ring_toy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_stride(void **state)
{
	(void)state;
	for (uint32_t len = 64; len <= 1u << 20; len += len / 3) {
		size_t s = vsock_stride(len);

		assert_true(s >= 64 + (size_t)len);
		assert_true(s < 64 + (size_t)len + 3 * 64);
		assert_int_equal(s % 128, 64);
	}
}

/* All sizes, bursts of all widths, in order; more packets than a ring index has values. */
static void test_receive(void **state)
{
	struct fixture f;
	struct rx_pkt pkts[80];
	uint32_t sent = 0, got = 0;

	(void)state;
	setup(&f, 64, 256, false);
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 80), 0);
	while (got < 70000) {
		unsigned batch = 1 + sent % 70;
		int n;

		while (batch-- && dev_send(&f, sent % 257, (uint8_t)sent, true))
			sent++;
		n = f.q->ops->rx_burst(f.q, pkts, 1 + sent % 79);
		for (int i = 0; i < n; i++, got++) {
			assert_int_equal(pkts[i].hdr.src_port, (uint8_t)got);
			assert_int_equal(pkts[i].hdr.len, got % 257);
			assert_int_equal(pkts[i].nseg, got % 257 ? 1 : 0);
			if (!pkts[i].nseg)
				continue;
			assert_int_equal(pkts[i].ndesc, 1);
			assert_int_equal((uintptr_t)pkts[i].seg[0].base % 64, 0);
			assert_int_equal(pkts[i].seg[0].len, got % 257);
			for (uint32_t k = 0; k < pkts[i].seg[0].len; k++)
				assert_int_equal(pkts[i].seg[0].base[k], (uint8_t)got);
			f.q->ops->rx_release(f.q, pkts[i].token);
		}
		f.q->ops->publish(f.q);
	}
	assert_int_equal(f.q->stats.rx_bad_hdr, 0);
	assert_int_equal(f.q->stats.ring_broken, 0);
	teardown(&f);
}

/* A receiver that keeps half of its buffers never leaves the device without any. */
static void test_receive_with_loans(void **state)
{
	struct fixture f;
	struct rx_pkt pkt;
	uint32_t lent[32], nlent = 0;

	(void)state;
	setup(&f, 64, 64, false);
	for (unsigned i = 0; i < 5000; i++) {
		assert_true(dev_send(&f, 8, (uint8_t)i, true));
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
		assert_int_equal(pkt.hdr.src_port, (uint8_t)i);
		if (nlent < 32) {
			lent[nlent++] = pkt.token;
		} else { /* give back an old one, out of order */
			f.q->ops->rx_release(f.q, lent[i * 7 % 32]);
			lent[i * 7 % 32] = pkt.token;
		}
		f.q->ops->publish(f.q);
	}
	/* a token given back twice, or never given out, changes nothing */
	f.q->ops->rx_release(f.q, lent[0]);
	f.q->ops->rx_release(f.q, lent[0]);
	f.q->ops->rx_release(f.q, 1u << 20);
	f.q->ops->rx_release(f.q, UINT32_MAX);
	for (unsigned i = 1; i < 32; i++)
		f.q->ops->rx_release(f.q, lent[i]);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0); /* leaves nothing unpublished */
	for (unsigned i = 0; i < 64; i++)
		assert_true(dev_send(&f, 1, 1, true));
	assert_false(dev_send(&f, 1, 1, true));
	teardown(&f);
}

static void bad_header(struct fixture *f, uint32_t hdr_len, uint32_t used_len)
{
	struct vsock_hdr h = {.len = hdr_len};
	uint16_t id;

	assert_true(raw_pop(&f->rx, &id));
	vsock_hdr_put(va(f, f->rx.desc[id].addr), &h);
	raw_push(&f->rx, id, used_len);
}

/* A device gives a buffer back as written that it has not touched since the last packet. */
static void test_unwritten_buffer(void **state)
{
	struct fixture f;
	struct rx_pkt pkt;
	uint16_t id;

	(void)state;
	for (int wipe = 0; wipe < 2; wipe++) {
		setup(&f, 16, 128, false);
		f.p->rx_wipe = wipe;
		for (unsigned i = 0; i < 40; i++) { /* every buffer has had a packet */
			assert_true(dev_send(&f, 8, 7, true));
			assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
			assert_int_equal(pkt.hdr.op, VSOCK_OP_RW);
			f.q->ops->rx_release(f.q, pkt.token);
			assert_int_equal(f.q->ops->arm(f.q, 0), 0);
		}
		assert_true(raw_pop(&f.rx, &id));
		raw_push(&f.rx, id, VSOCK_HDR_LEN + 8);
		assert_int_equal(f.q->ops->rx_burst(f.q, &pkt, 1), 1);
		assert_int_equal(pkt.hdr.op, wipe ? 0 : VSOCK_OP_RW);
		assert_int_equal(pkt.hdr.len, wipe ? 0 : 8);
		teardown(&f);
	}
}

static void test_bad_headers(void **state)
{
	struct fixture f;
	struct rx_pkt pkts[8];

	(void)state;
	setup(&f, 16, 128, false);
	bad_header(&f, 0, 0); /* given back unused: nothing bad */
	bad_header(&f, 0, 43);
	bad_header(&f, 10, 44 + 9);
	bad_header(&f, UINT32_MAX, 44 + 128);
	assert_true(dev_send(&f, 128, 7, true));
	bad_header(&f, 5, 44 + 128); /* a device may count more than the header does */
	assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 8), 2);
	assert_int_equal(f.q->stats.rx_bad_hdr, 3);
	assert_int_equal(pkts[0].hdr.src_port, 7);
	assert_int_equal(pkts[1].seg[0].len, 5);
	f.q->ops->rx_release(f.q, pkts[0].token);
	f.q->ops->rx_release(f.q, pkts[1].token);
	/* none was lost */
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_true(dev_send(&f, 1, 1, true));
	teardown(&f);
}

static void transmit(uint32_t len_hint)
{
	struct fixture f;
	struct tx_slot s[64];
	uint32_t sent = 0, got = 0;
	uint8_t fill;
	int len;

	setup(&f, 64, 256, false);
	assert_int_equal(vsock_tx_max(f.q), 56);
	while (got < 70000) {
		unsigned n = f.q->ops->tx_reserve(f.q, s, 1 + sent % 40, len_hint, 0);

		for (unsigned i = 0; i < n; i++) {
			assert_int_equal((uintptr_t)s[i].data % 64, 0);
			assert_int_equal(s[i].capacity, 256);
			drv_commit(&f, &s[i], sent % 257, (uint8_t)sent);
			sent++;
		}
		assert_int_equal(got + virtq_in_flight(&f.p->tx) >= sent, 1);
		f.q->ops->publish(f.q);
		for (unsigned i = 0; i < 1 + got % 30 && (len = dev_recv(&f, &fill, true)) >= 0;
		     i++) {
			assert_int_equal(fill, (uint8_t)got);
			assert_int_equal(len, got % 257);
			got++;
		}
	}
	assert_int_equal(f.q->stats.ring_broken, 0);
	teardown(&f);
}

static void test_transmit_lifo(void **state)
{
	(void)state;
	transmit(64);
}

static void test_transmit_fifo(void **state)
{
	(void)state;
	transmit(HOT_SMALL + 1);
}

/* Large messages go round all buffers, small ones stay with those between two looks. */
static void test_policies(void **state)
{
	struct fixture f;
	bool seen[64] = {false};
	unsigned nseen = 0;
	struct tx_slot s;
	uint8_t fill;

	(void)state;
	setup(&f, 64, 128, false);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, HOT_SMALL + 1, 0), 1);
		assert_int_equal(s.token, i % 64);
		drv_commit(&f, &s, 64, 1);
		f.q->ops->publish(f.q);
		assert_int_equal(dev_recv(&f, &fill, true), 64);
	}
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(f.q->ops->tx_reserve(f.q, &s, 1, 64, 0), 1);
		nseen += !seen[s.token];
		seen[s.token] = true;
		drv_commit(&f, &s, 64, 1);
		f.q->ops->publish(f.q);
		assert_int_equal(dev_recv(&f, &fill, true), 64);
	}
	assert_in_range(nseen, 1, HOT_RECLAIM);
	teardown(&f);
}

static void test_ctrl_reserve(void **state)
{
	struct fixture f;
	struct tx_slot s[256];
	unsigned n;

	(void)state;
	setup(&f, 256, 64, false);
	assert_int_equal(vsock_tx_max(f.q), 248);
	n = f.q->ops->tx_reserve(f.q, s, 256, 1, 0);
	assert_int_equal(n, 248);
	assert_false(f.q->ops->tx_ready(f.q));
	assert_int_equal(f.q->ops->tx_reserve(f.q, s + n, 1, 1, 0), 0);
	assert_int_equal(f.q->ops->tx_reserve(f.q, s + n, 256 - n, 0, TX_CTRL), 8);
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, 1, 0, TX_CTRL), 0);
	for (unsigned i = 0; i < 256; i++)
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(s[i].token, s[k].token);
	for (unsigned i = 0; i < 8; i++)
		vsock_tx_cancel(f.q, s[i].token);
	assert_false(f.q->ops->tx_ready(f.q));
	vsock_tx_cancel(f.q, s[8].token);
	assert_true(f.q->ops->tx_ready(f.q));
	/* twice, or never reserved: nothing happens */
	vsock_tx_cancel(f.q, s[8].token);
	vsock_tx_cancel(f.q, UINT32_MAX);
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, 16, 0, TX_CTRL), 9);
	teardown(&f);

	setup(&f, 16, 64, false);
	assert_int_equal(vsock_tx_max(f.q), 14);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stride),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_with_loans),
		cmocka_unit_test(test_unwritten_buffer),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_transmit_lifo),
		cmocka_unit_test(test_transmit_fifo),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_ctrl_reserve),
	};

	int failed = cmocka_run_group_tests_name("vsock_drv, split rings", tests, NULL, NULL);

	/* the same functions, compiled for other layouts */
	fix_layout(&vsock_rings_packed);
	failed += cmocka_run_group_tests_name("vsock_drv, packed rings", tests, NULL, NULL);
	fix_layout(&toy_rings);
	return failed + cmocka_run_group_tests_name("vsock_drv, toy rings", tests, NULL, NULL);
}
