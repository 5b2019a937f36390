/* SPDX-License-Identifier: BSD-3-Clause */
#define RINGS_PACKED
#include "ring_fix.h"

/* ---- hostile drivers ---- */

enum mode { READ = 0, WR = 1, NO_IND = 2 };

/* A list of @n descriptors of 4 bytes, the last with @last. */
static void list(struct fix *f, unsigned n, uint64_t addr, uint16_t last)
{
	for (unsigned i = 0; i < n; i++)
		drv_desc(&f->d, i, i + 1 < n ? D : addr, 4, i + 1 < n ? NEXT : last,
			 (uint16_t)(i + 1));
	drv_offer(&f->d, 0);
}
static void h_one_too_long(struct fix *f)
{
	list(f, N + 1, D, 0);
}
static void h_without_end(struct fix *f)
{
	for (unsigned i = 0; i < N; i++)
		f->d.ring[i] = (struct vring_packed_desc){D, 4, 0, NEXT | PACKED_AVAIL};
}
static void h_longer_than_free(struct fix *f)
{
	/* ten are out, and a list of seven follows */
	for (unsigned i = 0; i < 10; i++) {
		drv_desc(&f->d, i, D, 4, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
	}
	list(f, 7, D, 0);
}
/* One descriptor on offer. */
static void one(struct fix *f, uint64_t addr, uint32_t len, uint16_t flags)
{
	drv_desc(&f->d, 0, addr, len, flags, 0);
	drv_offer(&f->d, 0);
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
static void h_last_addr(struct fix *f)
{
	list(f, 3, END, 0);
}
static void h_writable(struct fix *f)
{
	one(f, D, 44, WRITE);
}
static void h_writable_last(struct fix *f)
{
	list(f, 2, D, WRITE);
}
static void h_readable(struct fix *f)
{
	one(f, D, 44, 0);
}
static void h_readable_first(struct fix *f)
{
	list(f, 2, D, WRITE);
}
static void h_readable_empty(struct fix *f)
{
	one(f, D, 0, 0);
}
static void indirect(struct fix *f, uint64_t addr, uint32_t len, uint16_t flags)
{
	drv_table(f->g.mem + TABLE, 0, D, 44, 0);
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
static void h_ind_last(struct fix *f)
{
	drv_table(f->g.mem + TABLE, 0, D, 44, 0);
	drv_desc(&f->d, 0, D, 44, NEXT, 1);
	drv_desc(&f->d, 1, G_GPA + TABLE, 16, IND, 0);
	drv_offer(&f->d, 0);
}
static void h_ind_empty(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 0, IND);
}
static void h_ind_odd(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 24, IND);
}
static void h_ind_long(struct fix *f)
{
	indirect(f, G_GPA + TABLE, 16 * (VHOST_RING_CHAIN_MAX + 1), IND);
}
static void h_ind_addr(struct fix *f)
{
	indirect(f, END - 8, 16, IND);
}
static void h_ind_entry_addr(struct fix *f)
{
	drv_table(f->g.mem + TABLE, 1, END, 44, 0);
	indirect(f, G_GPA + TABLE, 32, IND);
}
static void h_ind_entry_writable(struct fix *f)
{
	drv_table(f->g.mem + TABLE, 1, D, 44, WRITE);
	indirect(f, G_GPA + TABLE, 32, IND);
}

static void hostile_drivers(void **state)
{
	struct fix *f = *state;
	static const struct {
		void (*lie)(struct fix *f);
		enum mode mode;
		enum vhost_ring_fault fault;
	} t[] = {
		{h_one_too_long, READ, VHOST_RING_CHAIN_LONG},
		{h_without_end, READ, VHOST_RING_CHAIN_LONG},
		{h_longer_than_free, READ, VHOST_RING_CHAIN_LONG},
		{h_addr_zero, READ, VHOST_RING_BAD_ADDR},
		{h_addr_below, READ, VHOST_RING_BAD_ADDR},
		{h_addr_straddles_end, READ, VHOST_RING_BAD_ADDR},
		{h_addr_wraps, READ, VHOST_RING_BAD_ADDR},
		{h_len_max, READ, VHOST_RING_BAD_ADDR},
		{h_last_addr, READ, VHOST_RING_BAD_ADDR},
		{h_writable, READ, VHOST_RING_NOT_READABLE},
		{h_writable_last, READ, VHOST_RING_NOT_READABLE},
		{h_readable, WR, VHOST_RING_NOT_WRITABLE},
		{h_readable_first, WR, VHOST_RING_NOT_WRITABLE},
		{h_readable_empty, WR, VHOST_RING_NOT_WRITABLE},
		{h_ind, NO_IND, VHOST_RING_IND_OFF},
		{h_ind_next, READ, VHOST_RING_IND_NEXT},
		{h_ind_last, READ, VHOST_RING_IND_NEXT},
		{h_ind_empty, READ, VHOST_RING_IND_LEN},
		{h_ind_odd, READ, VHOST_RING_IND_LEN},
		{h_ind_long, READ, VHOST_RING_IND_LONG},
		{h_ind_addr, READ, VHOST_RING_IND_ADDR},
		{h_ind_entry_addr, READ, VHOST_RING_BAD_ADDR},
		{h_ind_entry_writable, READ, VHOST_RING_NOT_READABLE},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct vhost_desc first;
		uint16_t id;
		int ret = -EPROTO;

		load(f, t[i].mode == NO_IND ? EVENT_IDX : EVENT_IDX | INDIRECT, t[i].mode == WR);
		t[i].lie(f);
		if (vhost_ring_refresh(&f->r) && vhost_ring_peek(&f->r, 0, &id, &first))
			ret = vhost_ring_walk(&f->r, id, f->seg, 2048, &f->ndesc);
		assert_int_equal(ret, -EPROTO);
		assert_int_equal(f->r.broken, t[i].fault);
		assert_int_equal(vhost_ring_refresh(&f->r), 0);
	}
}

/* What would be a lie elsewhere, and hurts nobody here. */
static void ids_are_the_drivers_own(void **state)
{
	struct fix *f = *state;
	static const uint16_t ids[] = {N, 0xffff, 3, 3, 3};

	for (unsigned i = 0; i < 5; i++)
		f->d.ring[i] = (struct vring_packed_desc){D, 4 + i, ids[i], PACKED_AVAIL};
	assert_int_equal(vhost_ring_refresh(&f->r), 5);
	for (unsigned i = 0; i < 5; i++) {
		struct vhost_desc d;
		uint16_t id;

		assert_true(vhost_ring_peek(&f->r, 0, &id, &d));
		assert_int_equal(d.len, 4 + i);
		vhost_ring_take(&f->r);
		assert_int_equal(vhost_ring_walk(&f->r, id, f->seg, 1, &f->ndesc), 1);
		vhost_ring_put(&f->r, id, i);
	}
	assert_true(vhost_ring_publish(&f->r));
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(f->d.ring[i].id, ids[i]);
		assert_int_equal(f->d.ring[i].len, i);
		assert_int_equal(f->d.ring[i].flags, PACKED_MARKS | (i ? WRITE : 0));
	}
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

/* Marks of another lap, or of none, are not there, however often one looks. */
static void marks_of_other_laps(void **state)
{
	struct fix *f = *state;
	static const uint16_t not_there[] = {0, PACKED_USED, PACKED_MARKS};

	for (unsigned i = 0; i < 3; i++) {
		f->d.ring[0] = (struct vring_packed_desc){D, 4, 0, not_there[i]};
		assert_int_equal(vhost_ring_refresh(&f->r), 0);
	}
	f->d.ring[0].flags = PACKED_AVAIL;
	assert_int_equal(vhost_ring_refresh(&f->r), 1);
	assert_int_equal(vhost_ring_refresh(&f->r), 1); /* and not twice */
}

/* A ring of which all is out is not looked at, whatever the driver has written into it. */
static void a_full_ring_offers_nothing(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < N; i++) {
		drv_desc(&f->d, i, D, 4, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
	}
	for (unsigned i = 0; i < N; i++)
		f->d.ring[i] = (struct vring_packed_desc){D, 4, 0, PACKED_USED};
	assert_int_equal(vhost_ring_refresh(&f->r), 0);
	assert_int_equal(f->r.max_pending, N);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

/* ---- lists ---- */

/* Taken, and overwritten by what was put back meanwhile: it is walked as it was. */
static void lists_that_are_out_stay_as_they_were(void **state)
{
	struct fix *f = *state;
	struct vhost_desc d;
	uint16_t id[2];

	list(f, 3, D + 8, 0);
	drv_desc(&f->d, 8, D, 1, 0, 0);
	drv_offer(&f->d, 8);
	assert_int_equal(vhost_ring_refresh(&f->r), 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(vhost_ring_peek(&f->r, 0, &id[i], &d));
		vhost_ring_take(&f->r);
	}
	vhost_ring_put(&f->r, id[1], 0);
	assert_true(vhost_ring_publish(&f->r));
	assert_used(&f->d, 8, 0);
	memset(f->d.ring, 0xff, N * sizeof(*f->d.ring));
	assert_int_equal(vhost_ring_walk(&f->r, id[0], f->seg, 3, &f->ndesc), 3);
	assert_int_equal(f->ndesc, 3);
	assert_ptr_equal(f->seg[2].base, f->g.gm->r[0].va + G_DATA + 8);
	assert_int_equal(vhost_ring_walk(&f->r, id[0], f->seg, 2, &f->ndesc), -ENOSPC);
	vhost_ring_put(&f->r, id[0], 0);
	assert_true(vhost_ring_publish(&f->r));
	assert_int_equal(f->d.ring[1].id, 0); /* behind the one descriptor of the other */
	assert_int_equal(vhost_ring_position(&f->r).v, drv_base(&f->d, 4));
}

/* Empty descriptors are skipped, and count; flags of a table beside WRITE mean nothing. */
static void shapes(void **state)
{
	struct fix *f = *state;

	drv_desc(&f->d, 0, 0, 0, NEXT, 1);
	drv_desc(&f->d, 1, D, 7, NEXT, 2);
	drv_desc(&f->d, 2, 0, 0, 0, 0);
	assert_int_equal(take(f, 0), 1);
	assert_int_equal(f->ndesc, 3);
	assert_int_equal(f->seg[0].len, 7);
	for (unsigned i = 0; i < VHOST_RING_CHAIN_MAX; i++)
		drv_table(f->g.mem + TABLE, i, D + i, 1, i % 3 ? NEXT : IND);
	drv_desc(&f->d, 0, G_GPA + TABLE, 16 * VHOST_RING_CHAIN_MAX, IND | WRITE, 0);
	assert_int_equal(take(f, 0), (int)VHOST_RING_CHAIN_MAX);
	assert_int_equal(f->ndesc, 1);
	list(f, N - 4, D, 0); /* all that is free */
	assert_int_equal(vhost_ring_refresh(&f->r), 1);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

/* ---- every size, every order ---- */

struct out {
	uint16_t id;	 /* the driver's */
	uint16_t handle; /* the device's */
	uint32_t n;
};

/* A driver and a device that do things at random, @rounds times, over a ring of @size. */
static void run(struct fix *f, uint16_t size, unsigned rounds)
{
	static struct out out[DRV_MAX];
	static bool busy[DRV_MAX];
	struct vhost_ring_area a;
	uint32_t nout = 0, room = size;

	memset(busy, 0, sizeof(busy));
	drv_make(&f->d, &f->g, 0, size);
	a = drv_area(&f->d, f->g.gm);
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | DRV_LAYOUT, false),
			 0);
	for (unsigned k = 0; k < rounds; k++) {
		uint32_t n = 1 + (uint32_t)rand() % 4, id, len;
		uint16_t head = (uint16_t)(rand() % size);

		if (n <= room && !busy[head]) {
			for (unsigned i = 0; i < n; i++)
				drv_desc(&f->d, i ? DRV_MAX - i : head, D + head, 8 + i,
					 i + 1 < n ? NEXT : 0, (uint16_t)(DRV_MAX - i - 1));
			busy[head] = true;
			drv_offer(&f->d, head);
			room -= n;
		}
		while (rand() % 3 && vhost_ring_refresh(&f->r)) {
			struct vhost_desc d;

			assert_true(vhost_ring_peek(&f->r, 0, &out[nout].handle, &d));
			out[nout].id = (uint16_t)(d.addr.v - D);
			vhost_ring_take(&f->r);
			assert_int_equal(
				vhost_ring_walk(&f->r, out[nout].handle, f->seg, 4, &out[nout].n),
				f->d.count[out[nout].id]);
			nout++;
		}
		while (rand() % 3 && nout) {
			struct out *o = &out[(uint32_t)rand() % nout];

			vhost_ring_put(&f->r, o->handle, o->id + 1u);
			*o = out[--nout];
		}
		if (rand() % 2 && vhost_ring_publish(&f->r))
			(void)vhost_ring_want_call(&f->r);
		while (drv_used(&f->d, &id, &len)) {
			assert_true(busy[id]);
			assert_int_equal(len, id + 1);
			busy[id] = false;
			room += f->d.count[id];
		}
	}
	while (nout)
		vhost_ring_put(&f->r, out[--nout].handle, 0);
	(void)vhost_ring_publish(&f->r);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
	assert_int_equal(vhost_ring_position(&f->r).v, drv_returned(&f->d));
}

static void every_size_in_any_order(void **state)
{
	struct fix *f = *state;

	srand(28);
	for (uint16_t size = 1; size <= 256; size++)
		run(f, size, 40u * size);
}

/*
 * The largest ring: three laps, all of it out, and back from behind. No look copies all of it: its
 * owner serves others too.
 */
static void the_largest_ring(void **state)
{
	struct fix *f = *state;
	static uint16_t id[32768];
	struct vring_packed_desc *ring = (void *)(f->g.mem + G_DATA + 0x10000);
	struct vhost_ring_area a = drv_area(&f->d, f->g.gm);

	a.part[VHOST_DESC_AREA] = f->g.gm->r[0].va + G_DATA + 0x10000;
	a.size = 32768;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, DRV_LAYOUT, false), 0);
	for (unsigned lap = 0; lap < 3; lap++) {
		for (unsigned i = 0; i < 32768; i++)
			ring[i] = (struct vring_packed_desc){D, i, (uint16_t)i,
							     lap % 2 ? PACKED_USED : PACKED_AVAIL};
		for (unsigned n = VHOST_PACKED_LOOK; n <= 32768; n += VHOST_PACKED_LOOK)
			assert_int_equal(vhost_ring_refresh(&f->r), n);
		assert_int_equal(vhost_ring_refresh(&f->r), 32768);
		for (unsigned i = 0; i < 32768; i++) {
			struct vhost_desc d;

			assert_true(vhost_ring_peek(&f->r, 0, &id[i], &d));
			assert_int_equal(d.len, i);
			vhost_ring_take(&f->r);
		}
		assert_int_equal(vhost_ring_refresh(&f->r), 0);
		for (unsigned i = 32768; i-- > 0;)
			vhost_ring_put(&f->r, id[i], 0);
		assert_true(vhost_ring_publish(&f->r));
		assert_true(vhost_ring_want_call(&f->r));
		for (unsigned i = 0; i < 32768; i++) {
			assert_int_equal(ring[i].id, 32767 - i);
			assert_int_equal(ring[i].flags, lap % 2 ? 0 : PACKED_MARKS);
		}
	}
}

