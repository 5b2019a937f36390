/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a packed ring stands, the device side, and at which places the two tell each other. */
#define RINGS_PACKED
#include "ring_fix.h"

/* ---- sessions ---- */

/* Loads at @pos; the driver is there as well. */
static void load_at(struct fix *f, uint32_t pos)
{
	struct vhost_ring_area a = drv_area(&f->d, f->g.gm);

	a.pos.v = pos;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | DRV_LAYOUT, false),
			 0);
}

static void a_session_starts_where_the_frontend_says(void **state)
{
	struct fix *f = *state;
	uint32_t base;

	for (uint32_t from = 0; from < 4 * N; from++) {
		drv_make(&f->d, &f->g, 0, N);
		f->d.posted = f->d.seen = from;
		base = drv_base(&f->d, from);
		/* both positions, or the one that some frontends know */
		load_at(f, from % 2 ? base : base & UINT16_MAX);
		assert_int_equal(vhost_ring_position(&f->r).v, base);
		for (unsigned i = 0; i < 3; i++) {
			drv_desc(&f->d, i, D, 1, 0, 0);
			assert_int_equal(take(f, (uint16_t)i), 1);
			vhost_ring_put(&f->r, f->r.packed->queue[i], 0);
		}
		assert_true(vhost_ring_publish(&f->r));
		for (unsigned i = 0; i < 3; i++)
			assert_used(&f->d, i, 0);
		assert_int_equal(vhost_ring_position(&f->r).v, drv_base(&f->d, from + 3));
	}
}

/* @used descriptors by a device that works in order, and @out more that it has not used. */
static void by_another_device(struct fix *f, uint16_t size, uint32_t used, uint32_t out)
{
	uint32_t done = 0;

	drv_make(&f->d, &f->g, 0, size);
	for (uint32_t i = 0; i < used + out; i++) {
		drv_desc(&f->d, i % size, D, 1, 0, 0);
		drv_offer(&f->d, (uint16_t)(i % size));
		for (; done < used && (i + 1 - done == size || i + 1 == used + out); done++)
			f->d.ring[done % size].flags = drv_used_marks(&f->d, done);
		f->d.seen = done;
	}
}

/* With indirect descriptors no frontend needs to know it; those that say 0, or what was long ago.
 */
static void the_ring_says_where_it_stands(void **state)
{
	struct fix *f = *state;
	static const uint16_t sizes[] = {1, 2, 3, 5, 16};

	for (unsigned s = 0; s < 5; s++)
		for (uint32_t used = 0; used < 4u * sizes[s] + 2; used++)
			for (uint32_t out = 0; out <= sizes[s]; out++) {
				struct vhost_ring_area a;

				by_another_device(f, sizes[s], used, out);
				a = drv_area(&f->d, f->g.gm);
				a.pos.v = 0;
				assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL,
								 INDIRECT | DRV_LAYOUT, false),
						 0);
				assert_int_equal(vhost_ring_position(&f->r).v,
						 drv_base(&f->d, used));
				assert_int_equal(vhost_ring_refresh(&f->r), out);
				if (out + 3 > sizes[s])
					continue;
				/* a batch of three behind them, of which the first is not there */
				for (uint32_t i = used + out + 1; i < used + out + 3; i++)
					f->d.ring[i % sizes[s]].flags = drv_avail_marks(&f->d, i);
				assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL,
								 INDIRECT | DRV_LAYOUT, false),
						 0);
				assert_int_equal(vhost_ring_position(&f->r).v,
						 drv_base(&f->d, used));
				assert_int_equal(vhost_ring_refresh(&f->r), out);
			}
}

static void positions_are_two(void **unused)
{
	const struct vhost_ring_layout *l = vhost_ring_layout_of(VSOCK_FEATURE_RING_PACKED);
	static const struct {
		uint32_t pos, size;
		bool ok;
	} t[] = {
		{0x80008000, 16, true},	 {0x00008000, 16, true},  {0x00000000, 16, true},
		{0x800f800f, 16, true},	 {0x000f000f, 16, true},  {0x80108010, 16, false},
		{0x80108010, 17, true},	 {0x80108010, 0, true},	  {0xffffffff, 0, true},
		{0x80008001, 16, false}, {0x80000000, 16, false}, {0x00018000, 16, false},
		{0x00010001, 1, false},
	};

	(void)unused;
	assert_true(l->any_size);
	assert_int_equal(l->fresh.v, 0x80008000);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(l->pos_refused((struct vhost_ring_pos){t[i].pos}, t[i].size) ==
					 NULL,
				 t[i].ok);
}

