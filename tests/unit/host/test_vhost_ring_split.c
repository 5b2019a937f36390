/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_fix.h"

/* ---- hostile drivers ---- */

enum mode { READ = 0, WR = 1, NO_IND = 2 };

static void h_head(struct fix *f)
{
	drv_offer(&f->d, N);
}
static void h_head_max(struct fix *f)
{
	drv_offer(&f->d, 0xffff);
}
static void h_avail_one_too_many(struct fix *f)
{
	f->d.avail->idx = N + 1;
}
static void h_avail_far(struct fix *f)
{
	f->d.avail->idx = 0x8000;
}
static void h_avail_back(struct fix *f)
{
	f->d.avail->idx = 0xffff;
}
static void h_avail_in_flight(struct fix *f)
{
	/* all taken and none returned: not one more can be on offer */
	for (unsigned i = 0; i < N; i++) {
		drv_desc(&f->d, i, D, 1, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
	}
	drv_offer(&f->d, 0);
}
static void h_next(struct fix *f)
{
	drv_desc(&f->d, 0, D, 10, NEXT, N);
	drv_offer(&f->d, 0);
}
static void h_next_max(struct fix *f)
{
	drv_desc(&f->d, 0, D, 10, NEXT, 1);
	drv_desc(&f->d, 1, D, 10, NEXT, 0xffff);
	drv_offer(&f->d, 0);
}
static void h_loop_self(struct fix *f)
{
	drv_desc(&f->d, 3, D, 10, NEXT, 3);
	drv_offer(&f->d, 3);
}
static void h_loop_two(struct fix *f)
{
	drv_desc(&f->d, 0, D, 10, NEXT, 1);
	drv_desc(&f->d, 1, D, 10, NEXT, 0);
	drv_offer(&f->d, 0);
}
static void h_loop_empty(struct fix *f)
{
	drv_desc(&f->d, 0, 0, 0, NEXT, 0);
	drv_offer(&f->d, 0);
}
/* One descriptor on offer, or a chain of two. */
static void one(struct fix *f, uint64_t addr, uint32_t len, uint16_t flags)
{
	drv_desc(&f->d, 0, addr, len, flags, 0);
	drv_offer(&f->d, 0);
}
static void two(struct fix *f, uint64_t addr, uint16_t flags)
{
	drv_desc(&f->d, 1, addr, 44, flags, 0);
	one(f, D, 44, NEXT);
	f->d.desc[0].next = 1;
}
static void h_addr_zero(struct fix *f)
{
	one(f, 0, 44, 0);
}
static void h_addr_below(struct fix *f)
{
	one(f, G_GPA - 1, 44, 0);
}
static void h_addr_straddles_end(struct fix *f)
{
	one(f, END - 43, 44, 0);
}
static void h_addr_wraps(struct fix *f)
{
	one(f, UINT64_MAX - 10, 44, 0);
}
static void h_len_max(struct fix *f)
{
	one(f, D, UINT32_MAX, 0);
}
static void h_second_addr(struct fix *f)
{
	two(f, END, 0);
}
static void h_writable(struct fix *f)
{
	one(f, D, 44, WRITE);
}
static void h_writable_second(struct fix *f)
{
	two(f, D, WRITE);
}
static void h_readable(struct fix *f)
{
	one(f, D, 44, 0);
}
static void h_readable_first(struct fix *f)
{
	two(f, D, WRITE);
}
static void h_readable_empty(struct fix *f)
{
	drv_desc(&f->d, 0, D, 0, 0, 0);
	drv_offer(&f->d, 0);
}
static void indirect(struct fix *f, uint64_t addr, uint32_t len, uint16_t flags)
{
	table(f, 0, D, 44, 0, 0);
	drv_desc(&f->d, 0, addr, len, flags, 1);
	drv_desc(&f->d, 1, D, 44, 0, 0);
	drv_offer(&f->d, 0);
}
static void h_ind(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16, IND);
}
static void h_ind_next(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16, IND | NEXT);
}
static void h_ind_empty(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 0, IND);
}
static void h_ind_odd(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 24, IND);
}
static void h_ind_short(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 15, IND);
}
static void h_ind_long(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16 * (VHOST_RING_CHAIN_MAX + 1), IND);
}
static void h_ind_longest(struct fix *f)
{
	indirect(f, G_GPA + TABLE, UINT32_MAX & ~15u, IND);
}
static void h_ind_addr(struct fix *f)
{
	indirect(f, END - 16, 32, IND);
}
static void h_ind_addr_wraps(struct fix *f)
{
	indirect(f, UINT64_MAX - 7, 16, IND);
}
static void h_ind_nested(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 32, IND);
	table(f, 0, G_GPA + TABLE, 16, IND, 0);
}
static void h_ind_bad_next(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 32, IND);
	table(f, 0, D, 44, NEXT, 2);
}
static void h_ind_loop(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 32, IND);
	table(f, 0, D, 44, NEXT, 1);
	table(f, 1, D, 44, NEXT, 0);
}
static void h_ind_buffer_addr(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16, IND);
	table(f, 0, END, 44, 0, 0);
}
static void h_ind_writable(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16, IND);
	table(f, 0, D, 44, WRITE, 0);
}
static void h_direct_then_nested(struct fix *f)
{
	/* a direct descriptor and then a table is fine, but the table must be the last */
	drv_desc(&f->d, 0, D, 44, NEXT, 1);
	drv_desc(&f->d, 1, G_GPA + TABLE, 16, IND | NEXT, 2);
	drv_offer(&f->d, 0);
}

