/* SPDX-License-Identifier: BSD-3-Clause */
/* doorbell: no ring while awake, one ring for each sleep, and never a lost one. */
#include "doorbell.h"

#include "spsc_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct bell {
	struct doorbell_word word;
	struct doorbell d;
	struct doorbell_peer p;
};

static int setup(void **state)
{
	struct bell *b = aligned_alloc(SHM_CACHE_LINE, (sizeof(*b) + 63) & ~(size_t)63);

	*b = (struct bell){0};
	*state = b;
	return doorbell_init(&b->d, &b->word) || doorbell_attach(&b->p, &b->word, b->d.fd);
}

static int teardown(void **state)
{
	struct bell *b = *state;

	doorbell_detach(&b->p);
	doorbell_fini(&b->d);
	free(b);
	return 0;
}

static void no_system_call_while_awake(void **state)
{
	struct bell *b = *state;

	assert_int_equal(doorbell_ring(&b->p), 0);
	assert_int_equal(b->p.rings, 0);
	assert_int_equal(doorbell_wait(&b->d, 0), 0);
}

static void one_ring_for_each_sleep(void **state)
{
	struct bell *b = *state;

	for (int i = 1; i <= 3; i++) {
		doorbell_arm(&b->d);
		assert_int_equal(doorbell_wait(&b->d, 0), 0);
		assert_int_equal(doorbell_ring(&b->p), 1);
		assert_int_equal(doorbell_ring(&b->p), 0); /* slow to wake: not rung again */
		assert_int_equal(b->p.rings, i);
		assert_int_equal(doorbell_wait(&b->d, UINT64_MAX), 1);
		doorbell_disarm(&b->d);
		assert_int_equal(doorbell_wait(&b->d, 0), 0); /* taken off */
		assert_int_equal(doorbell_ring(&b->p), 0);
	}
}

static void disarm_without_a_ring(void **state)
{
	struct bell *b = *state;

	doorbell_arm(&b->d);
	doorbell_disarm(&b->d);
	doorbell_disarm(&b->d);
	assert_int_equal(doorbell_ring(&b->p), 0);
}

/* The ringer has rung once; then the sleeper arms 2^32 times, and nothing is published until the
 * last. */
static void a_number_does_not_come_round(void **state)
{
	struct bell *b = *state;

	doorbell_arm(&b->d);
	assert_int_equal(doorbell_ring(&b->p), 1);
	doorbell_disarm(&b->d);
	b->d.turn += UINT32_MAX;
	doorbell_arm(&b->d);
	assert_true(b->word.need_wakeup == UINT64_C(0x100000001));
	assert_int_equal(doorbell_ring(&b->p), 1);
	assert_int_equal(doorbell_wait(&b->d, 0), 1);
	doorbell_disarm(&b->d);
}

/* Also one whose lower half is 0, the number that says "awake". */
static void a_number_across_32_bits_is_rung_for(void **state)
{
	struct bell *b = *state;

	b->d.turn = UINT32_MAX - 1;
	for (int i = 1; i <= 3; i++) {
		doorbell_arm(&b->d);
		assert_int_equal(doorbell_ring(&b->p), 1);
		assert_int_equal(doorbell_ring(&b->p), 0);
		assert_int_equal(b->p.rings, i);
		doorbell_disarm(&b->d);
	}
}

