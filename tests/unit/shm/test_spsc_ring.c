/* SPDX-License-Identifier: BSD-3-Clause */
/* spsc_ring: order and content between two threads and two processes; hostile indices. */
#include "spsc_ring.h"

#include "shm_ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE  8u
#define ENTRY 64u

struct ring {
	struct spsc_shared *sh;
	struct spsc_prod p;
	struct spsc_cons c;
};

static int setup(void **state)
{
	struct ring *r = malloc(sizeof(*r));
	size_t bytes = spsc_bytes(SIZE, ENTRY);

	r->sh = aligned_alloc(SHM_CACHE_LINE, bytes);
	*state = r;
	return spsc_format(r->sh, SIZE, ENTRY) ||
	       spsc_prod_init(&r->p, r->sh, bytes, SIZE, ENTRY) ||
	       spsc_cons_init(&r->c, r->sh, bytes, SIZE, ENTRY);
}

static int teardown(void **state)
{
	struct ring *r = *state;

	free(r->sh);
	free(r);
	return 0;
}

static void put(struct ring *r, unsigned n)
{
	uint32_t idx;

	assert_int_equal(spsc_reserve(&r->p, n, &idx), n);
	spsc_submit(&r->p, n);
}

static void bad_arguments_are_refused(void **state)
{
	struct ring *r = *state;
	struct spsc_prod p;
	struct spsc_cons c;
	size_t bytes = spsc_bytes(SIZE, ENTRY);

	assert_int_equal(bytes, 256 + SIZE * ENTRY);
	assert_int_equal(spsc_bytes(0, ENTRY), 0);
	assert_int_equal(spsc_bytes(1, ENTRY), 0);
	assert_int_equal(spsc_bytes(12, ENTRY), 0);
	assert_int_equal(spsc_bytes(SPSC_SIZE_MAX * 2, ENTRY), 0);
	assert_int_equal(spsc_bytes(SIZE, 0), 0);
	assert_int_equal(spsc_bytes(SIZE, 12), 0);
	assert_int_equal(spsc_bytes(SIZE, SPSC_ENTRY_MAX + 8), 0);
	assert_int_equal(spsc_prod_init(&p, r->sh, bytes - 1, SIZE, ENTRY), -EINVAL);
	assert_int_equal(spsc_cons_init(&c, r->sh, bytes - 1, SIZE, ENTRY), -EINVAL);
	assert_int_equal(spsc_cons_init(&c, (char *)r->sh + 8, bytes, SIZE, ENTRY), -EINVAL);
	assert_int_equal(spsc_prod_init(&p, NULL, bytes, SIZE, ENTRY), -EINVAL);
	assert_int_equal(spsc_format(r->sh, 3, ENTRY), -EINVAL);
}

static void a_batch_may_be_cut_short_but_not_overbooked(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	assert_int_equal(spsc_peek(&r->c, 4, &idx), 0);
	assert_int_equal(spsc_reserve(&r->p, 5, &idx), 5);
	assert_int_equal(idx, 0);
	assert_int_equal(spsc_reserve(&r->p, 5, &idx), 3);
	assert_int_equal(idx, 5);
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), 0);
	assert_int_equal(spsc_peek(&r->c, 4, &idx), 0); /* reserved is not submitted */
	spsc_submit(&r->p, 6);
	assert_int_equal(spsc_peek(&r->c, 4, &idx), 4);
	assert_int_equal(spsc_peek(&r->c, 4, &idx), 2);
	assert_int_equal(idx, 4);
	assert_int_equal(spsc_peek(&r->c, 4, &idx), 0);
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), 0); /* peeked is not released */
	spsc_release(&r->c, 5);
	assert_int_equal(spsc_reserve(&r->p, 8, &idx), 5);
	assert_int_equal(r->p.err | r->c.err, 0);
}

static void cancel_gives_the_youngest_back(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	assert_int_equal(spsc_reserve(&r->p, 8, &idx), 8);
	spsc_cancel(&r->p, 3);
	spsc_submit(&r->p, 5);
	assert_int_equal(spsc_peek(&r->c, 8, &idx), 5);
	assert_int_equal(spsc_reserve(&r->p, 8, &idx), 3);
	assert_int_equal(idx, 5);
}

