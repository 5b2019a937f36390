/* SPDX-License-Identifier: BSD-3-Clause */
/* What a guest with long chains can make the owner of its queue, or the control thread, do. */
#include "dev_fix.h"

/* A table of @n - 1 empty descriptors and one of @len bytes, for the chain at @head of @d. */
static void offer_empties(struct fix *f, struct drv *d, uint16_t head, uint32_t n, uint32_t len,
			  uint16_t flags)
{
	void *t = f->g.mem + G_DATA + 0x80000;

	for (uint32_t i = 0; i < n - 1; i++)
		drv_table(t, i, 0, 0, flags | NEXT);
	drv_table(t, n - 1, D + 0x40000, len, flags);
	drv_desc(d, head, D + 0x80000, 16 * n, IND, 0);
	drv_offer(d, head);
}

#define LONG                                                                                       \
	200u /* entries of a ring of long chains: more of them than the control thread looks at */

/* Chains of a thousand empty descriptors: a round takes a few of them, and the next one goes on. */
static void work_of_a_round_is_bounded(void **state)
{
	struct fix *f = *state;
	unsigned got, all = 0, rounds = 0;

	for (uint16_t i = 0; i < N; i++)
		offer_empties(f, &f->to, i, 1000, HDR + 1, WRITE);
	while (all < N - KEEP) {
		assert_true(++rounds <= N);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		while ((got = f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0)))
			all += got;
		assert_in_range(f->q->to_guest.walked + f->q->taken, 1, VHOST_WORK + 1001);
		if (all < N - KEEP)
			assert_true(f->tq->ops->tx_ready(f->tq) && f->tq->ops->arm(f->tq, 1) == 1);
	}
	assert_true(rounds >= (N - KEEP) * 1000 / (VHOST_WORK + 1001));
	assert_int_equal(all, N - KEEP);
	/* control packets are few, and go at once */
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 0, TX_CTRL), 1);
	assert_int_equal(f->q->to_guest.broken, 0);
}

static void work_of_a_burst_is_bounded(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 0, 0);
	int got, all = 0;
	unsigned bursts = 0;

	memcpy(f->g.mem + G_DATA + 0x40000, f->g.mem + off, HDR);
	for (uint16_t i = 0; i < 32; i++)
		offer_empties(f, &f->from, i, 1000, HDR, 0);
	for (; all < 32; bursts++) {
		got = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
		assert_true(got >= 1);
		assert_in_range(f->q->from_guest.walked, 1, VHOST_WORK + 1001);
		all += got;
	}
	assert_true(bursts >= 32 * 1000 / (VHOST_WORK + 1001));
	assert_int_equal(f->q->from_guest.broken, 0);
}

/* Packets of 256 KiB, from any number of connections. */
static void payload_of_a_burst_is_bounded(void **state)
{
	enum { LEN = 256u << 10, PACKETS = 32 };
	struct fix *f = *state;
	uint64_t off = put_packet(f, LEN, 0);
	int got, all = 0;

	for (uint16_t i = 0; i < PACKETS; i++) {
		drv_desc(&f->from, i, D + off - G_DATA, HDR + LEN, 0, 0);
		drv_offer(&f->from, i);
	}
	while (all < PACKETS) {
		uint32_t bytes = 0;

		got = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
		assert_true(got >= 1);
		for (int i = 0; i < got; i++)
			bytes += f->pkt[i].hdr.len;
		assert_in_range(bytes, LEN, VHOST_BURST_BYTES);
		assert_int_equal(f->tq->rx_more, 1); /* as far as it knows */
		all += got;
	}
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->rx_more, 0);
	assert_int_equal(f->q->from_guest.broken, 0);
}

/* A queue of a device that has several has its share of that, in both directions. */
static void queues_share_the_work_of_a_round(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 0, 0);
	unsigned sent = 0, got = 0;

	f->q->work = VHOST_WORK / 16;
	memcpy(f->g.mem + G_DATA + 0x40000, f->g.mem + off, HDR);
	for (uint16_t i = 0; i < 8; i++)
		offer_empties(f, &f->from, i, 1000, HDR, 0);
	while (sent < 8) {
		int n = f->tq->ops->rx_burst(f->tq, f->pkt, 64);

		assert_int_equal(n, 1);
		sent += (unsigned)n;
	}
	for (uint16_t i = 0; i < N; i++)
		offer_empties(f, &f->to, i, 1000, HDR + 1, WRITE);
	for (unsigned round = 1; round <= 8; round++) {
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		got += f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0);
		assert_in_range(got, 1, round);
	}
	assert_int_equal(f->q->from_guest.broken | f->q->to_guest.broken, 0);
}