/* The peer filled the counter and made the descriptor blocking: ringing still returns. */
static void a_full_counter_does_not_block(void **state)
{
	struct bell *b = *state;
	uint64_t full = UINT64_MAX - 1;

	assert_int_equal(write(b->d.fd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(b->d.fd, F_SETFL, 0), 0);
	doorbell_arm(&b->d);
	assert_int_equal(doorbell_ring(&b->p), 1);
	assert_int_equal(doorbell_wait(&b->d, 0), 1);
	doorbell_disarm(&b->d);
	doorbell_arm(&b->d);
	doorbell_disarm(&b->d); /* empty and blocking: not read */
}

static void only_an_eventfd_is_taken(void **state)
{
	struct bell *b = *state;
	struct doorbell_peer p;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(doorbell_attach(&p, &b->word, fds[1]), -EINVAL);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(doorbell_attach(&p, &b->word, fds[1]), -EBADF);
	doorbell_detach(&p);
}

/* ---- sleeper and ringer ----------------------------------------------------------------- */

#define MESSAGES 20000u

struct pair {
	struct bell *to_cons;
	struct spsc_prod p;
	struct spsc_cons c;
};

static void *ringer(void *arg)
{
	struct pair *pr = arg;
	uint32_t idx;

	for (uint32_t i = 0; i < MESSAGES;) {
		int n = spsc_reserve(&pr->p, 1, &idx);

		if (n < 0)
			return (void *)1;
		if (!n) {
			shm_relax();
			continue;
		}
		*(uint64_t *)spsc_prod_entry(&pr->p, idx) = i++;
		spsc_submit(&pr->p, 1);
		if (doorbell_ring(&pr->to_cons->p) < 0)
			return (void *)2;
		for (unsigned k = 0; k < (i % 64) * 16; k++) /* lets the sleeper run dry */
			shm_relax();
	}
	return NULL;
}

/* A lost wake-up would hang here for ever; meson's time limit is the judge. */
static void sleeping_after_each_empty_look_loses_nothing(void **state)
{
	size_t bytes = spsc_bytes(16, 8);
	void *mem = aligned_alloc(SHM_CACHE_LINE, (bytes + 63) & ~(size_t)63);
	struct pair pr = {.to_cons = *state};
	struct doorbell *d = &pr.to_cons->d;
	uint64_t got = 0, wrong = 0, sleeps = 0;
	uint32_t idx;
	pthread_t t;
	void *rc;

	assert_int_equal(spsc_format(mem, 16, 8), 0);
	assert_int_equal(spsc_prod_init(&pr.p, mem, bytes, 16, 8), 0);
	assert_int_equal(spsc_cons_init(&pr.c, mem, bytes, 16, 8), 0);
	assert_int_equal(pthread_create(&t, NULL, ringer, &pr), 0);
	while (got < MESSAGES) {
		int n = spsc_peek(&pr.c, 16, &idx);

		assert_true(n >= 0);
		for (int i = 0; i < n; i++)
			wrong += *(const uint64_t *)spsc_cons_entry(&pr.c, idx + (uint32_t)i) !=
				 got++;
		spsc_release(&pr.c, (unsigned)n);
		if (n || got == MESSAGES)
			continue;
		doorbell_arm(d);
		if (spsc_cons_empty(&pr.c)) {
			sleeps++;
			assert_true(doorbell_wait(d, UINT64_MAX) == 1);
		}
		doorbell_disarm(d);
	}
	assert_int_equal(pthread_join(t, &rc), 0);
	assert_null(rc);
	assert_int_equal(wrong, 0);
	print_message("%lu sleeps, %lu rings\n", (unsigned long)sleeps,
		      (unsigned long)pr.to_cons->p.rings);
	free(mem);
}

static int count_wakes(void *arg)
{
	return ++*(int *)arg > 2 ? -EPIPE : 0;
}

static void a_function_may_wake_instead(void **state)
{
	struct bell *b = *state;
	struct doorbell d = {.word = &b->word, .fd = -1};
	struct doorbell_peer p;
	int wakes = 0;

	doorbell_attach_wake(&p, &b->word, count_wakes, &wakes);
	assert_int_equal(doorbell_ring(&p), 0);
	for (int i = 1; i <= 3; i++) {
		doorbell_arm(&d);
		assert_int_equal(doorbell_ring(&p), i == 3 ? -EPIPE : 1);
		assert_int_equal(doorbell_ring(&p), 0);
		assert_int_equal(wakes, i);
		doorbell_disarm(&d);
	}
	assert_int_equal(doorbell_ring(&p), 0);
	assert_int_equal(p.rings, 3);
	doorbell_detach(&p);
}

#define BELL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BELL_TEST(no_system_call_while_awake),
		BELL_TEST(one_ring_for_each_sleep),
		BELL_TEST(disarm_without_a_ring),
		BELL_TEST(a_number_does_not_come_round),
		BELL_TEST(a_number_across_32_bits_is_rung_for),
		BELL_TEST(a_full_counter_does_not_block),
		BELL_TEST(only_an_eventfd_is_taken),
		BELL_TEST(a_function_may_wake_instead),
		BELL_TEST(sleeping_after_each_empty_look_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
