/* SPDX-License-Identifier: BSD-3-Clause */
/* However large a ring is, its chains end: nobody can stop in the middle of one. */
#include "ring_fix.h"

#define LARGE 4096u
#define AT    (G_DATA + 0x40000) /* of a ring that is larger than those of the fixture */

/* Makes a ring of LARGE entries, with a chain of @n descriptors of one byte. */
static void load_large(struct fix *f, unsigned n)
{
	struct vhost_ring_area a = {.size = LARGE};

	memset(f->g.mem + AT, 0, G_SIZE - AT);
	for (unsigned i = 0; i < 3; i++)
		a.part[i] = f->g.gm->r[0].va + AT + i * 0x40000;
	vhost_ring_fini(&f->r);
#ifdef RINGS_PACKED
	struct vring_packed_desc *d = (void *)(f->g.mem + AT);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vring_packed_desc){
			D, 1, 7, (uint16_t)(PACKED_AVAIL | (i + 1 < n ? NEXT : 0))};
#else
	struct vring_desc *d = (void *)(f->g.mem + AT);
	struct vring_avail *avail = (void *)(f->g.mem + AT + 0x40000);

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct vring_desc){D, 1, i + 1 < n ? NEXT : 0, (uint16_t)(i + 1)};
	avail->idx = 1;
#endif
	assert_int_equal(
		vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT | DRV_LAYOUT, false),
		0);
}

/* Takes the chain, if the ring is not broken. */
static int take_it(struct fix *f)
{
	struct vhost_desc first;
	uint16_t id;

	if (!vhost_ring_refresh(&f->r) || !vhost_ring_peek(&f->r, 0, &id, &first))
		return -EPROTO;
	vhost_ring_take(&f->r);
	return vhost_ring_walk(&f->r, id, f->seg, 2048, &f->ndesc);
}

static void a_chain_ends_before_a_large_ring_does(void **state)
{
	struct fix *f = *state;

	load_large(f, VHOST_RING_CHAIN_MAX);
	assert_int_equal(take_it(f), (int)VHOST_RING_CHAIN_MAX);
	assert_int_equal(f->ndesc, VHOST_RING_CHAIN_MAX);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
	for (unsigned n = VHOST_RING_CHAIN_MAX + 1; n <= LARGE; n = 2 * n - 2) {
		load_large(f, n);
		assert_int_equal(take_it(f), -EPROTO);
		assert_int_equal(f->r.broken, VHOST_RING_CHAIN_LONG);
		assert_in_range(f->r.walked, 0, VHOST_RING_CHAIN_MAX);
	}
}

/* Nor does a table grow with the ring. */
static void a_table_ends_before_a_large_ring_does(void **state)
{
	struct fix *f = *state;

	for (unsigned n = VHOST_RING_CHAIN_MAX; n <= VHOST_RING_CHAIN_MAX + 1; n++) {
		bool good = n == VHOST_RING_CHAIN_MAX;

		load_large(f, 1);
		for (unsigned i = 0; i < n; i++)
			drv_table(f->g.mem + TABLE, i, D, 1, i + 1 < n ? NEXT : 0);
#ifdef RINGS_PACKED
		*(struct vring_packed_desc *)(void *)(f->g.mem + AT) = (struct vring_packed_desc){
			G_GPA + TABLE, 16 * n, 7, (uint16_t)(PACKED_AVAIL | IND)};
#else
		*(struct vring_desc *)(void *)(f->g.mem + AT) =
			(struct vring_desc){G_GPA + TABLE, 16 * n, IND, 0};
#endif
		assert_int_equal(take_it(f), good ? (int)n : -EPROTO);
		assert_int_equal(f->r.broken, good ? VHOST_RING_OK : VHOST_RING_IND_LONG);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chain_ends_before_a_large_ring_does),
		T(a_table_ends_before_a_large_ring_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
