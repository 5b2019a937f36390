/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is read from shared memory is read once: a value that was checked is the value that is
 * used, although another CPU changes the word all the time. The compiler is the adversary here: it
 * may take a private copy apart and load a field again for each use, and gcc 12 did.
 */
#include "proto/vsock/vsock_hdr.h"
#include "ring/vhost_ring_split.h"
#include "shm_access.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 5000u
#define SMALL  4u

static uint32_t shared[16] __attribute__((aligned(64)));

struct flip {
	uint32_t *word, a, b;
	uint32_t rounds; /* of the other thread */
	int stop;
};

static void *flipper(void *arg)
{
	struct flip *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		for (unsigned i = 0; i < 1000; i++) {
			__atomic_store_n(f->word, f->a, __ATOMIC_RELAXED);
			__atomic_store_n(f->word, f->b, __ATOMIC_RELAXED);
		}
		__atomic_add_fetch(&f->rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* How often @look found that a small value had become another one, while shared[@word] changed. */
static unsigned changed(unsigned word, uint32_t a, uint32_t b, unsigned (*look)(void))
{
	struct flip f = {&shared[word], a, b, 0, 0};
	unsigned wrong = 0;
	pthread_t t;

	memset(shared, 0, sizeof(shared));
	assert_int_equal(pthread_create(&t, NULL, flipper, &f), 0);
	while (__atomic_load_n(&f.rounds, __ATOMIC_RELAXED) < ROUNDS)
		for (unsigned i = 0; i < 100; i++)
			wrong += look();
	__atomic_store_n(&f.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	return wrong;
}

/* The value in memory, not what the compiler remembers of it. */
static uint32_t really32(const uint32_t *p)
{
	return *(const volatile uint32_t *)p;
}

static unsigned look_at_header(void)
{
	static struct vsock_hdr h;

	vsock_hdr_get(&h, shared);
	return h.len <= SMALL && really32(&h.len) > SMALL;
}

static unsigned look_at_descriptor(void)
{
	static struct vhost_desc d;

	vhost_split_desc_get(&d, shared);
	return d.len <= SMALL && really32(&d.len) > SMALL;
}

struct entry {
	uint32_t slot;
	uint16_t len, flags;
	uint64_t more;
};

static unsigned look_at_copy(void)
{
	static struct entry e;
	struct entry in;

	shm_copy_in(&in, shared, sizeof(in));
	e = in;
	return in.len <= SMALL && *(const volatile uint16_t *)&e.len > SMALL;
}

static void the_length_in_a_header_is_loaded_once(void **state)
{
	(void)state;
	assert_int_equal(changed(6, SMALL, UINT32_MAX, look_at_header), 0);
}

static void the_length_in_a_descriptor_is_loaded_once(void **state)
{
	(void)state;
	assert_int_equal(changed(2, SMALL, UINT32_MAX, look_at_descriptor), 0);
}

static void a_field_of_a_copied_structure_is_loaded_once(void **state)
{
	(void)state;
	assert_int_equal(changed(1, SMALL, UINT32_MAX, look_at_copy), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_length_in_a_header_is_loaded_once),
		cmocka_unit_test(the_length_in_a_descriptor_is_loaded_once),
		cmocka_unit_test(a_field_of_a_copied_structure_is_loaded_once),
	};

	return cmocka_run_group_tests_name("shared memory is read once", tests, NULL, NULL);
}