static void empty_tells_before_sleeping(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	assert_true(spsc_cons_empty(&r->c));
	put(r, 1);
	assert_false(spsc_cons_empty(&r->c));
	assert_int_equal(spsc_peek(&r->c, 8, &idx), 1);
	assert_true(spsc_cons_empty(&r->c));
}

static void indices_wrap_at_2_to_the_32(void **state)
{
	struct ring *r = *state;
	const uint32_t start = UINT32_MAX - 11;
	uint32_t in = 0, out = 0, idx;

	r->p.reserved = r->p.submitted = r->p.cons = start;
	r->c.peeked = r->c.released = r->c.prod = start;
	r->sh->prod = r->sh->cons = start;
	while (out < 100) {
		int n = spsc_reserve(&r->p, 3, &idx);

		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			*(uint32_t *)spsc_prod_entry(&r->p, idx + (uint32_t)i) = in++;
		spsc_submit(&r->p, (unsigned)n);
		n = spsc_peek(&r->c, 3, &idx);
		for (int i = 0; i < n; i++)
			assert_int_equal(
				*(const uint32_t *)spsc_cons_entry(&r->c, idx + (uint32_t)i),
				out++);
		spsc_release(&r->c, (unsigned)n);
	}
	assert_int_equal(r->p.err | r->c.err, 0);
}

/* Every index that a peer can write, against the few that it may. */
static void a_hostile_consumer_breaks_only_its_ring(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	put(r, 8);
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), 0);
	r->sh->cons = 9; /* more than was ever submitted */
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), -EPROTO);
	r->sh->cons = 8; /* too late to be good again */
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), -EPROTO);
}

static void a_hostile_consumer_cannot_go_back(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	put(r, 8);
	r->sh->cons = 4;
	assert_int_equal(spsc_reserve(&r->p, 5, &idx), 4);
	r->sh->cons = 3;
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), -EPROTO);
}

static void a_hostile_consumer_cannot_release_what_is_only_reserved(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	assert_int_equal(spsc_reserve(&r->p, 8, &idx), 8);
	spsc_submit(&r->p, 2);
	r->sh->cons = 3;
	assert_int_equal(spsc_reserve(&r->p, 1, &idx), -EPROTO);
}

static void a_hostile_producer_breaks_only_its_ring(void **state)
{
	static const uint32_t bad[] = {SIZE + 1, 0x80000000u, UINT32_MAX};
	struct ring *r = *state;
	uint32_t idx;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		r->c = (struct spsc_cons){.sh = r->sh, .mask = SIZE - 1, .entry_size = ENTRY};
		r->sh->prod = bad[i];
		assert_int_equal(spsc_peek(&r->c, 1, &idx), -EPROTO);
		assert_true(spsc_cons_empty(&r->c));
		r->sh->prod = 1;
		assert_int_equal(spsc_peek(&r->c, 1, &idx), -EPROTO);
	}
}

static void a_hostile_producer_cannot_take_back(void **state)
{
	struct ring *r = *state;
	uint32_t idx;

	put(r, 4);
	assert_int_equal(spsc_peek(&r->c, 4, &idx), 4);
	r->sh->prod = 3;
	assert_int_equal(spsc_peek(&r->c, 1, &idx), -EPROTO);
}

/* A ring never names memory outside itself, whatever the peer writes. */
static void hostile_indices_by_brute_force(void **state)
{
	struct ring *r = *state;
	uint64_t seed = 88172645463325252u;
	uint32_t idx;

	for (int round = 0; round < 20000; round++) {
		r->c = (struct spsc_cons){.sh = r->sh, .mask = SIZE - 1, .entry_size = ENTRY};
		r->p = (struct spsc_prod){.sh = r->sh, .mask = SIZE - 1, .entry_size = ENTRY};
		for (int i = 0; i < 6; i++) {
			int n;

			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			r->sh->prod = (uint32_t)seed & ((seed >> 40) & 1 ? 0xf : UINT32_MAX);
			n = spsc_peek(&r->c, 16, &idx);
			assert_true(n == -EPROTO || (n >= 0 && n <= (int)SIZE));
			assert_true(r->c.peeked - r->c.released <= SIZE);
			if (n > 0 && (seed >> 41) & 1)
				spsc_release(&r->c, (unsigned)n);

			r->sh->cons = (uint32_t)(seed >> 32) & 0xf;
			n = spsc_reserve(&r->p, 3, &idx);
			assert_true(n == -EPROTO || (n >= 0 && n <= 3));
			assert_true(r->p.reserved - r->p.cons <= SIZE);
			if (n > 0)
				spsc_submit(&r->p, (unsigned)n);
		}
	}
}

