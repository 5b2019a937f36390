/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets in every shape that descriptors allow, both ways. */
#include "dev_fix.h"

/* Cuts @total bytes at @off into descriptors at the places @cuts (ascending), scattered. */
static void offer_cut(struct fix *f, uint64_t off, uint32_t total, const uint32_t *cuts, unsigned n)
{
	uint32_t at = 0;

	for (unsigned i = 0; i <= n; i++) {
		uint32_t end = i < n ? cuts[i] : total;
		/* pieces are not adjacent, so that nobody can get away with one copy */
		uint64_t to = G_DATA + 0x20000 + i * 0x800;

		memcpy(f->g.mem + to, f->g.mem + off + at, end - at);
		drv_desc(&f->tx, i, G_GPA + to, end - at, i < n ? NEXT : 0, (uint16_t)(i + 1));
		at = end;
	}
	drv_offer(&f->tx, 0);
}

/* One packet is received, whole, with @len payload bytes. Gives it back. */
static void expect_packet(struct fix *f, uint32_t len)
{
	struct rx_pkt *p = f->pkt;
	struct vsock_hdr want = hdr_of(len);
	uint32_t sum = 0;

	assert_int_equal(f->tq->ops->rx_burst(f->tq, p, 64), 1);
	assert_memory_equal(&p->hdr, &want, HDR);
	for (uint32_t s = 0; s < p->nseg; s++) {
		assert_true(p->seg[s].len > 0);
		for (uint32_t i = 0; i < p->seg[s].len; i++)
			assert_int_equal(p->seg[s].base[i], (uint8_t)(sum++ + 1));
	}
	assert_int_equal(sum, len);
	assert_int_equal(p->nseg == 0, len == 0);
	f->tq->ops->publish(f->tq);
	if (len) {
		assert_false(drv_used(&f->tx, &(uint32_t){0}, &(uint32_t){0}));
		f->tq->ops->rx_release(f->tq, p->token);
		f->tq->ops->publish(f->tq);
	}
	assert_used(&f->tx, 0, 0);
	assert_int_equal(vhost_ring_in_flight(&f->q->from_guest), 0);
}

static void test_a_header_may_be_split_in_every_way(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 16, 16);
	const uint32_t total = HDR + 16;

	for (uint32_t a = 0; a <= total; a++) {
		offer_cut(f, off, total, (uint32_t[]){a}, 1);
		expect_packet(f, 16);
		for (uint32_t b = a; b <= total; b++) {
			offer_cut(f, off, total, (uint32_t[]){a, b}, 2);
			expect_packet(f, 16);
		}
	}
	assert_int_equal(f->tq->stats.rx_bad_hdr, 0);
}

static void test_payload_may_lie_in_as_many_descriptors_as_bytes(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 16, 16);
	uint32_t cuts[N];

	for (uint32_t i = 0; i < N; i++)
		cuts[i] = i + 1;
	offer_cut(f, off, HDR + 16, cuts, HDR + 15);
	expect_packet(f, 16);
	assert_int_equal(f->pkt[0].ndesc, HDR + 16);
	/* the same through a table */
	for (unsigned i = 0; i < HDR + 16; i++)
		((struct vring_desc *)(void *)(f->g.mem + G_DATA + 0x80000))[i] = f->tx.desc[i];
	drv_desc(&f->tx, 0, D + 0x80000, 16 * (HDR + 16), IND, 0);
	drv_offer(&f->tx, 0);
	expect_packet(f, 16);
	assert_int_equal(f->pkt[0].ndesc, 1);
}

