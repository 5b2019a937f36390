/* SPDX-License-Identifier: BSD-3-Clause */
/* As test_read_once.c, of packed rings. */
#define RINGS_PACKED
#include "dev_fix.h"

#include "once_fix.h"

/* Descriptors [0, @n) whole; of the one behind them, whether it is there. */
static void expect_descs(const struct vhost_ring *r, unsigned n)
{
	const struct vring_packed_desc *ring = r->area.part[VHOST_DESC_AREA];

	for (unsigned i = 0; i < n; i++) {
		once_expect(&ring[i].len); /* with id and flags */
		once_expect(&ring[i].addr);
	}
	once_expect(&ring[n].len);
}

static void test_packets_of_one_descriptor_are_read_once(void **state)
{
	struct fix *f = *state;
	const struct vhost_ring *r = &f->q->from_guest;
	uint64_t off[3];
	int n;

	for (uint16_t i = 0; i < 3; i++) {
		off[i] = put_packet(f, 100, 100);
		drv_desc(&f->from, i, G_GPA + off[i], HDR + 100, 0, 0);
		drv_offer(&f->from, i);
	}
	watch_ring(r);
	for (unsigned i = 0; i < 3; i++)
		once_watch(host_va(f, off[i]), HDR);
	once_begin();
	n = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
	once_end();
	assert_int_equal(n, 3);
	expect_descs(r, 3);
	for (unsigned i = 0; i < 3; i++) {
		once_expect_hdr(host_va(f, off[i]));
		f->tq->ops->rx_release(f->tq, f->pkt[i].token);
	}
	once_expect_no_more();
}

/* A list, which is walked as well: of copies. */
static void test_a_list_is_read_once(void **state)
{
	struct fix *f = *state;
	const struct vhost_ring *r = &f->q->from_guest;
	uint64_t off = put_packet(f, 100, 100);
	int n;

	drv_desc(&f->from, 0, G_GPA + off, HDR, NEXT, 1);
	drv_desc(&f->from, 1, G_GPA + off + HDR, 100, 0, 0);
	drv_offer(&f->from, 0);
	watch_ring(r);
	once_begin();
	n = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	once_end();
	assert_int_equal(n, 1);
	expect_descs(r, 2);
	once_expect_no_more();
}

static void test_receive_buffers_of_the_guest_are_read_once(void **state)
{
	struct fix *f = *state;
	const struct vhost_ring *r = &f->q->to_guest;
	unsigned n;

	for (uint16_t i = 0; i < 16; i++)
		offer_empty(f, i, HDR + 64);
	watch_ring(r);
	once_watch(host_va(f, G_DATA), HDR);
	once_begin();
	n = f->tq->ops->tx_reserve(f->tq, f->slot, 2, 64, 0);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &(struct vsock_hdr){.len = 64});
	f->tq->ops->publish(f->tq);
	once_end();
	assert_int_equal(n, 2);
	expect_descs(r, 16);
	once_expect(r->area.part[VHOST_DRIVER_AREA]);
	once_expect_no_more(); /* and nothing of header or used descriptors is read back */
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_packets_of_one_descriptor_are_read_once),
		T(test_a_list_is_read_once),
		T(test_receive_buffers_of_the_guest_are_read_once),
	};

	return cmocka_run_group_tests_name("the device reads packed rings once", tests, NULL, NULL);
}
