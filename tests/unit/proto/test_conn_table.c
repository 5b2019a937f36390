/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection table: keys, ids; against a naive model; when memory runs out. */
#include "proto_test.h"

#include "proto/vsock/conn_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LO 50000u
#define HI 59999u

/* The linker sends the table's allocations here (--wrap, see meson.build). */
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

static unsigned allocs_left = UINT32_MAX; /* allocations that will still succeed */

static bool alloc_fails(void)
{
	if (allocs_left == UINT32_MAX)
		return false;
	if (!allocs_left)
		return true;
	allocs_left--;
	return false;
}

void *__wrap_realloc(void *p, size_t size)
{
	return alloc_fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return alloc_fails() ? NULL : __real_aligned_alloc(align, size);
}

static struct conn_table table(uint32_t max)
{
	struct conn_table t;

	assert_int_equal(conn_table_init(&t, max, 12345, 0, 1, LO, HI), 0);
	return t;
}

static struct conn_node node_of(uint64_t cid, uint32_t peer_port, uint32_t local_port)
{
	return (struct conn_node){.key = {cid, peer_port, local_port}};
}

static void test_init_checks_its_arguments(void **state)
{
	struct conn_table t;

	(void)state;
	assert_int_equal(conn_table_init(&t, 0, 1, 0, 1, LO, HI), -EINVAL);
	assert_int_equal(conn_table_init(&t, (1u << 30) + 1, 1, 0, 1, LO, HI), -EINVAL);
	assert_int_equal(conn_table_init(&t, 1, 1, 1, 1, LO, HI), -EINVAL);
	assert_int_equal(conn_table_init(&t, 1, 1, 0, 0, LO, HI), -EINVAL);
	assert_int_equal(conn_table_init(&t, 1, 1, 0, 1, HI, LO), -EINVAL);
	assert_int_equal(conn_table_init(&t, 1, 1, 2, 4, 100, 101), -EINVAL); /* 102 is outside */
	assert_int_equal(conn_table_init(&t, 1, 1, 3, 4, UINT32_MAX - 1, UINT32_MAX - 1), -EINVAL);
	conn_table_fini(&t); /* harmless after a failure */
	assert_int_equal(conn_table_init(&t, 1u << 30, 1, 0, 1, LO, LO), 0);
	conn_table_fini(&t);
	conn_table_fini(&t); /* and twice */
}

static void test_insert_find_remove(void **state)
{
	struct conn_table t = table(10);
	struct conn_node a = node_of(2, 80, LO);

	(void)state;
	assert_null(conn_table_find(&t, &a.key));
	assert_int_equal(conn_table_insert(&t, &a), 0);
	assert_int_equal(t.count, 1);
	assert_true(a.id != 0);
	assert_ptr_equal(conn_table_find(&t, &a.key), &a);
	assert_ptr_equal(conn_table_get(&t, a.id), &a);
	conn_table_remove(&t, &a);
	assert_int_equal(t.count, 0);
	assert_true(a.id == 0);
	assert_null(conn_table_find(&t, &a.key));
	conn_table_remove(&t, &a); /* it is not there any more */
	assert_int_equal(t.count, 0);
	conn_table_fini(&t);
}

static void test_key_is_unique_and_every_part_counts(void **state)
{
	struct conn_table t = table(10);
	struct conn_node a = node_of(2, 80, LO), same = a;
	struct conn_node other[] = {
		node_of(3, 80, LO), node_of(2 | 1ULL << 32, 80, LO), node_of(2, 81, LO),
		node_of(2, LO, 80), node_of(2, 80, LO + 1),
	};

	(void)state;
	assert_int_equal(conn_table_insert(&t, &a), 0);
	assert_int_equal(conn_table_insert(&t, &same), -EEXIST);
	assert_int_equal(conn_table_insert(&t, &a), -EEXIST);
	assert_true(same.id == 0);
	for (unsigned i = 0; i < COUNT_OF(other); i++)
		assert_int_equal(conn_table_insert(&t, &other[i]), 0);
	assert_ptr_equal(conn_table_find(&t, &same.key), &a);
	for (unsigned i = 0; i < COUNT_OF(other); i++)
		assert_ptr_equal(conn_table_find(&t, &other[i].key), &other[i]);
	conn_table_fini(&t);
}

