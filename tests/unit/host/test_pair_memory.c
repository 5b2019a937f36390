/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue pair whose guest's memory changes while buffers are out. */
#include "dev_fix.h"
#include "map_limit.h"

#include <errno.h>

/* A new memory table under a running session: nothing is lost. */
static void a_session_goes_on_in_a_new_table(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 8, 8);
	struct vhost_pair_setup s;
	struct guest_mem *gm = own_map(f);
	struct vsock_hdr h = hdr_of(1);
	uint32_t rx_token;
	uint8_t *held, *before;

	drv_desc(&f->from, 0, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	rx_token = f->pkt[0].token;
	held = f->pkt[0].seg[0].base;
	for (unsigned i = 0; i < 3; i++)
		offer_empty(f, (uint16_t)i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 3, 1, 0), 3);
	f->tq->ops->tx_cancel(f->tq, f->slot[2].token); /* one on the stack, two out */
	before = f->slot[2].data;

	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_switch_mem(f->q, &s), 0);
	guest_mem_put(gm);
	assert_int_equal(f->tq->session, 1);
	assert_int_equal(f->tq->up, 1);
	assert_int_equal(held[0], 1); /* not revoked */
	f->tq->ops->rx_release(f->tq, rx_token);
	f->slot[0].data[0] = 0x55;
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
	assert_null(f->q->retired);
	f->tq->ops->publish(f->tq);
	assert_used(&f->from, 0, 0);
	assert_used(&f->to, 0, HDR + 1);
	assert_int_equal(f->g.mem[G_DATA + HDR], 0x55);
	/* the other two come back, in the new map */
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 3, 1, 0), 2);
	assert_true(f->slot[1].data != before);
	f->slot[1].data[0] = 0x66;
	f->tq->ops->tx_commit(f->tq, f->slot[1].token, &h);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	f->tq->ops->publish(f->tq);
	assert_used(&f->to, 2, HDR + 1);
	assert_int_equal(f->g.mem[G_DATA + 0x2000 + HDR], 0x66);
	assert_used(&f->to, 1, HDR + 1);
}

/* A memfd with the guest's contents: its memory, moved. */
static int moved_memory(struct fix *f)
{
	int fd = memfd_create("moved", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, f->g.mem, G_SIZE, 0), G_SIZE);
	return fd;
}

/* The rings stay in the first half, the second is wherever @fd says. */
static int switch_to(struct fix *f, int fd)
{
	struct guest_mem_src src[2] = {guest_src(&f->g), guest_src(&f->g)};
	struct guest_mem *gm;
	struct vhost_pair_setup s;
	int ret;

	src[0].size = src[1].size = src[1].offset = G_SIZE / 2;
	src[1].gpa.v += G_SIZE / 2;
	src[1].uva.v += G_SIZE / 2;
	src[1].fd = fd;
	assert_int_equal(guest_mem_import(&gm, src, 2), 0);
	fill_setup(f, &s, gm);
	ret = vhost_pair_switch_mem(f->q, &s);
	guest_mem_put(gm);
	return ret;
}

