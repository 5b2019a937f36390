/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device side loads each word that a guest can change once: what has been checked is what is
 * used. See read_once.h.
 */
#include "dev_fix.h"

#include "once_fix.h"
#include "ring/vhost_ring_split.h"

/* One look at the ring and the entries [@from, @to), each a chain at the head of its number. */
static void expect_entries(const struct vhost_ring *r, unsigned from, unsigned to)
{
	const struct vring_avail *avail = vhost_split_avail(r);

	once_expect(&avail->idx);
	for (unsigned i = from; i < to; i++)
		once_expect(&avail->ring[i]);
}

static void expect_desc(const struct vring_desc *d)
{
	once_expect(&d->addr);
	once_expect(&d->len); /* with flags and next */
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
	expect_entries(r, 0, 3);
	for (unsigned i = 0; i < 3; i++) {
		expect_desc(&vhost_split_table(r)[i]);
		once_expect_hdr(host_va(f, off[i]));
		f->tq->ops->rx_release(f->tq, f->pkt[i].token);
	}
	once_expect_no_more();
}

/* Its first descriptor is looked at twice, by the burst and by the walk that trusts nothing of it.
 */
static void test_a_chain_of_two_is_read_once_by_the_walk(void **state)
{
	struct fix *f = *state;
	const struct vhost_ring *r = &f->q->from_guest;
	uint64_t off = put_packet(f, 100, 100);
	int n;

	drv_desc(&f->from, 0, G_GPA + off, HDR, NEXT, 1);
	drv_desc(&f->from, 1, G_GPA + off + HDR, 100, 0, 0);
	drv_offer(&f->from, 0);
	once_watch(&vhost_split_table(r)[1], sizeof(struct vring_desc));
	once_watch(vhost_split_avail(r), 6 + 2 * r->area.size);
	once_begin();
	n = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
	once_end();
	assert_int_equal(n, 1);
	expect_entries(r, 0, 1);
	expect_desc(&vhost_split_table(r)[1]);
	once_expect_no_more();
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
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
	once_end();
	assert_int_equal(n, 2);
	expect_entries(r, 0, 2);
	expect_desc(&vhost_split_table(r)[0]);
	expect_desc(&vhost_split_table(r)[1]);
	once_expect_no_more(); /* and nothing of the header is read back */
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_packets_of_one_descriptor_are_read_once),
		T(test_a_chain_of_two_is_read_once_by_the_walk),
		T(test_receive_buffers_of_the_guest_are_read_once),
	};

	return cmocka_run_group_tests_name("the device reads once", tests, NULL, NULL);
}