/* A connection that lost (EEXIST), or that is gone, must not free the winner's port. */
static void test_a_port_is_freed_by_its_owner_only(void **state)
{
	struct conn_table t = table(10);
	struct conn_node owner = node_of(2, 80, LO), loser = owner, copy;

	(void)state;
	assert_int_equal(conn_table_insert(&t, &owner), 0);
	assert_int_equal(conn_table_insert(&t, &loser), -EEXIST);
	conn_table_remove(&t, &loser);
	assert_ptr_equal(conn_table_find(&t, &owner.key), &owner);
	copy = owner; /* with the owner's id, even */
	conn_table_remove(&t, &copy);
	assert_ptr_equal(conn_table_find(&t, &owner.key), &owner);
	assert_ptr_equal(conn_table_get(&t, owner.id), &owner);

	/* The old owner, after the key has gone to somebody else. */
	copy = owner;
	conn_table_remove(&t, &owner);
	assert_int_equal(conn_table_insert(&t, &loser), 0);
	conn_table_remove(&t, &owner);
	owner = copy; /* as if its id had not been cleared */
	conn_table_remove(&t, &owner);
	assert_ptr_equal(conn_table_find(&t, &loser.key), &loser);
	assert_int_equal(t.count, 1);
	conn_table_fini(&t);
}

static void test_max_is_kept(void **state)
{
	struct conn_table t = table(100);
	struct conn_node n[101];

	(void)state;
	for (unsigned i = 0; i <= 100; i++)
		n[i] = node_of(2, 80, i);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
	assert_int_equal(conn_table_insert(&t, &n[100]), -ENOSPC);
	assert_true(n[100].id == 0);
	assert_int_equal(conn_table_insert(&t, &n[5]), -EEXIST); /* the better reason first */
	conn_table_remove(&t, &n[50]);
	assert_int_equal(conn_table_insert(&t, &n[100]), 0);
	conn_table_fini(&t);
}

static void test_growth_keeps_everything(void **state)
{
	enum { N = 5000 };
	struct conn_table t = table(N);
	struct conn_node *n = calloc(N, sizeof(*n));
	uint64_t *id = calloc(N, sizeof(*id));

	(void)state;
	assert_true(n && id);
	assert_int_equal(t.mask + 1, 64);
	for (unsigned i = 0; i < N; i++) {
		n[i] = node_of(3 + i % 7, i, 1024 + i);
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
		id[i] = n[i].id;
		assert_true(t.count * 4 <= (t.mask + 1) * 3);
		assert_int_equal((t.mask + 1) & t.mask, 0);
	}
	assert_int_equal(t.mask + 1, 8192); /* 5000 needs 6667 buckets */
	for (unsigned i = 0; i < N; i++) {
		assert_true(n[i].id == id[i]);
		assert_ptr_equal(conn_table_find(&t, &n[i].key), &n[i]);
		assert_ptr_equal(conn_table_get(&t, id[i]), &n[i]);
	}
	conn_table_fini(&t);
	free(n);
	free(id);
}

static void test_out_of_memory_leaves_the_table_as_it_was(void **state)
{
	enum { N = 49 }; /* one more than 64 buckets take */
	struct conn_node n[N];
	struct conn_table t;

	(void)state;
	for (unsigned good = 0; good < 2; good++) { /* the first, the second allocation fails */
		allocs_left = good;
		assert_int_equal(conn_table_init(&t, N, 1, 0, 1, LO, HI), -ENOMEM);
		allocs_left = UINT32_MAX;
	}
	t = table(N);
	for (unsigned i = 0; i < N; i++)
		n[i] = node_of(2, i, LO);
	allocs_left = 0;
	for (unsigned i = 0; i < N - 1; i++) /* nothing is allocated before it is full */
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
	for (unsigned good = 0; good < 2; good++) {
		allocs_left = good;
		assert_int_equal(conn_table_insert(&t, &n[N - 1]), -ENOMEM);
		assert_true(n[N - 1].id == 0);
		assert_int_equal(t.count, N - 1);
		for (unsigned i = 0; i < N - 1; i++) {
			assert_ptr_equal(conn_table_find(&t, &n[i].key), &n[i]);
			assert_ptr_equal(conn_table_get(&t, n[i].id), &n[i]);
		}
		assert_null(conn_table_find(&t, &n[N - 1].key));
	}
	allocs_left = UINT32_MAX;
	assert_int_equal(conn_table_insert(&t, &n[N - 1]), 0);
	assert_ptr_equal(conn_table_find(&t, &n[N - 1].key), &n[N - 1]);
	conn_table_fini(&t);
}