/* hdr.len smaller than the chain: cut; larger: dropped, returned, counted. */
static void rx_len(void **state)
{
	struct fix *f = *state;
	static const struct {
		uint32_t len, payload;
		unsigned ncut;
		uint32_t cut[3];
		bool ok;
	} t[] = {
		{0, 0, 0, {0}, true},
		{10, 10, 0, {0}, true},
		{9, 10, 0, {0}, true},
		{0, 10, 0, {0}, true},
		{11, 10, 0, {0}, false},
		{UINT32_MAX, 10, 0, {0}, false},
		{1, 0, 0, {0}, false},
		{10, 30, 2, {HDR, HDR + 10}, true},
		{11, 30, 2, {HDR, HDR + 10}, true},
		{9, 30, 2, {HDR, HDR + 10}, true},
		{30, 30, 2, {20, HDR + 10}, true},
		{31, 30, 2, {20, HDR + 10}, false},
		{UINT32_MAX, 30, 2, {20, HDR + 10}, false},
		{0, 30, 1, {HDR}, true},
		{1, 0, 1, {20}, false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t off = put_packet(f, t[i].len, t[i].payload);
		uint64_t bad = f->tq->stats.rx_bad_hdr;

		offer_cut(f, off, HDR + t[i].payload, t[i].cut, t[i].ncut);
		if (t[i].ok) {
			expect_packet(f, t[i].len);
			continue;
		}
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		assert_int_equal(f->tq->stats.rx_bad_hdr, bad + 1);
		f->tq->ops->publish(f->tq);
		assert_used(&f->tx, 0, 0);
	}
	/* fewer bytes than a header: direct, empty, split */
	drv_desc(&f->tx, 0, D, HDR - 1, 0, 0);
	drv_offer(&f->tx, 0);
	drv_desc(&f->tx, 1, 0, 0, 0, 0);
	drv_offer(&f->tx, 1);
	drv_desc(&f->tx, 2, D, 40, NEXT, 3);
	drv_desc(&f->tx, 3, D, 3, 0, 0);
	drv_offer(&f->tx, 2);
	f->tq->stats.rx_bad_hdr = 0;
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->stats.rx_bad_hdr, 3);
	assert_int_equal(f->tq->up, 1);
}

/* Releases in another order, bursts bounded by max, many laps of the ring. */
static void rx_many(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 8, 8);
	uint32_t tokens[N], seen = 0;

	for (unsigned i = 0; i < N; i++)
		drv_desc(&f->tx, i, G_GPA + off, HDR + 8, 0, 0);
	for (unsigned lap = 0; lap < 3000; lap++) {
		unsigned got = 0;

		for (unsigned i = 0; i < N; i++)
			drv_offer(&f->tx, (uint16_t)i);
		while (got < N) {
			int n = f->tq->ops->rx_burst(f->tq, f->pkt, 7);

			assert_in_range(n, 1, 7);
			for (int i = 0; i < n; i++)
				tokens[got++] = f->pkt[i].token;
		}
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 7), 0);
		for (unsigned i = N; i-- > 0;)
			f->tq->ops->rx_release(f->tq, tokens[i]);
		f->tq->ops->publish(f->tq);
		for (unsigned i = N; i-- > 0; seen++)
			assert_used(&f->tx, i, 0);
	}
	assert_int_equal(seen, 3000 * N);
}

/* More segments than scratch: the burst ends early, the rest comes with the next. */
static void rx_scratch(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 1000, 1000);
	struct vring_desc *t = (void *)(f->g.mem + G_DATA + 0x80000);

	t[0] = (struct vring_desc){G_GPA + off, HDR, NEXT, 1};
	for (unsigned i = 0; i < 1000; i++)
		t[i + 1] = (struct vring_desc){G_GPA + off + HDR + i, 1, i < 999 ? NEXT : 0,
					       (uint16_t)(i + 2)};
	for (unsigned i = 0; i < 4; i++) {
		drv_desc(&f->tx, i, D + 0x80000, 16 * 1001, IND, 0);
		drv_offer(&f->tx, (uint16_t)i);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
		assert_int_equal(f->pkt[0].nseg, 1000);
		assert_int_equal(f->pkt[0].seg[999].base[0], (uint8_t)1000);
		f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	}
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->up, 1);
}

/* ---- the guest receives ---- */

