/* SPDX-License-Identifier: BSD-3-Clause */
/* bell_page: each bell is heard once, sleepers are woken, and any content costs a bounded look. */
#include "bell_page.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define RINGERS 3
#define ROUNDS	20000
#define ID	7u

static struct bell_page page;
static struct bell_owner owner;
static int fd;

static int setup(void **state)
{
	(void)state;
	page = (struct bell_page){0};
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0 || bells_open(&owner, &page, ID))
		return -1;
	owner.sleep.fd = fd; /* what this owner sleeps on */
	return 0;
}

/* How ringers wake it. */
static int wake(void *arg)
{
	(void)arg;
	return eventfd_write(fd, 1) ? -errno : 0;
}

static int teardown(void **state)
{
	(void)state;
	return close(fd);
}

static void test_each_bell_is_heard_once(void **state)
{
	static const uint32_t bell[] = {0, 63, 64, 4095};
	struct bell_ringer r;
	uint32_t first;
	uint64_t bits;

	(void)state;
	assert_false(bells_any(&owner));
	assert_int_equal(bell_attach(&r, &page, ID, wake, NULL), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(bell_ring(&r, bell[i]), 0);
		assert_int_equal(bell_ring(&r, bell[i]), 0);
	}
	assert_true(bells_take(&owner, &first, &bits));
	assert_int_equal(first, 0);
	assert_true(bits == (1 | UINT64_C(1) << 63));
	assert_true(bells_any(&owner)); /* the other words wait for their turn */
	assert_true(bells_take(&owner, &first, &bits));
	assert_int_equal(first, 64);
	assert_int_equal(bits, 1);
	assert_true(bells_take(&owner, &first, &bits));
	assert_int_equal(first, 4032);
	assert_false(bells_take(&owner, &first, &bits));
	assert_false(bells_any(&owner));
}

/* Who sets a word again and again does not hide the others. */
static void test_words_take_turns(void **state)
{
	uint32_t first, heard = 0;
	uint64_t bits;

	(void)state;
	page.bits[5] = 1;
	page.words = 1 << 5 | 1;
	for (int i = 0; i < 2; i++) {
		page.bits[0] = UINT64_MAX;
		page.words |= 1;
		assert_true(bells_take(&owner, &first, &bits));
		heard |= 1u << first / 64;
	}
	assert_int_equal(heard, 1 << 5 | 1);
}

static void test_what_is_refused(void **state)
{
	struct bell_ringer r;

	(void)state;
	assert_int_equal(bell_attach(&r, &page, 0, wake, NULL), -EINVAL);
	assert_int_equal(bell_attach(&r, (uint8_t *)&page + 8, ID, wake, NULL), -EINVAL);
	assert_int_equal(bells_open(&owner, (uint8_t *)&page + 8, ID), -EINVAL);
	assert_int_equal(bells_open(&owner, &page, 0), -EINVAL);
}

/* A ringer of a former use of the page is told from one of this use. */
static void test_who_is_heard(void **state)
{
	struct bell_ringer now, before;

	(void)state;
	assert_int_equal(bell_attach(&now, &page, ID, wake, NULL), 0);
	assert_int_equal(bell_attach(&before, &page, ID - 1, wake, NULL), 0);
	assert_true(bells_listening(&now));
	assert_false(bells_listening(&before));
	bells_close(&owner);
	assert_false(bells_listening(&now));
}

static int fails(void *arg)
{
	return ++*(int *)arg == 1 ? -EPIPE : 0;
}

/* One sleep costs one wake-up, however many bells are rung; and a failure is told. */
static void test_one_wakeup_a_sleep(void **state)
{
	struct bell_ringer r;
	int n = 0;

	(void)state;
	assert_int_equal(bell_attach(&r, &page, ID, fails, &n), 0);
	assert_int_equal(bell_ring(&r, 1), 0);
	assert_int_equal(n, 0);		/* the owner is awake */
	assert_true(bells_arm(&owner)); /* ... and finds it */
	assert_int_equal(bell_ring(&r, 2), -EPIPE);
	assert_int_equal(bell_ring(&r, 3), 0);
	assert_int_equal(n, 1);
	bells_disarm(&owner);
	(void)bells_arm(&owner);
	assert_int_equal(bell_ring(&r, 4), 0);
	assert_int_equal(n, 2);
	bells_disarm(&owner);
}

static uint64_t sent[RINGERS];

static void *ring_thread(void *arg)
{
	uint64_t *mine = arg;
	struct bell_ringer r;

	if (bell_attach(&r, &page, ID, wake, NULL))
		return NULL;
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		shm_store_release64(mine, i);
		(void)bell_ring(&r, (uint32_t)(mine - sent) * 100);
	}
	return NULL;
}

/* A lost bell hangs this test. */
static void test_no_bell_is_lost(void **state)
{
	uint64_t seen[RINGERS] = {0};
	pthread_t t[RINGERS];
	uint32_t first, left = RINGERS;
	uint64_t bits;

	(void)state;
	for (int i = 0; i < RINGERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, ring_thread, &sent[i]), 0);
	while (left) {
		while (bells_take(&owner, &first, &bits))
			for (uint32_t i = 0; i < RINGERS; i++)
				if (first == i * 100 / 64 * 64 && seen[i] != ROUNDS) {
					seen[i] = shm_load_acquire64(&sent[i]);
					left -= seen[i] == ROUNDS;
				}
		if (left && !bells_arm(&owner))
			assert_int_equal(doorbell_wait(&owner.sleep, UINT64_MAX), 1);
		bells_disarm(&owner);
	}
	for (int i = 0; i < RINGERS; i++)
		pthread_join(t[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_bell_is_heard_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_is_heard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_wakeup_a_sleep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_bell_is_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