static void test_stale_ids_find_nothing(void **state)
{
	struct conn_table t = table(10);
	struct conn_node a = node_of(2, 80, LO);
	uint64_t old[100];

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(old); i++) {
		assert_int_equal(conn_table_insert(&t, &a), 0);
		assert_ptr_equal(conn_table_get(&t, a.id), &a);
		for (unsigned k = 0; k < i; k++) {
			assert_true(old[k] != a.id);
			assert_null(conn_table_get(&t, old[k]));
		}
		old[i] = a.id;
		conn_table_remove(&t, &a);
		assert_null(conn_table_get(&t, old[i]));
	}
	/* Ids that were never given. */
	assert_null(conn_table_get(&t, 0));
	assert_null(conn_table_get(&t, 1ULL << 32)); /* generation 1 of slot 0: gone long ago */
	assert_null(conn_table_get(&t, 1ULL << 32 | 5));
	assert_null(conn_table_get(&t, 1ULL << 32 | t.slots));
	assert_null(conn_table_get(&t, UINT64_MAX));
	conn_table_fini(&t);
}

static void test_generation_wraps_past_zero(void **state)
{
	struct conn_table t = table(10);
	struct conn_node a = node_of(2, 80, LO);
	uint64_t last;

	(void)state;
	assert_int_equal(conn_table_insert(&t, &a), 0);
	t.slot[(uint32_t)a.id].gen = UINT32_MAX; /* as after 2^32 - 2 connections */
	a.id |= (uint64_t)UINT32_MAX << 32;
	last = a.id;
	assert_ptr_equal(conn_table_get(&t, last), &a);
	conn_table_remove(&t, &a);
	assert_null(conn_table_get(&t, last));
	assert_null(conn_table_get(&t, 0));
	assert_int_equal(conn_table_insert(&t, &a), 0);
	assert_int_equal((uint32_t)a.id, (uint32_t)last); /* the same slot */
	assert_int_equal(a.id >> 32, 1);		  /* the generation after the last: not 0 */
	assert_null(conn_table_get(&t, last));
	conn_table_fini(&t);
}

/* All keys share a home bucket, found by trying: clusters, wrap of the array, backward shifts. */
static void test_collisions(void **state)
{
	enum { N = 40 };
	struct conn_table t = table(1000);
	struct conn_node n[N];
	uint64_t seed = 3;
	uint32_t port = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		/* Home of a key in an empty table: where the only full bucket is. */
		for (;;) {
			uint32_t b = 0;

			n[i] = node_of(2, 80, port++);
			assert_int_equal(conn_table_insert(&t, &n[i]), 0);
			while (!t.bucket[b].slot)
				b++;
			conn_table_remove(&t, &n[i]);
			if (b == 60) /* near the end: the cluster runs over it */
				break;
		}
	}
	for (unsigned round = 0; round < 200; round++) {
		bool in[N] = {false};

		for (unsigned i = 0; i < N; i++)
			assert_int_equal(conn_table_insert(&t, &n[i]), 0);
		memset(in, 1, sizeof(in));
		assert_int_equal(t.mask, 63);
		for (unsigned left = N; left;) {
			unsigned i = test_rand(&seed) % N;

			if (!in[i])
				continue;
			conn_table_remove(&t, &n[i]);
			in[i] = false;
			left--;
			for (unsigned k = 0; k < N; k++)
				assert_ptr_equal(conn_table_find(&t, &n[k].key),
						 in[k] ? &n[k] : NULL);
		}
	}
	for (unsigned b = 0; b <= t.mask; b++)
		assert_int_equal(t.bucket[b].slot, 0);
	conn_table_fini(&t);
}

/* Keys whose 32 hash bits are the same, which no search finds in time: the bucket is forged. */
static void test_equal_hashes_are_told_apart_by_the_key(void **state)
{
	struct conn_node a = node_of(2, 80, LO);
	struct conn_node other[] = {node_of(3, 80, LO), node_of(2, 81, LO), node_of(2, 80, LO + 1)};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(other); i++) {
		struct conn_table t = table(10);
		uint32_t b = 0;

		assert_int_equal(conn_table_insert(&t, &other[i]), 0);
		while (!t.bucket[b].slot)
			b++;
		/* As if a had the hash of other[i]. */
		t.slot[t.bucket[b].slot - 1].node = &a;
		assert_null(conn_table_find(&t, &other[i].key));
		t.slot[t.bucket[b].slot - 1].node = &other[i];
		assert_ptr_equal(conn_table_find(&t, &other[i].key), &other[i]);
		conn_table_fini(&t);
	}
}