/* A look ends with a list, and copies that to its end. */
static void a_look_ends_with_a_list(void **state)
{
	struct fix *f = *state;
	struct vring_packed_desc *ring = (void *)(f->g.mem + G_DATA + 0x10000);
	struct vhost_ring_area a = drv_area(&f->d, f->g.gm);
	const unsigned n = VHOST_RING_CHAIN_MAX;

	a.part[VHOST_DESC_AREA] = f->g.gm->r[0].va + G_DATA + 0x10000;
	a.size =
		3000; /* of lists: one descriptor, and twice as many as a list can have; the rest */
	for (unsigned i = 0; i < a.size; i++)
		ring[i] = (struct vring_packed_desc){
			D, 1, (uint16_t)i,
			(uint16_t)(PACKED_AVAIL |
				   (i == 0 || i == n || i == 2 * n || i == a.size - 1 ? 0 : NEXT))};
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, DRV_LAYOUT, false), 0);
	assert_int_equal(vhost_ring_refresh(&f->r), 2);
	assert_int_equal(f->r.packed->space, a.size - 1 - n);
	assert_int_equal(vhost_ring_refresh(&f->r), 3);
	assert_int_equal(vhost_ring_refresh(&f->r), 4);
	assert_int_equal(f->r.packed->space, 0);
	assert_int_equal(vhost_ring_refresh(&f->r), 4);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

/* The first of what was put back is what announces the rest. */
static void nothing_is_seen_before_publish(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		drv_desc(&f->d, i, D, 4, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
	}
	for (unsigned i = 0; i < 3; i++)
		vhost_ring_put(&f->r, f->r.packed->queue[i], 0);
	assert_false(drv_used(&f->d, &(uint32_t){0}, &(uint32_t){0}));
	assert_true(vhost_ring_publish(&f->r));
	assert_false(vhost_ring_publish(&f->r));
	for (unsigned i = 0; i < 3; i++)
		assert_used(&f->d, i, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hostile_drivers),
		T(ids_are_the_drivers_own),
		T(marks_of_other_laps),
		T(a_full_ring_offers_nothing),
		T(lists_that_are_out_stay_as_they_were),
		T(shapes),
		T(every_size_in_any_order),
		T(the_largest_ring),
		T(a_look_ends_with_a_list),
		T(nothing_is_seen_before_publish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
