/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver loads each word that a device can change once: what has been checked is what is used.
 * See read_once.h.
 */
#include "drv_fix.h"

#include "../read_once.h"

#define PKTS 3u

static void watch_ring(const struct raw_ring *r)
{
	once_watch(r->used, 6 + 8u * r->size);
	/* Its own half as well: own state is never read back. */
	once_watch(r->desc, r->size * sizeof(*r->desc));
	once_watch(r->avail, 6 + 2u * r->size);
}

static void expect_entries(const struct raw_ring *r, unsigned n, bool len)
{
	once_expect(&r->used->idx);
	for (unsigned i = 0; i < n; i++) {
		once_expect(&r->used->ring[i].id);
		if (len)
			once_expect(&r->used->ring[i].len);
	}
}

static void test_received_packets_are_read_once(void **state)
{
	static struct rx_pkt pkt[PKTS];
	static uint8_t *hdr[PKTS];
	struct fixture f;
	int n;

	(void)state;
	setup(&f, 16, 4096, true);
	for (unsigned i = 0; i < PKTS; i++) {
		assert_true(dev_send(&f, 100, 7, true));
		hdr[i] = va(&f, f.rx.desc[i].addr);
	}
	watch_ring(&f.rx);
	once_watch(&f.ev_ring.used->idx, 2);
	for (unsigned i = 0; i < PKTS; i++)
		once_watch(hdr[i], VSOCK_HDR_LEN);
	once_begin();
	n = f.q->ops->rx_burst(f.q, pkt, PKTS);
	once_end();
	assert_int_equal(n, PKTS);
	expect_entries(&f.rx, PKTS, true);
	once_expect(&f.ev_ring.used->idx);
	for (unsigned i = 0; i < PKTS; i++)
		once_expect_hdr(hdr[i]);
	once_expect_no_more();
	for (unsigned i = 0; i < PKTS; i++)
		f.q->ops->rx_release(f.q, pkt[i].token);
	teardown(&f);
}

static void test_returned_buffers_are_read_once(void **state)
{
	struct tx_slot s[HOT_RECLAIM];
	struct fixture f;
	uint8_t fill;
	unsigned n;

	(void)state;
	setup(&f, 16, 4096, false);
	assert_int_equal(f.q->ops->tx_reserve(f.q, s, PKTS, 100, 0), PKTS);
	for (unsigned i = 0; i < PKTS; i++)
		drv_commit(&f, &s[i], 100, 9);
	f.q->ops->publish(f.q);
	while (dev_recv(&f, &fill, true) >= 0)
		;
	watch_ring(&f.tx);
	once_begin();
	n = f.q->ops->tx_reserve(f.q, s, HOT_RECLAIM, 100, 0); /* looks */
	f.q->ops->tx_commit(f.q, s[0].token, &(struct vsock_hdr){.len = 10});
	once_end();
	assert_int_equal(n, HOT_RECLAIM);
	expect_entries(&f.tx, PKTS, true);
	once_expect_no_more();
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_received_packets_are_read_once),
		cmocka_unit_test(test_returned_buffers_are_read_once),
	};

	return cmocka_run_group_tests_name("the driver reads once", tests, NULL, NULL);
}