static void test_seed_changes_the_places(void **state)
{
	struct conn_node n = node_of(2, 80, LO);
	uint32_t hash[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct conn_table t;
		uint32_t b = 0;

		assert_int_equal(conn_table_init(&t, 1, i, 0, 1, LO, HI), 0);
		n.id = 0;
		assert_int_equal(conn_table_insert(&t, &n), 0);
		while (!t.bucket[b].slot)
			b++;
		hash[i] = t.bucket[b].hash;
		conn_table_fini(&t);
	}
	assert_int_not_equal(hash[0], hash[1]);
}

/* 10,000 random operations against an array that is searched from end to end. */
static void test_random_operations_against_a_model(void **state)
{
	enum { N = 600, OPS = 10000 };
	static struct conn_node n[N];
	static bool in[N];
	struct conn_table t = table(400);
	uint64_t seed = 2024;
	uint32_t count = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++)
		n[i] = node_of(3 + i % 3, i % 50, i / 50); /* few distinct values a field */
	for (unsigned op = 0; op < OPS; op++) {
		unsigned i = test_rand(&seed) % N, k = test_rand(&seed) % N;
		/* Waves of filling and emptying, so that it grows and gets sparse. */
		unsigned bias = op / 1000 % 2 ? 3 : 7;

		if (test_rand(&seed) % 10 < bias) {
			int want = in[i] ? -EEXIST : count == 400 ? -ENOSPC : 0;

			assert_int_equal(conn_table_insert(&t, &n[i]), want);
			count += !want;
			in[i] = in[i] || !want;
		} else {
			conn_table_remove(&t, &n[i]);
			count -= in[i];
			in[i] = false;
			assert_true(n[i].id == 0);
		}
		assert_int_equal(t.count, count);
		assert_ptr_equal(conn_table_find(&t, &n[k].key), in[k] ? &n[k] : NULL);
		assert_ptr_equal(conn_table_get(&t, n[k].id), in[k] ? &n[k] : NULL);
		if (op % 500)
			continue;
		for (k = 0; k < N; k++)
			assert_ptr_equal(conn_table_find(&t, &n[k].key), in[k] ? &n[k] : NULL);
	}
	conn_table_fini(&t);
}

static void test_walk_with_removal(void **state)
{
	enum { N = 300 };
	struct conn_table t = table(N);
	static struct conn_node n[N];
	struct conn_node *node;
	unsigned seen = 0;
	uint32_t pos = 0;

	(void)state;
	assert_null(conn_table_next(&t, &pos));
	for (unsigned i = 0; i < N; i++) {
		n[i] = node_of(2, i, LO);
		assert_int_equal(conn_table_insert(&t, &n[i]), 0);
	}
	for (pos = 0; (node = conn_table_next(&t, &pos)); seen++) {
		if (seen % 2)
			conn_table_remove(&t, node);
	}
	assert_int_equal(seen, N);
	assert_null(conn_table_next(&t, &pos)); /* stays at the end */
	for (seen = 0, pos = 0; (node = conn_table_next(&t, &pos)); seen++)
		conn_table_remove(&t, node);
	assert_int_equal(seen, N / 2);
	assert_int_equal(t.count, 0);
	conn_table_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init_checks_its_arguments),
		cmocka_unit_test(test_insert_find_remove),
		cmocka_unit_test(test_key_is_unique_and_every_part_counts),
		cmocka_unit_test(test_a_port_is_freed_by_its_owner_only),
		cmocka_unit_test(test_max_is_kept),
		cmocka_unit_test(test_growth_keeps_everything),
		cmocka_unit_test(test_out_of_memory_leaves_the_table_as_it_was),
		cmocka_unit_test(test_stale_ids_find_nothing),
		cmocka_unit_test(test_generation_wraps_past_zero),
		cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_equal_hashes_are_told_apart_by_the_key),
		cmocka_unit_test(test_seed_changes_the_places),
		cmocka_unit_test(test_random_operations_against_a_model),
		cmocka_unit_test(test_walk_with_removal),
	};

	return cmocka_run_group_tests_name("proto: connection table", tests, NULL, NULL);
}