static const struct {
	const char *name;
	void (*make)(struct fix *f);
	enum mode mode;
	enum vhost_ring_fault want;
} hostile[] = {
#define H(fn, mode, want)                                                                          \
	{                                                                                          \
#fn, fn, mode, want                                                                \
	}
	H(h_head, READ, VHOST_RING_BAD_HEAD),
	H(h_head_max, READ, VHOST_RING_BAD_HEAD),
	H(h_avail_one_too_many, READ, VHOST_RING_BAD_AVAIL),
	H(h_avail_far, READ, VHOST_RING_BAD_AVAIL),
	H(h_avail_back, READ, VHOST_RING_BAD_AVAIL),
	H(h_avail_in_flight, READ, VHOST_RING_BAD_AVAIL),
	H(h_next, READ, VHOST_RING_BAD_NEXT),
	H(h_next_max, READ, VHOST_RING_BAD_NEXT),
	H(h_loop_self, READ, VHOST_RING_CHAIN_LONG),
	H(h_loop_two, READ, VHOST_RING_CHAIN_LONG),
	H(h_loop_empty, READ, VHOST_RING_CHAIN_LONG),
	H(h_addr_zero, READ, VHOST_RING_BAD_ADDR),
	H(h_addr_below, READ, VHOST_RING_BAD_ADDR),
	H(h_addr_straddles_end, READ, VHOST_RING_BAD_ADDR),
	H(h_addr_wraps, READ, VHOST_RING_BAD_ADDR),
	H(h_len_max, READ, VHOST_RING_BAD_ADDR),
	H(h_second_addr, READ, VHOST_RING_BAD_ADDR),
	H(h_writable, READ, VHOST_RING_NOT_READABLE),
	H(h_writable_second, READ, VHOST_RING_NOT_READABLE),
	H(h_readable, WR, VHOST_RING_NOT_WRITABLE),
	H(h_readable_first, WR, VHOST_RING_NOT_WRITABLE),
	H(h_readable_empty, WR, VHOST_RING_NOT_WRITABLE),
	H(h_ind, NO_IND, VHOST_RING_IND_OFF),
	H(h_ind_next, READ, VHOST_RING_IND_NEXT),
	H(h_ind_empty, READ, VHOST_RING_IND_LEN),
	H(h_ind_odd, READ, VHOST_RING_IND_LEN),
	H(h_ind_short, READ, VHOST_RING_IND_LEN),
	H(h_ind_long, READ, VHOST_RING_IND_LONG),
	H(h_ind_longest, READ, VHOST_RING_IND_LONG),
	H(h_ind_addr, READ, VHOST_RING_IND_ADDR),
	H(h_ind_addr_wraps, READ, VHOST_RING_IND_ADDR),
	H(h_ind_nested, READ, VHOST_RING_IND_NESTED),
	H(h_ind_bad_next, READ, VHOST_RING_IND_BAD_NEXT),
	H(h_ind_loop, READ, VHOST_RING_CHAIN_LONG),
	H(h_ind_buffer_addr, READ, VHOST_RING_BAD_ADDR),
	H(h_ind_writable, READ, VHOST_RING_NOT_READABLE),
	H(h_direct_then_nested, READ, VHOST_RING_IND_NEXT),
#undef H
};

