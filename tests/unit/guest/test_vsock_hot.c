/* SPDX-License-Identifier: BSD-3-Clause */
/* hot_bufs.h in a pair: which buffers circulate, and when the others are posted. */
#include "drv_fix.h"
#include "ring_toy.h"
#include "vsock_priv.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#define MAX_RING 1024u

/* ---- what circulates ---- */

static uint32_t count(const bool *seen, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += seen[i];
	return sum;
}

/* @n packets of @len through the receive ring, in bursts; marks the buffers that the device used.
 */
static void rx_traffic(struct fixture *f, uint32_t n, uint32_t len, unsigned burst, bool *seen)
{
	struct rx_pkt pkts[VSOCK_BURST];

	for (uint32_t done = 0; done < n; done += burst) {
		uint16_t id;

		for (unsigned i = 0; i < burst; i++) {
			assert_true(raw_pop(&f->rx, &id));
			if (seen)
				seen[id] = true;
			dev_fill(f, id, len, (uint8_t)i);
		}
		(void)raw_flush(&f->rx);
		assert_int_equal(f->q->ops->rx_burst(f->q, pkts, burst), burst);
		for (unsigned i = 0; i < burst; i++)
			f->q->ops->rx_release(f->q, pkts[i].token);
		f->q->ops->publish(f->q);
	}
}

/* @n packets of @len through the transmit ring, of which the device keeps @lag for a while. */
static void tx_traffic(struct fixture *f, uint32_t n, uint32_t len, unsigned lag, bool *seen)
{
	struct tx_slot s;
	uint16_t id;

	for (uint32_t done = 0; done < n; done++) {
		assert_int_equal(f->q->ops->tx_reserve(f->q, &s, 1, len, 0), 1);
		if (seen)
			seen[s.token] = true;
		drv_commit(f, &s, len, (uint8_t)done);
		f->q->ops->publish(f->q);
		/* At the end it gives back all. */
		while ((uint16_t)(f->p->tx.published - f->tx.used_idx) > (done + 1 < n ? lag : 0)) {
			assert_true(raw_pop(&f->tx, &id));
			assert_int_equal(f->tx.desc[id].len, VSOCK_HDR_LEN + len);
			(void)raw_push(&f->tx, id, 0);
		}
	}
}

/* So many circulate: @rx of those that are received, @tx of those that are sent. */
static void circulates(uint32_t ring, uint32_t payload, uint32_t len, uint32_t rx, uint32_t tx)
{
	bool seen[MAX_RING];
	struct fixture f;

	setup(&f, ring, payload, false);
	/* Not so many that all are posted in between. */
	rx_traffic(&f, 2 * ring, len, 16, NULL);
	memset(seen, 0, sizeof(seen));
	rx_traffic(&f, 3 * ring, len, 16, seen);
	assert_int_equal(count(seen, ring), rx);
	assert_int_equal(f.p->hot_rx.nspare, ring - rx);

	/* The device is slow to give back: what it has are buffers that circulate. */
	tx_traffic(&f, 3 * ring, len, tx - 8, NULL);
	memset(seen, 0, sizeof(seen));
	tx_traffic(&f, 3 * ring, len, tx - 8, seen);
	assert_in_range(count(seen, ring), tx - 8, tx);
	teardown(&f);
}

static void test_small_messages(void **state)
{
	(void)state;
	circulates(256, 4096, 64, HOT_RX_MIN, HOT_MIN);
	circulates(256, 4096, HOT_SMALL, HOT_RX_MIN, HOT_MIN);
	circulates(1024, 128, 0, HOT_RX_MIN, HOT_MIN);
}

static void test_large_messages(void **state)
{
	(void)state;
	circulates(256, 32768, 32768, HOT_BYTES / 32768, HOT_BYTES / 32768);
	circulates(512, 65536, 16384, HOT_BYTES / 16384, HOT_BYTES / 16384);
	circulates(256, 65536, 65536, HOT_BYTES / 65536, HOT_BYTES / 65536);
	/* few large ones: never fewer than for small messages */
	circulates(128, 131072, 131072, HOT_MIN, HOT_MIN);
}

/* Full buffers are pieces of something large, however small they are. */
static void test_full_buffers(void **state)
{
	struct fixture f;
	bool seen[MAX_RING] = {0};

	(void)state;
	setup(&f, 256, 1024, false);
	rx_traffic(&f, 1024, 1024, 16, NULL);
	rx_traffic(&f, 1024, 1024, 16, seen);
	assert_int_equal(count(seen, 256), 256);
	assert_int_equal(f.p->hot_rx.nspare, 0);
	teardown(&f);
}

