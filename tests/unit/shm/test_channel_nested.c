/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SHM_CHANNEL_NESTED: slots of all sizes share one memory. No two that are in use overlap, none is
 * lost, and what is free can be had in any size that it is good for.
 */
#include "channel_pair.h"
#include "channel_slots.h"

#include <errno.h>
#include <stdbool.h>

#define UNIT  256u
#define UNITS 37u /* two of 16 each, one of 4 and one unit more */
#define MOST  64u

static void nest(struct pair *p)
{
	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	free(p->mem);
	p->desc.version = SHM_CHANNEL_NESTED;
	for (int i = 0; i < 2; i++) {
		p->desc.dir[i].classes = 3;
		p->desc.dir[i].cls[0] = (struct shm_slot_class){UNIT, UNITS};
		p->desc.dir[i].cls[1] = (struct shm_slot_class){4 * UNIT, 9};
		p->desc.dir[i].cls[2] = (struct shm_slot_class){16 * UNIT, 2};
	}
	p->desc.length = shm_channel_bytes(&p->desc);
	p->size = (size_t)(p->desc.offset + p->desc.length);
	p->mem = aligned_alloc(SHM_CHANNEL_ALIGN, p->size);
	memset(p->mem, 0x5a, p->size);
	assert_int_equal(channel_layout(&p->l, &p->desc), 0);
	pair_attach(p);
}

/* Takes what there is for @len bytes. How many; all have room for it. */
static unsigned take_all(struct pair *p, struct shm_msg *m, uint32_t len)
{
	int n = shm_channel_alloc(p->a, m, MOST, len);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		assert_true(m[i].room >= len && m[i].room < 4 * len);
	return (unsigned)n;
}

static void all_memory_serves_each_size(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[MOST];
	uint64_t all;

	nest(p);
	all = shm_channel_room(p->a);
	for (unsigned round = 0; round < 5; round++) {
		assert_int_equal(take_all(p, m, UNIT), UNITS);
		assert_int_equal(shm_channel_cancel(p->a, m, UNITS), 0);
		assert_int_equal(shm_channel_room(p->a), all);
		assert_int_equal(take_all(p, m, 16 * UNIT), 2);
		assert_int_equal(take_all(p, m + 2, 16 * UNIT), 0);
		/* What is no part of a large one is left for small ones. */
		assert_int_equal(take_all(p, m + 2, 4 * UNIT), 1);
		assert_int_equal(take_all(p, m + 3, UNIT), 1);
		assert_int_equal(shm_channel_cancel(p->a, m, 4), 0);
		assert_int_equal(take_all(p, m, 4 * UNIT), 9);
		assert_int_equal(take_all(p, m + 9, UNIT), 1);
		assert_int_equal(shm_channel_cancel(p->a, m, 10), 0);
		assert_int_equal(shm_channel_room(p->a), all);
	}
}

/* A small one that is held keeps one large one from being put together, and no other. */
static void what_is_held_keeps_its_own_part(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[MOST], held[2], big[2];
	unsigned in_large = 0;

	nest(p);
	assert_int_equal(take_all(p, m, UNIT), UNITS);
	for (unsigned i = 0; i < UNITS; i++)
		if ((uint8_t *)m[i].data - p->mem - p->desc.offset - p->l.dir[0].slots[0] == 0)
			in_large = i;
	held[0] = m[in_large];
	m[in_large] = m[UNITS - 1];
	assert_int_equal(shm_channel_cancel(p->a, m, UNITS - 1), 0);
	assert_int_equal(take_all(p, big, 16 * UNIT), 1);
	assert_int_equal(take_all(p, m, 4 * UNIT), 3 + 1);
	assert_int_equal(shm_channel_cancel(p->a, m, 4), 0);
	assert_int_equal(shm_channel_cancel(p->a, held, 1), 0);
	assert_int_equal(take_all(p, big + 1, 16 * UNIT), 1);
	assert_int_equal(shm_channel_cancel(p->a, big, 2), 0);
}

struct testbed {
	struct shm_msg taken[MOST], sent[MOST];
	unsigned ntaken, nsent;
	uint8_t used[UNITS]; /* 0, or whose */
};

/* Marks the units of @m as used, or not. None was before. */
static void mark(struct pair *p, struct testbed *w, const struct shm_msg *m, bool used)
{
	size_t at = (size_t)((uint8_t *)m->data - p->mem - p->desc.offset) -
		    (size_t)p->l.dir[0].slots[0];

	assert_int_equal(at % m->room, 0);
	for (size_t u = at / UNIT; u < (at + m->room) / UNIT; u++) {
		assert_true(u < UNITS);
		assert_int_equal(w->used[u], !used);
		w->used[u] = used;
	}
}