static void tx_shapes(void **state)
{
	/* writable pieces; capacity is the first piece of payload behind the header */
	static const struct {
		uint32_t piece[5];
		uint32_t cap;
	} t[] = {
		{{HDR + 100}, 100},	    {{HDR, 100}, 100}, {{HDR, 100, 50}, 100},
		{{20, 24, 100}, 100},	    {{20, 124}, 100},  {{1, 43, 7, 9}, 7},
		{{43, 1, 100}, 100},	    {{43, 2, 100}, 1}, {{HDR + 1, 100}, 1},
		{{10, 10, 10, 10, 50}, 46}, {{43, 101}, 100},
	};
	struct fix *f = *state;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint8_t wire[HDR], got[1024];
		struct vsock_hdr h = hdr_of(t[i].cap);
		uint32_t at = 0;
		unsigned n;

		fresh(f, N);
		for (n = 0; n < 5 && t[i].piece[n]; n++)
			drv_desc(&f->rx, n, D + n * 0x1000ull, t[i].piece[n],
				 n < 4 && t[i].piece[n + 1] ? NEXT | WRITE : WRITE,
				 (uint16_t)(n + 1));
		drv_offer(&f->rx, 0);
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 4096, 0), 1);
		assert_int_equal(f->slot[0].capacity, t[i].cap);
		send_one(f, &f->slot[0], t[i].cap);
		assert_used(&f->rx, 0, HDR + t[i].cap);
		for (unsigned k = 0; k < n; k++) {
			memcpy(got + at, f->g.mem + G_DATA + k * 0x1000ull, t[i].piece[k]);
			at += t[i].piece[k];
		}
		vsock_hdr_put(wire, &h);
		assert_memory_equal(got, wire, HDR);
		for (uint32_t k = 0; k < t[i].cap; k++)
			assert_int_equal(got[HDR + k], (uint8_t)(k + 1));
	}
}

/* Buffers of exactly a header serve control packets only. */
static void tx_no_room(void **state)
{
	struct fix *f = *state;

	offer_rx(f, 0, HDR);
	offer_rx(f, 1, HDR);
	offer_rx(f, 2, HDR + 10);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 10, 0), 1);
	assert_int_equal(f->slot[0].capacity, 10);
	assert_false(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 64 - 1, 10, 0), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 63, 0, TX_CTRL), 2);
	assert_int_equal(f->slot[1].capacity, 0);
	f->tq->ops->tx_cancel(f->tq, f->slot[2].token);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 2, 62, 10, 0), 0);
	send_one(f, &f->slot[1], 0);
	send_one(f, &f->slot[0], 10);
	assert_used(&f->rx, 1, HDR);
	assert_used(&f->rx, 2, HDR + 10);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 0, TX_CTRL), 1);
	send_one(f, &f->slot[0], 0);
	assert_used(&f->rx, 0, HDR);
	assert_int_equal(vhost_ring_in_flight(&f->q->to_guest), 0);
	assert_int_equal(f->tq->up, 1);
}

static void tx_cancel(void **state)
{
	struct fix *f = *state;
	uint8_t *data;

	offer_rx(f, 0, 4096);
	offer_rx(f, 1, 4096);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	data = f->slot[1].data;
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token); /* once is enough */
	assert_true(f->tq->ops->tx_ready(f->tq));
	f->tq->ops->publish(f->tq);
	assert_false(drv_used(&f->rx, &(uint32_t){0}, &(uint32_t){0}));
	offer_rx(f, 2, 4096);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 2, 1, 0), 2);
	assert_ptr_equal(f->slot[1].data, data); /* the cancelled one first */
	assert_int_equal(f->slot[1].capacity, 4096 - HDR);
	for (unsigned i = 3; i-- > 0;)
		send_one(f, &f->slot[i], i);
	assert_used(&f->rx, 2, HDR + 2);
	assert_used(&f->rx, 1, HDR + 1);
	assert_used(&f->rx, 0, HDR);
}

static void tx_control_reserve(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < N; i++)
		offer_rx(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_max(f->tq), N - KEEP);
	assert_true(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), N - KEEP);
	assert_false(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - KEEP, 8, 1, 0), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - KEEP, 3, 0, TX_CTRL), 3);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - 5, 64, 0, TX_CTRL), 5);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 0, TX_CTRL), 0);
	for (unsigned i = 0; i < N; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), N - KEEP);
	/* small rings keep an eighth; a guest with few buffers keeps few back */
	fresh(f, 16);
	for (unsigned i = 0; i < 16; i++)
		offer_rx(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_max(f->tq), 14);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 14);
	fresh(f, N);
	for (unsigned i = 0; i < 4; i++)
		offer_rx(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 4);
}