/* Traffic that changes its kind takes the buffers along, both ways. */
static void test_changing_traffic(void **state)
{
	struct fixture f;
	bool seen[MAX_RING];

	(void)state;
	setup(&f, 256, 32768, false);
	for (unsigned i = 0; i < 3; i++) {
		rx_traffic(&f, 512, 64, 16, NULL);
		assert_int_equal(f.p->hot_rx.nspare, 256 - HOT_RX_MIN);
		tx_traffic(&f, 512, 64, 16, NULL);
		assert_int_equal(f.p->hot_tx.ncold, 256 - HOT_MIN);
		rx_traffic(&f, 512, 32768, 16, NULL);
		assert_int_equal(f.p->hot_rx.hot, 128);
		memset(seen, 0, sizeof(seen));
		tx_traffic(&f, 512, 32768, 120, seen);
		assert_in_range(count(seen, 256), 120, 128);
	}
	teardown(&f);
}

/* All transmit buffers can be had at once, the cold ones too. */
static void test_cold_buffers_are_used(void **state)
{
	struct tx_slot s[256];
	struct fixture f;
	bool seen[MAX_RING] = {0};

	(void)state;
	setup(&f, 256, 256, false);
	tx_traffic(&f, 1000, 64, 0, NULL);
	assert_int_equal(f.p->hot_tx.ncold, 256 - HOT_MIN);
	assert_int_equal(vsock_pair_unsent(f.p), 0); /* and takes back what was sent */
	assert_int_equal(f.q->ops->tx_ready(f.q), vsock_tx_max(f.q));
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, 256, 64, TX_CTRL), 256);
	for (unsigned i = 0; i < 256; i++)
		seen[s[i].token] = true;
	assert_int_equal(count(seen, 256), 256);
	for (unsigned i = 0; i < 256; i++)
		vsock_tx_cancel(f.q, s[i].token);
	assert_int_equal(f.p->hot_tx.ncold, 256 - HOT_MIN);
	tx_traffic(&f, 1000, 64, 60, NULL);
	teardown(&f);
}

/* ---- what is kept back is posted in the end ---- */

/* Takes buffers, as a device that gathers them for one message; returns how many there were. */
static unsigned dev_gather(struct fixture *f, uint16_t *ids, unsigned have)
{
	while (have < MAX_RING && raw_pop(&f->rx, &ids[have]))
		have++;
	return have;
}

/* Empty looks, as an owner that polls and never sleeps makes them. */
static void look(struct fixture *f, unsigned n)
{
	struct rx_pkt pkt;

	while (n--) {
		assert_int_equal(f->q->ops->rx_burst(f->q, &pkt, 1), 0);
		f->q->ops->publish(f->q);
	}
}

static void test_posted_when_idle(void **state)
{
	uint16_t ids[MAX_RING];
	struct fixture f;

	(void)state;
	setup(&f, 256, 256, false);
	rx_traffic(&f, 1024, 64, 16, NULL);
	look(&f, HOT_IDLE - 1);
	assert_int_equal(f.p->hot_rx.nspare, 256 - HOT_RX_MIN);
	/* a packet in between: not idle */
	rx_traffic(&f, 1, 64, 1, NULL);
	look(&f, HOT_IDLE - 1);
	assert_int_equal(f.p->hot_rx.nspare, 256 - HOT_RX_MIN);
	look(&f, 1);
	assert_int_equal(f.p->hot_rx.nspare, 0);
	assert_int_equal(dev_gather(&f, ids, 0), 256);
	teardown(&f);
}

static void test_posted_when_armed(void **state)
{
	uint16_t ids[MAX_RING];
	struct fixture f;

	(void)state;
	setup(&f, 256, 256, false);
	rx_traffic(&f, 1024, 64, 16, NULL);
	assert_int_equal(f.p->hot_rx.nspare, 256 - HOT_RX_MIN);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	assert_int_equal(f.p->hot_rx.nspare, 0);
	assert_int_equal(dev_gather(&f, ids, 0), 256);
	f.q->ops->disarm(f.q, true);
	teardown(&f);
}

static void test_posted_once_a_round(void **state)
{
	struct fixture f;
	unsigned all = 0, spare = 0;

	(void)state;
	setup(&f, 256, 256, false);
	rx_traffic(&f, 1024, 64, 16, NULL);
	for (unsigned i = 0; i < 3 * HOT_ROUND / 16; i++) {
		rx_traffic(&f, 16, 64, 16, NULL);
		/* What had just come in was lent when all others were posted. */
		all += f.p->hot_rx.nspare <= 16;
		spare += f.p->hot_rx.nspare == 256 - HOT_RX_MIN;
	}
	assert_in_range(all, 3, 6);
	assert_true(spare > 2 * HOT_ROUND / 16);
	teardown(&f);
}