#define LARGE	 4096u
#define LARGE_AT (G_DATA + 0x100000) /* of a ring that is larger than those of the fixture */

static void large_ring(const struct fix *f, struct vhost_ring_area *a)
{
	*a = (struct vhost_ring_area){.size = LARGE};
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++)
		a->part[i] = f->g.gm->r[0].va + LARGE_AT + i * 0x20000;
}

/* The driver's half of it: @n chains of a header at @gpa. */
static void offer_large_ring(struct fix *f, unsigned n, uint64_t gpa)
{
	memset(f->g.mem + LARGE_AT, 0, G_SIZE - LARGE_AT);
#ifdef RINGS_PACKED
	struct vring_packed_desc *d = (void *)(f->g.mem + LARGE_AT);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vring_packed_desc){gpa, HDR, (uint16_t)i, PACKED_AVAIL};
#else
	struct vring_desc *d = (void *)(f->g.mem + LARGE_AT);
	struct vring_avail *avail = (void *)(f->g.mem + LARGE_AT + 0x20000);

	for (unsigned i = 0; i < n; i++) {
		d[i] = (struct vring_desc){gpa, HDR, 0, 0};
		avail->ring[i] = (uint16_t)i;
	}
	avail->idx = (uint16_t)n;
#endif
}

/* Ends a session whose ring has LONG chains of 1,000 descriptors: how many packets are saved. */
static unsigned saved_of_long_chains(struct fix *f, uint32_t sweep_max)
{
	uint64_t off = put_packet(f, 0, 0);
	struct vhost_pair_bases b;
	unsigned all = 0;
	int n;

	fresh(f, 256);
	f->q->sweep_max = sweep_max;
	memcpy(f->g.mem + G_DATA + 0x40000, f->g.mem + off, HDR);
	for (uint16_t i = 0; i < LONG; i++)
		offer_empties(f, &f->from, i, 1000, HDR, 0);
	assert_true(vhost_pair_stop(f->q, &b));
	while ((n = f->tq->ops->rx_rest(f->tq, f->pkt, 64)) > 0)
		all += (unsigned)n;
	return all;
}

/* The control thread has other guests too: it does not walk a ring of such chains either. */
static void work_of_an_end_is_bounded(void **state)
{
	struct fix *f = *state;
	unsigned all = saved_of_long_chains(f, UINT32_MAX);

	assert_in_range(all, 8,
			vhost_pair_sweep(f->q, &f->q->from_guest) / 1000 + 1 + VHOST_WORK / 1000 +
				1);
}

/* Packets for which one look at the ring is not enough: all of them are saved. */
static void an_end_saves_a_large_ring(void **state)
{
	const unsigned n = 3000;
	struct fix *f = *state;
	uint64_t off = put_packet(f, 0, 0);
	struct vhost_pair_bases b;
	struct vhost_pair_setup s;
	unsigned all = 0;
	int got;

	(void)vhost_pair_stop(f->q, &b);
	offer_large_ring(f, n, G_GPA + off);
	fill_setup(f, &s, f->g.gm);
	large_ring(f, &s.ring[VHOST_FROM_GUEST]);
	assert_int_equal(vhost_pair_start(f->q, &s), 0);
	assert_true(vhost_pair_stop(f->q, &b));
	while ((got = f->tq->ops->rx_rest(f->tq, f->pkt, 64)) > 0)
		all += (unsigned)got;
	assert_int_equal(all, n);
}

/* All queues of a device end at once, so they share a limit. */
static void queues_share_the_work_of_an_end(void **state)
{
	assert_in_range(saved_of_long_chains(*state, 1000), 1, 1 + 1 + VHOST_WORK / 1000 + 1);
}