static void hostile_drivers(void **state)
{
	struct fix *f = *state;

	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		struct vhost_desc first;
		uint16_t id;

		load(f, EVENT_IDX | (hostile[i].mode == NO_IND ? 0 : INDIRECT),
		     hostile[i].mode == WR);
		hostile[i].make(f);
		if (vhost_ring_refresh(&f->r) && vhost_ring_peek(&f->r, 0, &id, &first))
			assert_int_equal(vhost_ring_walk(&f->r, id, f->seg, 2048, &f->ndesc),
					 -EPROTO);
		if (f->r.broken != hostile[i].want)
			fail_msg("%s: %s, not %s", hostile[i].name,
				 vhost_ring_fault_text(f->r.broken),
				 vhost_ring_fault_text(hostile[i].want));
		/* sticky, with the first reason */
		f->d.avail->idx = f->r.split.last_avail;
		assert_int_equal(vhost_ring_refresh(&f->r), 0);
		(void)vhost_ring_break(&f->r, VHOST_RING_SHORT);
		assert_int_equal(f->r.broken, hostile[i].want);
	}
}

/* A chain whose lengths add up to 4 GiB: only a region of that size could hold it. */
static void chain_bytes(void **state)
{
	struct fix *f = *state;
	struct guest_mem_src s = guest_src(&f->g);
	struct guest_mem *m;
	int fd = memfd_create("sparse", MFD_CLOEXEC);

	s.fd = fd;
	s.gpa.v = 0;
	s.size = 0x80000000ull;
	assert_int_equal(ftruncate(fd, (off_t)s.size), 0);
	assert_int_equal(guest_mem_import(&m, &s, 1), 0);
	f->r.mem = m;
	drv_desc(&f->d, 0, 0, 0x80000000u, NEXT, 1);
	drv_desc(&f->d, 1, 0, 0x7fffffffu, 0, 2);
	assert_int_equal(take(f, 0), 2);
	drv_desc(&f->d, 1, 0, 0x80000000u, 0, 2);
	assert_int_equal(take(f, 0), -EPROTO);
	assert_int_equal(f->r.broken, VHOST_RING_CHAIN_BYTES);
	guest_mem_put(m);
	close(fd);
}

/* ---- well-behaved drivers ---- */

#define assert_seg(f, i, off, n)                                                                   \
	do {                                                                                       \
		assert_ptr_equal((f)->seg[i].base, (f)->g.gm->r[0].va + G_DATA + (off));           \
		assert_int_equal((f)->seg[i].len, n);                                              \
	} while (0)