/* Memory that nobody uses goes or moves: the session does not notice. */
static void unused_memory_goes(void **state)
{
	struct fix *f = *state;
	int fd = moved_memory(f);
	struct vsock_hdr h = hdr_of(1);

	assert_int_equal(switch_to(f, f->g.fd), 0); /* from here on two regions */
	for (unsigned i = 0; i < 2; i++)
		offer_empty(f, (uint16_t)i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	assert_int_equal(switch_to(f, fd), 0);
	assert_int_equal(f->tq->session, 1);
	f->slot[0].data[0] = 0x55;
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	f->tq->ops->publish(f->tq);
	assert_used(&f->to, 0, HDR + 1);
	assert_int_equal(f->g.mem[G_DATA + HDR], 0x55);
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
	assert_null(f->q->retired);
	close(fd);
}

/* A buffer in use goes: the session cannot go on, and nothing reaches the old memory any more. */
static void memory_in_use_goes(void **state)
{
	struct fix *f = *state;
	bool rx = true;
	uint64_t at = G_SIZE / 2 + 0x1000;
	struct vsock_hdr h = hdr_of(4);
	struct vhost_pair_bases b;
	uint8_t *mine;
	uint32_t token;
	int fd = moved_memory(f);

	for (int round = 0; round < 2; round++, rx = !rx) {
		assert_int_equal(switch_to(f, f->g.fd), 0);
		if (rx) {
			vsock_hdr_put(f->g.mem + at, &h);
			drv_desc(&f->from, 0, G_GPA + at, HDR + 4, 0, 0);
			drv_offer(&f->from, 0);
			assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
			token = f->pkt[0].token;
			mine = f->pkt[0].seg[0].base;
		} else {
			drv_desc(&f->to, 0, G_GPA + at, 1000, WRITE, 0);
			drv_offer(&f->to, 0);
			assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
			token = f->slot[0].token;
			mine = f->slot[0].data;
		}
		assert_int_equal(switch_to(f, fd), -EBUSY);
		assert_true(vhost_pair_stop(f->q, &b));
		memset(f->g.mem + at, 0x77, 0x1000);
		memset(mine, 0xd1, 4);
		for (unsigned i = 0; i < 0x1000; i++)
			assert_int_equal(f->g.mem[at + i], 0x77);
		assert_int_equal(mine[3], 0xd1);
		if (rx)
			f->tq->ops->rx_release(f->tq, token);
		else
			f->tq->ops->tx_commit(f->tq, token, &h);
		assert_int_equal(f->g.mem[at], 0x77);
		assert_null(f->q->retired);
		fresh(f, N);
	}
	close(fd);
}

/* Loans that outlive one change or session after the other keep so many maps, and no more. */
static void maps_kept_are_bounded(void **state)
{
	struct fix *f = *state;
	uint32_t token[VHOST_RETIRED + 2];
	struct vhost_pair_bases b;
	struct vhost_pair_setup s;
	struct guest_mem *gm;
	unsigned n = 0;
	int ret = 0;

	for (; ret == 0 && n < VHOST_RETIRED + 2; n++) {
		uint64_t off = put_packet(f, 8, 8);

		drv_desc(&f->from, (uint16_t)n, G_GPA + off, HDR + 8, 0, 0);
		drv_offer(&f->from, (uint16_t)n);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
		token[n] = f->pkt[0].token;
		gm = own_map(f);
		fill_setup(f, &s, gm);
		ret = vhost_pair_switch_mem(f->q, &s);
		guest_mem_put(gm);
	}
	assert_int_equal(ret, -EBUSY);
	assert_int_equal(n, VHOST_RETIRED + 1);
	assert_true(vhost_pair_stop(f->q, &b));
	gm = own_map(f);
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_start(f->q, &s), -EBUSY);
	assert_int_equal(f->tq->up, 0);
	f->tq->ops->rx_release(f->tq, token[0]);
	assert_int_equal(vhost_pair_start(f->q, &s), -EBUSY);
	f->tq->ops->rx_release(f->tq, token[1]);
	assert_int_equal(vhost_pair_start(f->q, &s), 0); /* goes on once loans come back */
	guest_mem_put(gm);
	while (n-- > 2)
		f->tq->ops->rx_release(f->tq, token[n]);
	assert_null(f->q->retired);
}

/* Sparse memory costs a guest nothing, but the process has so much address space for all guests. */
static void bytes_kept_are_bounded(void **state)
{
	struct fix *f = *state;
	const unsigned most = 3;
	uint32_t token[8];
	struct vhost_pair_bases b;
	struct vhost_pair_setup s;
	unsigned n = 0;
	int ret = 0;

	f->q->retired_max = most * G_SIZE + G_SIZE / 2;
	for (; ret == 0 && n < 8; n++) {
		uint64_t off = put_packet(f, 8, 8);
		struct guest_mem *gm = own_map(f);

		drv_desc(&f->from, (uint16_t)n, G_GPA + off, HDR + 8, 0, 0);
		drv_offer(&f->from, (uint16_t)n);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
		token[n] = f->pkt[0].token;
		fill_setup(f, &s, gm);
		ret = vhost_pair_switch_mem(f->q, &s);
		guest_mem_put(gm);
	}
	assert_int_equal(ret, -EBUSY);
	assert_int_equal(n, most + 1);
	assert_true(vhost_pair_stop(f->q, &b));
	while (n--)
		f->tq->ops->rx_release(f->tq, token[n]);
	assert_null(f->q->retired);
	f->q->retired_max = UINT64_MAX;
	fresh(f, N);
	assert_int_equal(f->tq->up, 1);
}