/* A table of @n - 1 empty descriptors and one of @len bytes, for the chain at @head of @d. */
static void offer_empties(struct fix *f, struct drv *d, uint16_t head, uint32_t n, uint32_t len,
			  uint16_t flags)
{
	struct vring_desc *t = (void *)(f->g.mem + G_DATA + 0x80000);

	for (uint32_t i = 0; i < n - 1; i++)
		t[i] = (struct vring_desc){0, 0, (uint16_t)(flags | NEXT), (uint16_t)(i + 1)};
	t[n - 1] = (struct vring_desc){D + 0x40000, len, flags, 0};
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
		offer_empties(f, &f->rx, i, 1000, HDR + 1, WRITE);
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
		offer_empties(f, &f->tx, i, 1000, HDR, 0);
	for (; all < 32; bursts++) {
		got = f->tq->ops->rx_burst(f->tq, f->pkt, 64);
		assert_true(got >= 1);
		assert_in_range(f->q->from_guest.walked, 1, VHOST_WORK + 1001);
		all += got;
	}
	assert_true(bursts >= 32 * 1000 / (VHOST_WORK + 1001));
	assert_int_equal(f->q->from_guest.broken, 0);
}

/* The control thread has other guests too: it does not walk a ring of such chains either. */
static void work_of_an_end_is_bounded(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 0, 0);
	unsigned all = 0;
	struct vhost_pair_bases b;
	int n;

	fresh(f, 256);
	memcpy(f->g.mem + G_DATA + 0x40000, f->g.mem + off, HDR);
	for (uint16_t i = 0; i < LONG; i++)
		offer_empties(f, &f->tx, i, 1000, HDR, 0);
	assert_true(vhost_pair_stop(f->q, &b));
	while ((n = f->tq->ops->rx_rest(f->tq, f->pkt, 64)) > 0)
		all += (unsigned)n;
	assert_in_range(all, 8,
			vhost_pair_sweep(&f->q->from_guest) / 1000 + 1 + VHOST_WORK / 1000 + 1);
}

/* Packets in two pieces, and so many empty descriptors that they cannot all be looked for again. */
static void work_of_a_revocation_is_bounded(void **state)
{
	struct fix *f = *state;
	struct vring_desc *t = (void *)(f->g.mem + G_DATA + 0x80000);
	unsigned all = 0, good = 0;
	uint32_t token[LONG];
	uint8_t *at[LONG] = {NULL};
	struct vhost_pair_bases b;
	uint64_t off;
	int n;

	fresh(f, 256);
	off = put_packet(f, 8, 8);
	for (uint16_t i = 0; i < LONG; i++)
		offer_empties(f, &f->tx, i, 1000, 4, 0);
	t[0] = (struct vring_desc){G_GPA + off, HDR + 4, NEXT, 1};
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
		offer_rx(f, i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 8, 1, 0), 8);
	for (unsigned i = 1; i < 8; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	was = f->slot[0].data;
	for (uint16_t i = 0; i < 16; i++) /* the driver has no right to */
		offer_empties(f, &f->rx, i, 1000, 50, WRITE);
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
	offer_rx(f, 0, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
	assert_true(vhost_pair_pause(f->q, f->g.gm, &b));
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_resume(f->q, &s, f->g.gm), 0);
	guest_mem_put(gm);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	assert_int_equal(f->q->nlate, 1);
	for (uint16_t i = 0; i < LONG; i++) /* without room for payload */
		offer_empties(f, &f->rx, i, 1000, HDR, WRITE);
	offer_rx(f, LONG, 1000);
	for (; f->q->nlate; rounds++) {
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		f->tq->ops->publish(f->tq);
		assert_in_range(f->q->to_guest.walked + f->q->taken, 1, VHOST_WORK + 1001);
		assert_int_equal(f->tq->ops->arm(f->tq, 0), f->q->nlate);
		f->tq->ops->disarm(f->tq);
	}
	assert_true(rounds >= LONG * 1000 / (VHOST_WORK + 1001));
	assert_int_equal(f->q->nctrl, LONG);
	assert_int_equal(f->q->to_guest.broken, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_header_may_be_split_in_every_way),
		T(test_payload_may_lie_in_as_many_descriptors_as_bytes),
		T(rx_len),
		T(rx_many),
		T(rx_scratch),
		T(tx_shapes),
		T(tx_no_room),
		T(tx_cancel),
		T(tx_control_reserve),
		T(work_of_a_round_is_bounded),
		T(work_of_a_burst_is_bounded),
		T(work_of_an_end_is_bounded),
		T(work_of_a_revocation_is_bounded),
		T(work_of_a_change_is_bounded),
		T(work_of_a_late_packet_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