/* A message of as many packets as the ring has buffers, after any number of small ones. */
static void one_large_message(struct fixture *f, unsigned before, bool sleep)
{
	uint32_t ring = f->n, got = 0;
	uint16_t ids[MAX_RING];
	struct rx_pkt pkts[VSOCK_BURST];
	unsigned have, step = ring < 16 ? 1 : ring / 16;
	int n;

	rx_traffic(f, before * step, 64, step, NULL);
	have = dev_gather(f, ids, 0);
	if (sleep)
		assert_int_equal(f->q->ops->arm(f->q, 0), 0);
	else
		look(f, HOT_IDLE);
	assert_int_equal(dev_gather(f, ids, have), ring);
	for (uint32_t i = 0; i < ring; i++)
		dev_fill(f, ids[i], 256, (uint8_t)i);
	assert_int_equal(raw_flush(&f->rx), sleep);
	f->q->ops->disarm(f->q, true);
	while (got < ring) {
		n = f->q->ops->rx_burst(f->q, pkts, VSOCK_BURST);
		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			assert_int_equal(pkts[i].hdr.src_port, (uint8_t)got++);
			f->q->ops->rx_release(f->q, pkts[i].token);
		}
		f->q->ops->publish(f->q);
	}
}

static void test_all_buffers_for_one_message(void **state)
{
	static const uint32_t rings[] = {16, 64, 128, 256, 1024};
	struct fixture f;

	(void)state;
	for (size_t k = 0; k < sizeof(rings) / sizeof(rings[0]); k++) {
		setup(&f, rings[k], 256, false);
		for (unsigned i = 0; i < 40; i++)
			one_large_message(&f, i, i & 2);
		teardown(&f);
	}
}

/* ---- sessions ---- */

static void test_restart_with_spares(void **state)
{
	struct tx_slot s[256];
	uint16_t ids[MAX_RING];
	struct rx_pkt pkts[8];
	struct fixture f;

	(void)state;
	setup(&f, 256, 256, false);
	for (unsigned round = 0; round < 4; round++) {
		rx_traffic(&f, 1024, 64, 16, NULL);
		tx_traffic(&f, 1024, 64, 40, NULL);
		for (unsigned i = 0; i < 8; i++)
			assert_true(dev_send(&f, 9, (uint8_t)(0x50 + i), true));
		assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 8), 8);
		assert_int_equal(f.p->hot_rx.lent, 8);
		assert_true(f.p->hot_rx.nspare > 0);
		assert_true(f.p->hot_tx.ncold > 0);
		vsock_pair_stop(f.p);
		for (unsigned i = 0; i < 3; i++) /* while down */
			f.q->ops->rx_release(f.q, pkts[i].token);
		restart(&f);
		assert_int_equal(f.p->hot_rx.nspare, 0);
		assert_int_equal(f.p->hot_rx.lent, 5);
		assert_int_equal(dev_gather(&f, ids, 0), 251);
		for (unsigned i = 3; i < 8; i++) {
			assert_int_equal(pkts[i].seg[0].base[8], 0x50 + i);
			f.q->ops->rx_release(f.q, pkts[i].token);
		}
		assert_int_equal(f.q->ops->arm(f.q, 0), 0);
		f.q->ops->disarm(f.q, true);
		assert_int_equal(dev_gather(&f, ids, 251), 256);
		/* those with the device come back as well */
		assert_int_equal(f.q->ops->tx_reserve(f.q, s, 256, 64, TX_CTRL), 256);
		for (unsigned i = 0; i < 256; i++)
			vsock_tx_cancel(f.q, s[i].token);
		restart(&f);
	}
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_messages),
		cmocka_unit_test(test_large_messages),
		cmocka_unit_test(test_full_buffers),
		cmocka_unit_test(test_changing_traffic),
		cmocka_unit_test(test_cold_buffers_are_used),
		cmocka_unit_test(test_posted_when_idle),
		cmocka_unit_test(test_posted_when_armed),
		cmocka_unit_test(test_posted_once_a_round),
		cmocka_unit_test(test_all_buffers_for_one_message),
		cmocka_unit_test(test_restart_with_spares),
	};

	int failed = cmocka_run_group_tests_name("vsock_hot, split rings", tests, NULL, NULL);

	/* the same functions, compiled for other layouts */
	fix_layout(&vsock_rings_packed);
	failed += cmocka_run_group_tests_name("vsock_hot, packed rings", tests, NULL, NULL);
	fix_layout(&toy_rings);
	return failed + cmocka_run_group_tests_name("vsock_hot, toy rings", tests, NULL, NULL);
}