/* What the lists say is what is used: every unit is in use, or can be had. */
static void count(struct pair *p, const struct testbed *w)
{
	const struct channel_tx *tx = &p->a->tx;
	uint32_t used = 0, left = 0;

	for (unsigned u = 0; u < UNITS; u++)
		used += w->used[u];
	for (uint32_t c = 0; c < tx->pools; c++)
		left += slots_left(tx, c) << (2 * c);
	assert_int_equal(used + left, UNITS);
}

static void give_back(struct pair *p, struct testbed *w, unsigned i)
{
	struct shm_msg *m = &w->sent[i];

	assert_int_equal(shm_channel_release(p->b, m, 1), 0);
	mark(p, w, m, false);
	*m = w->sent[--w->nsent];
	assert_int_equal(tx_collect(p->a), 0);
}

static void one_step(struct pair *p, struct testbed *w)
{
	static const uint32_t len[] = {1, UNIT, UNIT + 1, 4 * UNIT, 5 * UNIT, 16 * UNIT, 99 * UNIT};
	struct shm_msg *m;
	unsigned i;
	int n;

	switch (rand() % 4) {
	case 0:
	case 1:
		n = shm_channel_alloc(p->a, w->taken + w->ntaken, 1 + (unsigned)rand() % 5,
				      len[(unsigned)rand() % 7]);
		assert_true(n >= 0);
		while (n--)
			mark(p, w, &w->taken[w->ntaken++], true);
		break;
	case 2:
		if (!w->ntaken)
			break;
		i = (unsigned)rand() % w->ntaken;
		m = &w->taken[i];
		if (rand() % 3 == 0) {
			assert_int_equal(shm_channel_cancel(p->a, m, 1), 0);
			mark(p, w, m, false);
		} else {
			m->len = m->room;
			if (shm_channel_send(p->a, m, 1) != 1)
				break;
			assert_int_equal(shm_channel_recv(p->b, &w->sent[w->nsent++], 1), 1);
		}
		*m = w->taken[--w->ntaken];
		break;
	default:
		if (w->nsent)
			give_back(p, w, (unsigned)rand() % w->nsent);
	}
	assert_int_equal(shm_channel_notify(p->b), 0);
	count(p, w);
}

static void any_order_agrees_with_a_map(void **state)
{
	struct pair *p = *state;
	struct testbed w = {.nsent = 0};
	uint64_t all;

	nest(p);
	all = shm_channel_room(p->a);
	srand(11);
	for (unsigned i = 0; i < 200000; i++)
		one_step(p, &w);
	while (w.nsent)
		give_back(p, &w, 0);
	assert_int_equal(shm_channel_notify(p->b), 0);
	assert_int_equal(shm_channel_cancel(p->a, w.taken, w.ntaken), 0);
	assert_int_equal(shm_channel_room(p->a), all);
	assert_int_equal(take_all(p, w.taken, 16 * UNIT), 2);
	assert_int_equal(shm_channel_error(p->a) | shm_channel_error(p->b), 0);
}

static void descriptions_are_checked(void **state)
{
	struct pair *p = *state;
	const struct shm_channel_desc *good = &p->desc;
	struct shm_channel_desc d;

	nest(p);
	assert_int_equal(shm_channel_check(good, p->size), 0);
	/* Not as much memory as with slots of their own. */
	d = *good;
	d.version = SHM_CHANNEL_VERSION;
	assert_true(shm_channel_bytes(&d) > shm_channel_bytes(good));
#define BAD(change)                                                                                \
	do {                                                                                       \
		d = *good;                                                                         \
		change;                                                                            \
		assert_int_equal(shm_channel_check(&d, p->size), -EINVAL);                         \
	} while (0)
	BAD(d.dir[0].cls[1].slots = 10); /* more memory than the small ones */
	BAD(d.dir[1].cls[2].slots = 3);
	BAD(d.dir[0].cls[1].slot_size = 3 * UNIT); /* no power of two of them */
	BAD(d.dir[0].cls[1].slot_size = 4 * UNIT + 64);
	BAD(d.dir[1].cls[2].slots = UINT32_MAX);
	BAD(d.version = 3);
#undef BAD
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(all_memory_serves_each_size),
		PAIR_TEST(what_is_held_keeps_its_own_part),
		PAIR_TEST(any_order_agrees_with_a_map),
		PAIR_TEST(descriptions_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