static void refused_areas(void **state)
{
	struct fix *f = *state;
	struct vhost_ring_area ok = drv_area(&f->d, f->g.gm), a;
	static const uint32_t bad[] = {0, 32769, 65536, 0x80000000u};

	for (unsigned i = 0; i < 4; i++) {
		a = ok, a.size = bad[i];
		assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, DRV_LAYOUT, false),
				 -EINVAL);
	}
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++) {
		a = ok, a.part[i] = (uint8_t *)a.part[i] + (i == VHOST_DESC_AREA ? 8 : 2);
		assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, DRV_LAYOUT, false),
				 -EINVAL);
	}
	a = ok, a.pos.v = N | N << 16;
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, DRV_LAYOUT, false), -EINVAL);
	a = ok, a.size = N / 2;
	assert_int_equal(vhost_ring_move(&f->r, &a, f->g.gm), -EINVAL);
}

/* ---- notification ---- */

/* Offers, takes and puts back @n descriptors; does the driver want to hear of them? */
static bool call_after(struct fix *f, unsigned n)
{
	uint32_t id, len;
	bool call;

	for (unsigned i = 0; i < n; i++) {
		drv_desc(&f->d, i, D, 1, 0, 0);
		drv_offer(&f->d, (uint16_t)i);
	}
	assert_int_equal(vhost_ring_refresh(&f->r), n);
	for (unsigned i = 0; i < n; i++) {
		struct vhost_desc d;
		uint16_t handle;

		assert_true(vhost_ring_peek(&f->r, 0, &handle, &d));
		vhost_ring_take(&f->r);
		vhost_ring_put(&f->r, handle, 0);
	}
	call = vhost_ring_publish(&f->r) && vhost_ring_want_call(&f->r);
	while (drv_used(&f->d, &id, &len))
		;
	return call;
}

/* Every place that the driver may ask for, from every place, for every number put back. */
static void the_driver_is_told_at_the_place_it_asked_for(void **state)
{
	struct fix *f = *state;
	static const uint16_t sizes[] = {1, 2, 5, 16};

	for (unsigned s = 0; s < 4; s++)
		for (uint32_t from = 0; from < 2u * sizes[s]; from++)
			for (uint32_t n = 1; n <= sizes[s]; n++)
				/* from the last one that was used to the last one of this lap */
				for (uint32_t ask = 0; ask < sizes[s]; ask++) {
					drv_make(&f->d, &f->g, 0, sizes[s]);
					f->d.posted = f->d.seen = from;
					load_at(f, drv_base(&f->d, from));
					drv_used_event(&f->d, (uint16_t)(from + ask));
					assert_int_equal(call_after(f, n), ask < n);
				}
}

static void our_wish(void **state)
{
	struct fix *f = *state;

	for (uint32_t from = 0; from < 2 * N; from++)
		for (uint32_t more = 0; more < N; more++) {
			f->d.posted = f->d.seen = from;
			load_at(f, drv_base(&f->d, from));
			assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
			f->r.layout->verbs->arm(&f->r, more);
			assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_DESC << 16 |
							       drv_place(&f->d, from + more));
			vhost_ring_disarm(&f->r);
			assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
		}
}

static void event_flags(void **state)
{
	struct fix *f = *state;

	load(f, INDIRECT, false);
	assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
	f->r.layout->verbs->arm(&f->r, 7);
	assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_ENABLE << 16);
	vhost_ring_disarm(&f->r);
	assert_int_equal(*f->d.device, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
	*f->d.driver = VRING_PACKED_EVENT_FLAG_ENABLE << 16 | 1234;
	assert_true(call_after(f, 1));
	*f->d.driver = VRING_PACKED_EVENT_FLAG_DISABLE << 16 | 1234;
	assert_false(call_after(f, 1));
	*f->d.driver = 0xfffe0000 | 1; /* reserved bits mean nothing */
	*f->d.driver = 3u << 16;       /* a reserved value: rather once too often */
	assert_true(call_after(f, 1));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_session_starts_where_the_frontend_says),
		T(the_ring_says_where_it_stands),
		cmocka_unit_test(positions_are_two),
		T(refused_areas),
		T(the_driver_is_told_at_the_place_it_asked_for),
		T(our_wish),
		T(event_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