/* ---- two threads, two processes --------------------------------------------------------- */

#define MESSAGES 200000u

/* Sends MESSAGES entries in batches of changing size; each word of an entry is a pattern. */
static int produce(struct spsc_prod *p)
{
	uint32_t sent = 0, idx;

	while (sent < MESSAGES) {
		unsigned want = 1 + sent % 7;
		int n = spsc_reserve(p, want < MESSAGES - sent ? want : MESSAGES - sent, &idx);

		if (n < 0)
			return n;
		if (!n)
			sched_yield();
		for (int i = 0; i < n; i++, sent++) {
			uint32_t *e = spsc_prod_entry(p, idx + (uint32_t)i);

			for (unsigned w = 0; w < ENTRY / 4; w++)
				e[w] = sent * 16 + w;
		}
		spsc_submit(p, (unsigned)n);
	}
	return 0;
}

/* Number of wrong words, or -errno. */
static long consume(struct spsc_cons *c)
{
	uint32_t got = 0, idx;
	long wrong = 0;

	while (got < MESSAGES) {
		int n = spsc_peek(c, 1 + got % 5, &idx);

		if (n < 0)
			return n;
		if (!n)
			sched_yield();
		for (int i = 0; i < n; i++, got++) {
			uint32_t e[ENTRY / 4];

			shm_copy_in(e, spsc_cons_entry(c, idx + (uint32_t)i), sizeof(e));
			for (unsigned w = 0; w < ENTRY / 4; w++)
				wrong += e[w] != got * 16 + w;
		}
		spsc_release(c, (unsigned)n);
	}
	return wrong;
}

static void *producer_thread(void *arg)
{
	return (void *)(intptr_t)produce(arg);
}

static void two_threads_every_word_in_order(void **state)
{
	struct ring *r = *state;
	pthread_t t;
	void *rc;

	assert_int_equal(pthread_create(&t, NULL, producer_thread, &r->p), 0);
	assert_int_equal(consume(&r->c), 0);
	assert_int_equal(pthread_join(t, &rc), 0);
	assert_null(rc);
}

static void two_processes_every_word_in_order(void **state)
{
	struct shm_region r, mine;
	struct spsc_prod p;
	struct spsc_cons c;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(shm_region_create(&r, "ring", spsc_bytes(64, ENTRY), SHM_NO_HUGE), 0);
	assert_int_equal(spsc_format(r.addr, 64, ENTRY), 0);
	assert_int_equal(spsc_cons_init(&c, r.addr, r.size, 64, ENTRY), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (shm_region_open(&mine, r.fd, r.size) ||
		    spsc_prod_init(&p, mine.addr, mine.size, 64, ENTRY) || produce(&p))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(consume(&c), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	shm_region_destroy(&r);
}

#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(bad_arguments_are_refused),
		RING_TEST(a_batch_may_be_cut_short_but_not_overbooked),
		RING_TEST(cancel_gives_the_youngest_back),
		RING_TEST(empty_tells_before_sleeping),
		RING_TEST(indices_wrap_at_2_to_the_32),
		RING_TEST(a_hostile_consumer_breaks_only_its_ring),
		RING_TEST(a_hostile_consumer_cannot_go_back),
		RING_TEST(a_hostile_consumer_cannot_release_what_is_only_reserved),
		RING_TEST(a_hostile_producer_breaks_only_its_ring),
		RING_TEST(a_hostile_producer_cannot_take_back),
		RING_TEST(hostile_indices_by_brute_force),
		RING_TEST(two_threads_every_word_in_order),
		cmocka_unit_test(two_processes_every_word_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
