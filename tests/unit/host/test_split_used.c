/* SPDX-License-Identifier: BSD-3-Clause */
/* Split rings: which entries of the used ring are stored. */
#include "ring_fix.h"

/* One lap of a full ring, buffers in order; what the driver finds in each entry is @len or 0. */
static void lap(struct fix *f, uint32_t put, uint32_t len)
{
	for (unsigned i = 0; i < N; i++) {
		drv_desc(&f->d, i, D, 1, 0, 0);
		assert_int_equal(take(f, (uint16_t)i), 1);
		vhost_ring_put(&f->r, (uint16_t)i, put);
	}
	assert_true(vhost_ring_publish(&f->r));
	(void)vhost_ring_want_call(&f->r);
	for (unsigned i = 0; i < N; i++)
		assert_used(&f->d, len ? i : 0, len);
}

/*
 * An entry is stored when it differs from what was stored there last, or when that is not known:
 * after a load, after a move. The cleared ring shows which were.
 */
static void unchanged_entries_are_not_stored(void **state)
{
	struct fix *f = *state;
	struct vhost_ring_area a = drv_area(&f->d, f->g.gm);
	struct vring_used_elem *ring = f->d.used->ring;

	lap(f, 7, 7);
	memset(ring, 0, N * sizeof(*ring));
	lap(f, 7, 0);
	lap(f, 8, 8);
	memset(ring, 0, N * sizeof(*ring));
	assert_int_equal(vhost_ring_move(&f->r, &a, f->g.gm), 0);
	lap(f, 8, 8);
	memset(ring, 0, N * sizeof(*ring));
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, EVENT_IDX | INDIRECT, false), 0);
	lap(f, 8, 8);
	assert_int_equal(f->r.broken, VHOST_RING_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unchanged_entries_are_not_stored, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