static void shapes(void **state)
{
	struct fix *f = *state;

	/* one */
	drv_desc(&f->d, 5, D + 1, 100, 0, 0xffff);
	assert_int_equal(take(f, 5), 1);
	assert_seg(f, 0, 1, 100);
	assert_int_equal(f->ndesc, 1);
	/* several, out of order, with empty ones at each place; their addresses do not matter */
	drv_desc(&f->d, 9, 0, 0, NEXT, 2);
	drv_desc(&f->d, 2, D, 10, NEXT, 15);
	drv_desc(&f->d, 15, UINT64_MAX, 0, NEXT, 0);
	drv_desc(&f->d, 0, D + 50, 7, NEXT, 1);
	drv_desc(&f->d, 1, 0, 0, 0, 0);
	assert_int_equal(take(f, 9), 2);
	assert_seg(f, 0, 0, 10);
	assert_seg(f, 1, 50, 7);
	assert_int_equal(f->ndesc, 5);
	/* nothing at all */
	drv_desc(&f->d, 9, 0, 0, 0, 0);
	assert_int_equal(take(f, 9), 0);
	/* as long as the ring */
	for (unsigned i = 0; i < N; i++)
		drv_desc(&f->d, i, D + i, 1, i < N - 1 ? NEXT : 0, (uint16_t)(i + 1));
	assert_int_equal(take(f, 0), N);
	assert_int_equal(f->ndesc, N);
	/* the last byte of the region */
	drv_desc(&f->d, 0, END - 44, 44, 0, 0);
	assert_int_equal(take(f, 0), 1);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

static void indirect_shapes(void **state)
{
	struct fix *f = *state;

	/* out of order in the table; WRITE on the descriptor of the table means nothing */
	table(f, 0, D, 1, NEXT, 3);
	table(f, 3, D + 10, 2, NEXT, 1);
	table(f, 1, D + 20, 3, 0, 0);
	drv_desc(&f->d, 0, G_GPA + TABLE, 64, IND | WRITE, 0);
	assert_int_equal(take(f, 0), 3);
	assert_seg(f, 0, 0, 1);
	assert_seg(f, 1, 10, 2);
	assert_seg(f, 2, 20, 3);
	assert_int_equal(f->ndesc, 1);
	/* direct ones in front */
	drv_desc(&f->d, 0, D + 99, 5, NEXT, 1);
	drv_desc(&f->d, 1, G_GPA + TABLE, 64, IND, 0);
	assert_int_equal(take(f, 0), 4);
	assert_seg(f, 0, 99, 5);
	assert_int_equal(f->ndesc, 2);
	/* the largest table; not enough room for it is no fault */
	for (unsigned i = 0; i < VHOST_RING_CHAIN_MAX; i++)
		table(f, i, D, 1, i < VHOST_RING_CHAIN_MAX - 1 ? NEXT : 0, (uint16_t)(i + 1));
	drv_desc(&f->d, 0, G_GPA + TABLE, 16 * VHOST_RING_CHAIN_MAX, IND, 0);
	assert_int_equal(take(f, 0), VHOST_RING_CHAIN_MAX);
	assert_int_equal(vhost_ring_walk(&f->r, 0, f->seg, VHOST_RING_CHAIN_MAX - 1, &f->ndesc),
			 -ENOSPC);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

/* All indices pass 2^16 many times over. */
static void wrap(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < N; i++)
		drv_desc(&f->d, i, D + i, 1, 0, 0);
	for (uint32_t round = 0; round < 3 * 65536 / 7; round++) {
		for (unsigned i = 0; i < 7; i++) {
			assert_int_equal(take(f, (uint16_t)i), 1);
			assert_seg(f, 0, i, 1);
		}
		for (unsigned i = 0; i < 7; i++)
			vhost_ring_put(&f->r, (uint16_t)i, round + i);
		assert_false(drv_used(&f->d, &(uint32_t){0}, &(uint32_t){0}));
		assert_true(vhost_ring_publish(&f->r));
		(void)vhost_ring_want_call(&f->r);
		assert_false(vhost_ring_publish(&f->r));
		for (unsigned i = 0; i < 7; i++)
			assert_used(&f->d, i, round + i);
	}
}

/* A session starts where the used ring stands. */
static void resume(void **state)
{
	struct fix *f = *state;
	struct vhost_ring_area a = drv_area(&f->d, f->g.gm);

	f->d.used->idx = f->d.avail->idx = f->d.avail_idx = f->d.seen = 65534;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false), 0);
	assert_int_equal(vhost_ring_refresh(&f->r), 0);
	for (unsigned i = 0; i < 4; i++) {
		drv_desc(&f->d, i, D, 1, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
		vhost_ring_put(&f->r, (uint16_t)i, 0);
	}
	assert_true(vhost_ring_publish(&f->r));
	for (unsigned i = 0; i < 4; i++)
		assert_used(&f->d, i, 0);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

static void refused_areas(void **state)
{
	struct fix *f = *state;
	struct vhost_ring_area ok = drv_area(&f->d, f->g.gm), a;

	static const uint32_t bad[] = {0, 3, 17, 65536, 0x80000000u};

	for (unsigned i = 0; i < 5; i++) {
		a = ok, a.size = bad[i];
		assert_int_equal(
			vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false),
			-EINVAL);
	}
	a = ok, a.part[VHOST_DESC_AREA] = (uint8_t *)a.part[VHOST_DESC_AREA] + 8;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false),
			 -EINVAL);
	a = ok, a.part[VHOST_DRIVER_AREA] = (uint8_t *)a.part[VHOST_DRIVER_AREA] + 1;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false),
			 -EINVAL);
	a = ok, a.part[VHOST_DEVICE_AREA] = (uint8_t *)a.part[VHOST_DEVICE_AREA] + 2;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false),
			 -EINVAL);
	a = ok, a.size = N / 2;
	assert_int_equal(vhost_ring_move(&f->r, &a, f->g.gm), -EINVAL);
}

