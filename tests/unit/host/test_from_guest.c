/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets from the guest, in every shape that descriptors allow. */
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
		drv_desc(&f->from, i, G_GPA + to, end - at, i < n ? NEXT : 0, (uint16_t)(i + 1));
		at = end;
	}
	drv_offer(&f->from, 0);
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
		assert_false(drv_used(&f->from, &(uint32_t){0}, &(uint32_t){0}));
		f->tq->ops->rx_release(f->tq, p->token);
		f->tq->ops->publish(f->tq);
	}
	assert_used(&f->from, 0, 0);
	assert_int_equal(ring_in_flight(&f->q->from_guest), 0);
}

static void a_header_may_be_split_in_every_way(void **state)
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

static void payload_may_lie_in_as_many_descriptors_as_bytes(void **state)
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
		drv_table(f->g.mem + G_DATA + 0x80000, i, f->from.desc[i].addr, f->from.desc[i].len,
			  f->from.desc[i].flags);
	drv_desc(&f->from, 0, D + 0x80000, 16 * (HDR + 16), IND, 0);
	drv_offer(&f->from, 0);
	expect_packet(f, 16);
	assert_int_equal(f->pkt[0].ndesc, 1);
}

/* hdr.len smaller than the chain: cut; larger: dropped, returned, counted. */
static void a_length_beyond_the_chain_is_dropped(void **state)
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
		assert_used(&f->from, 0, 0);
	}
	/* fewer bytes than a header: direct, empty, split */
	drv_desc(&f->from, 0, D, HDR - 1, 0, 0);
	drv_offer(&f->from, 0);
	drv_desc(&f->from, 1, 0, 0, 0, 0);
	drv_offer(&f->from, 1);
	drv_desc(&f->from, 2, D, 40, NEXT, 3);
	drv_desc(&f->from, 3, D, 3, 0, 0);
	drv_offer(&f->from, 2);
	f->tq->stats.rx_bad_hdr = 0;
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->stats.rx_bad_hdr, 3);
	assert_int_equal(f->tq->up, 1);
}

/* Releases in another order, bursts bounded by max, many laps of the ring. */
static void packets_come_back_in_any_order(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 8, 8);
	uint32_t tokens[N], seen = 0;

	for (unsigned i = 0; i < N; i++)
		drv_desc(&f->from, i, G_GPA + off, HDR + 8, 0, 0);
	for (unsigned lap = 0; lap < 3000; lap++) {
		unsigned got = 0;

		for (unsigned i = 0; i < N; i++)
			drv_offer(&f->from, (uint16_t)i);
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
			assert_used(&f->from, i, 0);
	}
	assert_int_equal(seen, 3000 * N);
}

/* More segments than scratch: the burst ends early, the rest comes with the next. */
static void a_burst_ends_where_its_segments_do(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 1000, 1000);
	void *t = f->g.mem + G_DATA + 0x80000;

	drv_table(t, 0, G_GPA + off, HDR, NEXT);
	for (unsigned i = 0; i < 1000; i++)
		drv_table(t, i + 1, G_GPA + off + HDR + i, 1, i < 999 ? NEXT : 0);
	for (unsigned i = 0; i < 4; i++) {
		drv_desc(&f->from, i, D + 0x80000, 16 * 1001, IND, 0);
		drv_offer(&f->from, (uint16_t)i);
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

/* How many chains the driver has got back since the last call. */
static unsigned returned(struct fix *f)
{
	uint32_t id, len;
	unsigned n = 0;

	while (drv_used(&f->from, &id, &len))
		n++;
	return n;
}

static unsigned release_one(struct fix *f, unsigned i)
{
	f->tq->ops->rx_release(f->tq, f->pkt[i].token);
	f->tq->ops->publish(f->tq);
	return returned(f);
}

/* The driver sends @n packets, which arrive in f->pkt. */
static void sent(struct fix *f, unsigned n)
{
	uint64_t off = put_packet(f, 8, 8);

	for (unsigned i = 0; i < n; i++) {
		drv_desc(&f->from, i, G_GPA + off, HDR + 8, 0, 0);
		drv_offer(&f->from, (uint16_t)i);
	}
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), n);
}

/* A quarter of what the driver has in the ring at most waits for company, and not for ever. */
static void released_chains_are_published_in_groups(void **state)
{
	struct fix *f = *state;
	unsigned i = 0, polls = 0, back = 0;
	struct vhost_pair_bases b;

	sent(f, 1);
	assert_int_equal(release_one(f, 0), 1); /* it has nothing else */
	sent(f, 32);
	for (; i < 7; i++)
		assert_int_equal(release_one(f, i), 0);
	assert_int_equal(release_one(f, i++), 8);
	assert_int_equal(release_one(f, i++), 0);
	for (; !back && polls < 2 * VHOST_IDLE; polls++) {
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt + 32, 1), 0);
		f->tq->ops->publish(f->tq);
		back = returned(f);
	}
	assert_int_equal(back, 1);
	assert_int_equal(polls, VHOST_IDLE);
	assert_int_equal(release_one(f, i++), 0);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	assert_int_equal(returned(f), 1);	  /* before it sleeps */
	assert_int_equal(release_one(f, i++), 1); /* and while it does */
	f->tq->ops->disarm(f->tq, true);
	assert_int_equal(release_one(f, i++), 0);
	/* Stopped rings have nothing left: what waited, and what was on loan. */
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(returned(f), 32 - i + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_header_may_be_split_in_every_way),
		T(payload_may_lie_in_as_many_descriptors_as_bytes),
		T(a_length_beyond_the_chain_is_dropped),
		T(packets_come_back_in_any_order),
		T(a_burst_ends_where_its_segments_do),
		T(released_chains_are_published_in_groups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