/* The guest's memory in @n regions. */
static struct guest_mem *in_regions(struct fix *f, unsigned n)
{
	struct guest_mem_src src[GUEST_MEM_REGIONS];
	struct guest_mem *gm;

	for (unsigned i = 0; i < n; i++) {
		src[i] = guest_src(&f->g);
		src[i].size = G_SIZE / n;
		src[i].offset = i * src[i].size;
		src[i].gpa.v += src[i].offset;
		src[i].uva.v += src[i].offset;
	}
	assert_int_equal(guest_mem_import(&gm, src, n), 0);
	return gm;
}

/* Lends a packet, then changes to a table of @n regions. */
static int lend_and_switch(struct fix *f, uint16_t i, unsigned n, uint32_t *token)
{
	struct guest_mem *gm = in_regions(f, n);
	uint64_t off = put_packet(f, 8, 8);
	struct vhost_pair_setup s;
	int ret;

	drv_desc(&f->from, i, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, i);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	*token = f->pkt[0].token;
	fill_setup(f, &s, gm);
	ret = vhost_pair_switch_mem(f->q, &s);
	guest_mem_put(gm);
	return ret;
}

/* The kernel lets a process have so many mappings, and each region of a table is one. */
static void mappings_kept_are_bounded(void **state)
{
	struct fix *f = *state;
	const uint32_t before = guest_mem_maps(), most = 4 * GUEST_MEM_REGIONS;
	uint32_t token[8], peak = 0;
	struct vhost_pair_bases b;
	struct vhost_pair_setup s;
	struct guest_mem *gm;
	uint16_t n = 0;
	int ret = 0;

	gm = in_regions(f, GUEST_MEM_REGIONS);
	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_switch_mem(f->q, &s), 0);
	guest_mem_put(gm);
	f->q->maps_max = most; /* three former tables, and the current one */
	for (; ret == 0 && n < 8; n++) {
		ret = lend_and_switch(f, n, GUEST_MEM_REGIONS, &token[n]);
		if (guest_mem_maps() > peak)
			peak = guest_mem_maps();
	}
	assert_int_equal(ret, -EBUSY);
	assert_int_equal(n, 4);
	assert_int_equal(f->tq->stats.loan_limit, 1);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(peak - before, most - 1); /* the first one was there before */
	gm = in_regions(f, GUEST_MEM_REGIONS);
	fill_setup(f, &s, gm);
	for (int i = 0; i < 3; i++)
		assert_int_equal(vhost_pair_start(f->q, &s), -EBUSY);
	assert_int_equal(f->tq->stats.loan_limit, 1); /* counted once, not with each try */
	f->tq->ops->rx_release(f->tq, token[--n]);
	assert_int_equal(vhost_pair_start(f->q, &s), 0);
	guest_mem_put(gm);
	while (n--)
		f->tq->ops->rx_release(f->tq, token[n]);
	assert_null(f->q->retired);
}

/* When all peers together have many, none is kept for a loan; a pair without loans goes on. */
static void others_have_mappings_left(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;
	struct guest_mem *others;
	uint32_t token;

	assert_int_equal(lend_and_switch(f, 0, 1, &token), 0);
	f->tq->ops->rx_release(f->tq, token);
	others = in_regions(f, 4);
	map_limit_set(12); /* 9 for peers, 5 if there are loans */
	assert_int_equal(lend_and_switch(f, 1, 1, &token), -EBUSY);
	assert_int_equal(f->tq->stats.loan_limit, 1);
	assert_true(vhost_pair_stop(f->q, &b));
	f->tq->ops->rx_release(f->tq, token);
	fresh(f, N);
	assert_int_equal(f->tq->up, 1);
	assert_true(guest_mem_maps() > map_limit_loans());
	map_limit_set(0);
	guest_mem_put(others);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_session_goes_on_in_a_new_table),
		T(unused_memory_goes),
		T(memory_in_use_goes),
		T(maps_kept_are_bounded),
		T(bytes_kept_are_bounded),
		T(mappings_kept_are_bounded),
		T(others_have_mappings_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