/* Packets in two pieces, and so many empty descriptors that they cannot all be looked for again. */
static void work_of_a_revocation_is_bounded(void **state)
{
	struct fix *f = *state;
	unsigned all = 0, good = 0;
	uint32_t token[LONG];
	uint8_t *at[LONG] = {NULL};
	struct vhost_pair_bases b;
	uint64_t off;
	int n;

	fresh(f, 256);
	off = put_packet(f, 8, 8);
	for (uint16_t i = 0; i < LONG; i++)
		offer_empties(f, &f->from, i, 1000, 4, 0);
	drv_table(f->g.mem + G_DATA + 0x80000, 0, G_GPA + off, HDR + 4, NEXT);
	memcpy(f->g.mem + G_DATA + 0x40000, f->g.mem + off + HDR + 4, 4);
	for (unsigned round = 0; all < LONG && round < LONG; round++) {
		n = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
		for (int i = 0; i < n; i++, all++) {
			token[all] = f->pkt[i].token;
			at[all] = f->pkt[i].seg[0].base;
		}
	}
	assert_int_equal(all, LONG);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->lost, 1); /* bytes are lost, and that is said */
	memset(f->g.mem + off, 0x77, HDR + 8);
	for (unsigned i = 0; i < LONG; i++)
		good += at[i][0] == 1;
	assert_int_equal(good, LONG); /* they all lent the same bytes */
	for (unsigned i = 0; i < LONG; i++)
		f->tq->ops->rx_release(f->tq, token[i]);
	assert_null(f->q->retired);
}

/* A change of the memory table does not walk what was taken before. */
static void work_of_a_change_is_bounded(void **state)
{
	struct fix *f = *state;
	struct guest_mem *gm = own_map(f);
	struct vhost_pair_setup s;
	uint8_t *was;

	for (uint16_t i = 0; i < 16; i++)
		offer_empty(f, i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 8, 1, 0), 8);
	for (unsigned i = 1; i < 8; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	was = f->slot[0].data;
	for (uint16_t i = 0; i < 16; i++) /* the driver has no right to */
		offer_empties(f, &f->to, i, 1000, 50, WRITE);
	f->q->to_guest.walked = 0;
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_switch_mem(f->q, &s), 0);
	guest_mem_put(gm);
	f->tq->ops->tx_cancel(f->tq, f->slot[0].token);
	assert_int_equal(f->q->to_guest.walked, 0);
	assert_int_equal(f->q->to_guest.broken, 0);
	assert_int_equal(f->q->nstack, 8);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 8, 1, 0), 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(f->slot[i].capacity, 1000 - HDR);
	assert_true(f->slot[0].data != was);
}

/* A packet that waited out a pause looks for room, and no more of it than a round allows. */
static void work_of_a_late_packet_is_bounded(void **state)
{
	struct fix *f = *state;
	struct guest_mem *gm = own_map(f);
	struct vsock_hdr h = hdr_of(3);
	unsigned rounds = 0;
	struct vhost_pair_setup s;
	struct vhost_pair_bases b;

	fresh(f, 256);
	offer_empty(f, 0, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
	assert_true(vhost_pair_pause(f->q, f->g.gm, &b));
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_resume(f->q, &s, f->g.gm), 0);
	guest_mem_put(gm);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	assert_int_equal(f->q->ndeferred, 1);
	for (uint16_t i = 0; i < LONG; i++) /* without room for payload */
		offer_empties(f, &f->to, i, 1000, HDR, WRITE);
	offer_empty(f, LONG, 1000);
	for (; f->q->ndeferred; rounds++) {
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		f->tq->ops->publish(f->tq);
		assert_in_range(f->q->to_guest.walked + f->q->taken, 1, VHOST_WORK + 1001);
		assert_int_equal(f->tq->ops->arm(f->tq, 0), f->q->ndeferred);
		f->tq->ops->disarm(f->tq, true);
	}
	assert_true(rounds >= LONG * 1000 / (VHOST_WORK + 1001));
	assert_int_equal(f->q->nctrl, LONG);
	assert_int_equal(f->q->to_guest.broken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(work_of_a_round_is_bounded),	     T(work_of_a_burst_is_bounded),
		T(queues_share_the_work_of_a_round), T(work_of_an_end_is_bounded),
		T(an_end_saves_a_large_ring),	     T(queues_share_the_work_of_an_end),
		T(work_of_a_revocation_is_bounded),  T(work_of_a_change_is_bounded),
		T(work_of_a_late_packet_is_bounded), T(payload_of_a_burst_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
