/* SPDX-License-Identifier: BSD-3-Clause */
/* As test_read_once.c, of packed rings. */
#include "drv_fix.h"
#include "raw_packed.h"

#include "../read_once.h"

#define PKTS 3u

static void watch_ring(const struct raw_ring *r)
{
	once_watch(raw_packed_at(r, 0), r->size * sizeof(struct vring_packed_desc));
	once_watch(r->driver_event, sizeof(*r->driver_event));
	once_watch(r->device_event, sizeof(*r->device_event));
}

/* One word of each used descriptor [0, @n), and of the one behind if it is looked for. */
static void expect_used(const struct raw_ring *r, unsigned n, bool behind)
{
	for (unsigned i = 0; i < n + behind; i++)
		once_expect(&raw_packed_at(r, (uint16_t)i)->len);
}

static void test_received_packets_are_read_once(void **state)
{
	static struct rx_pkt pkt[PKTS + 1];
	static uint8_t *hdr[PKTS];
	struct fixture f;
	int n;

	(void)state;
	fix_layout(&vsock_rings_packed);
	setup(&f, 16, 4096, true);
	for (unsigned i = 0; i < PKTS; i++) {
		assert_true(dev_send(&f, 100, 7, true));
		hdr[i] = va(&f, f.rx.desc[i].addr);
	}
	watch_ring(&f.rx);
	once_watch(&raw_packed_at(&f.ev_ring, 0)->len, 8);
	for (unsigned i = 0; i < PKTS; i++)
		once_watch(hdr[i], VSOCK_HDR_LEN);
	once_begin();
	n = f.q->ops->rx_burst(f.q, pkt, PKTS + 1);
	once_end();
	assert_int_equal(n, PKTS);
	expect_used(&f.rx, PKTS, true);
	once_expect(&raw_packed_at(&f.ev_ring, 0)->len);
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
	fix_layout(&vsock_rings_packed);
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
	f.q->ops->publish(f.q);
	once_end();
	assert_int_equal(n, HOT_RECLAIM);
	expect_used(&f.tx, PKTS, false); /* nothing else is with the device */
	once_expect(f.tx.device_event);
	once_expect_no_more();
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_received_packets_are_read_once),
		cmocka_unit_test(test_returned_buffers_are_read_once),
	};

	return cmocka_run_group_tests_name("the driver reads packed rings once", tests, NULL, NULL);
}