/* ---- notification ---- */

static bool call_after(struct fix *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vhost_ring_put(&f->r, 0, 0);
	return vhost_ring_publish(&f->r) && vhost_ring_want_call(&f->r);
}

static void event_idx(void **state)
{
	struct fix *f = *state;
	uint16_t *used_event = &f->d.avail->ring[N];

	*used_event = 0; /* tell me about the first */
	assert_true(call_after(f, 1));
	assert_false(call_after(f, 1)); /* the wish has been granted */
	*used_event = 4;
	assert_false(call_after(f, 2)); /* 2 -> 4: entries 2 and 3 */
	assert_true(call_after(f, 1));
	*used_event = 5;
	assert_true(call_after(f, 10)); /* anywhere in the batch */
	*used_event = 14;
	assert_false(call_after(f, 1)); /* passed before */
	/* across the wrap */
	f->r.split.used_idx = f->r.split.published = 65530;
	*used_event = 65535;
	assert_false(call_after(f, 5));
	assert_true(call_after(f, 1));
	*used_event = 3;
	assert_false(call_after(f, 3));
	assert_true(call_after(f, 1));
	/* our wish */
	f->r.split.shadow = 0xabcd;
	vhost_split_arm(&f->r, 0);
	assert_int_equal(drv_avail_event(&f->d), 0xabcd);
	vhost_split_arm(&f->r, 0x6543);
	assert_int_equal(drv_avail_event(&f->d), 0x1110);
	vhost_ring_disarm(&f->r);
	assert_int_equal(f->d.used->flags, 0);
}

static void positions_have_16_bits(void **unused)
{
	const struct vhost_ring_layout *l = vhost_ring_layout_of(0);

	(void)unused;
	assert_false(l->any_size);
	assert_null(l->pos_refused((struct vhost_ring_pos){65535}, 16));
	assert_string_equal(l->pos_refused((struct vhost_ring_pos){65536}, 16),
			    "an index of a split ring has 16 bits");
	assert_non_null(l->pos_refused((struct vhost_ring_pos){UINT32_MAX}, 16));
}

static void event_flags(void **state)
{
	struct fix *f = *state;

	load(f, INDIRECT, false);
	assert_int_equal(f->d.used->flags, VRING_USED_F_NO_NOTIFY);
	vhost_split_arm(&f->r, 7);
	assert_int_equal(f->d.used->flags, 0);
	vhost_ring_disarm(&f->r);
	assert_int_equal(f->d.used->flags, VRING_USED_F_NO_NOTIFY);
	f->d.avail->ring[N] = 1234; /* no used_event without the feature */
	assert_true(call_after(f, 1));
	f->d.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	assert_false(call_after(f, 1));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hostile_drivers),
		T(chain_bytes),
		T(shapes),
		T(indirect_shapes),
		T(wrap),
		T(resume),
		T(refused_areas),
		T(event_idx),
		T(event_flags),
		cmocka_unit_test(positions_have_16_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
