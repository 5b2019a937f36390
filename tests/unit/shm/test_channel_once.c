/* SPDX-License-Identifier: BSD-3-Clause */
/* channel: each word that the peer can write is loaded once, and own words are never read back. See
 * read_once.h. */
#include "../read_once.h"

#include "channel_int.h"
#include "channel_pair.h"

#include <sys/mman.h>

/* A pair whose shared part begins at a page of its own, and is all watched but for the payload. */
static int once_setup(void **state)
{
	struct pair *p;

	assert_int_equal(pair_setup(state), 0);
	p = *state;
	assert_int_equal((uintptr_t)p->mem % SHM_CHANNEL_ALIGN, 0);
	return 0;
}

static void watch(struct pair *p)
{
	once_watch(p->mem + p->desc.offset, (size_t)p->desc.length);
	once_begin();
}

static void receiving_loads_a_word_and_a_reference(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[3], out[4];
	uint64_t *marks = pair_marks(p, SHM_ROLE_A);
	struct channel_slot_ref *ref = pair_ref(p, SHM_ROLE_A, 1);
	int n, released;

	assert_int_equal(shm_channel_alloc(p->a, m, 1, 1024), 1);
	m[0].len = 77;
	m[1] = m[0];
	m[0] = m[2] = (struct shm_msg){.data = p, .len = 20};
	assert_int_equal(shm_channel_send(p->a, m, 3), 3);
	watch(p);
	n = shm_channel_recv(p->b, out, 4);
	released = shm_channel_release(p->b, out, (unsigned)n);
	once_end();
	assert_int_equal(n, 3);
	assert_int_equal(released, 0);
	for (int i = 0; i < 4; i++)
		once_expect(&marks[i]); /* the last one is not there */
	/* Copied whole, in one piece or in two. */
	once_expect(&ref->id);
	once_allow(&ref->offset);
	once_allow(&ref->gen);
	once_allow(&ref->zero);
	once_expect_no_more();
}

static void sending_loads_the_index_once(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[PAIR_ENTRIES], out[PAIR_ENTRIES];
	int n, sent;

	for (unsigned i = 0; i < PAIR_ENTRIES; i++)
		m[i] = (struct shm_msg){.data = &out, .len = 20};
	n = shm_channel_send(p->a, m, PAIR_ENTRIES);
	assert_int_equal(n, PAIR_ENTRIES - RING_CONTROL_RESERVED);
	assert_int_equal(shm_channel_recv(p->b, out, PAIR_ENTRIES), n);
	assert_int_equal(shm_channel_release(p->b, out, (unsigned)n), 0);
	assert_int_equal(shm_channel_notify(p->b), 0);
	watch(p);
	sent = shm_channel_send(p->a, m, 8);
	once_end();
	assert_int_equal(sent, 8);
	once_expect(&pair_ctl(p, SHM_ROLE_A)->cons);
	once_expect_no_more();
}

static void slots_coming_back_are_loaded_once(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[4], out[4];
	int n;

	assert_int_equal(shm_channel_alloc(p->a, m, 4, 1024), 4);
	assert_int_equal(shm_channel_send(p->a, m, 4), 4);
	assert_int_equal(shm_channel_recv(p->b, out, 4), 4);
	assert_int_equal(shm_channel_release(p->b, out, 3), 0);
	watch(p);
	n = shm_channel_alloc(p->a, m, 4, 1024);
	once_end();
	assert_int_equal(n, 3);
	for (int i = 0; i < 4; i++)
		once_expect(&pair_returns(p, SHM_ROLE_A)[i]);
	once_expect_no_more();
}

static void bells_are_looked_at_once(void **state)
{
	struct pair *p = *state;
	struct shm_msg m = {.data = p, .len = 8};
	int armed, rung;

	watch(p);
	armed = shm_channel_arm(p->b, SHM_WANT_DATA, 0);
	once_end();
	assert_int_equal(armed, 0);
	once_expect(&pair_marks(p, SHM_ROLE_A)[0]);
	once_expect_no_more();

	assert_int_equal(shm_channel_send(p->a, &m, 1), 1);
	watch(p);
	rung = shm_channel_notify(p->a);
	once_end();
	assert_int_equal(rung, 1);
	once_expect(&pair_ctl(p, SHM_ROLE_A)->data.need_wakeup);
	once_expect_no_more();
}

static void attaching_loads_the_head_once(void **state)
{
	struct pair *p = *state;
	struct channel_head *h = (struct channel_head *)(p->mem + p->desc.offset);
	struct shm_channel *ch;
	int rc;

	watch(p);
	rc = shm_channel_attach(&ch, p->mem, p->size, &p->desc, SHM_ROLE_A, NULL);
	once_end();
	assert_int_equal(rc, 0);
	shm_channel_detach(ch);
	once_expect(&h->magic);
	once_expect(&h->version);
	once_expect(&h->generation);
	once_expect_no_more();
}

#define ONCE_TEST(f) cmocka_unit_test_setup_teardown(f, once_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONCE_TEST(receiving_loads_a_word_and_a_reference),
		ONCE_TEST(sending_loads_the_index_once),
		ONCE_TEST(slots_coming_back_are_loaded_once),
		ONCE_TEST(bells_are_looked_at_once),
		ONCE_TEST(attaching_loads_the_head_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
