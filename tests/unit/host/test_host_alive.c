/* SPDX-License-Identifier: BSD-3-Clause */
/* The word by which drivers hear of the death of the host's process (mem/host_alive.h). */
#include "mem/host_alive.h"

#include "proto/ctrl/alive.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define A 3u /* slots */
#define B 63u

static struct alive_slot *slots;

static int map(void **state)
{
	(void)state;
	slots = mmap(NULL, ALIVE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return slots == MAP_FAILED ? -1 : 0;
}

static int unmap(void **state)
{
	(void)state;
	return munmap(slots, ALIVE_BYTES);
}

/* Until the thread of @a runs. */
static void say(struct host_alive *a, unsigned slot)
{
	for (unsigned i = 0; i < 30000 && !shm_load32(&slots[slot].host); i++) {
		host_alive_maintain(a, &slots[slot]);
		(void)usleep(1000);
	}
}

static bool lives(unsigned slot)
{
	uint32_t word = shm_load32(&slots[slot].host);

	return word && word != ALIVE_DIED;
}

/* A host that keeps two words until it is killed. */
static pid_t host(void)
{
	pid_t pid = fork();
	struct host_alive *a;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		a = host_alive_new(slots);
		if (!a)
			_exit(1);
		say(a, A);
		say(a, B);
		for (;;)
			(void)pause();
	}
	for (unsigned i = 0; i < 30000 && !lives(B); i++)
		(void)usleep(1000);
	assert_true(lives(A) && lives(B));
	return pid;
}

static void kill_host(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void all_words_tell_of_a_death(void **state)
{
	(void)state;
	kill_host(host());
	for (unsigned i = 0; i < ALIVE_SLOTS; i++)
		assert_int_equal(shm_load32(&slots[i].host), i == A || i == B ? ALIVE_DIED : 0);
}

/* Guests can write the words, and everything beside them. */
static void what_guests_write_harms_only_themselves(void **state)
{
	const uint32_t other = 1u << 29;
	pid_t pid;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		unsigned bad = round ? A : B, good = round ? B : A;

		memset(slots, 0, ALIVE_BYTES);
		pid = host();
		memset(slots + bad, 0xff, sizeof(*slots));
		shm_store_release32(&slots[bad].host, other);
		kill_host(pid);
		assert_int_equal(shm_load32(&slots[bad].host), other);
		assert_int_equal(shm_load32(&slots[good].host), ALIVE_DIED);
	}
}

static void a_word_is_kept_until_the_end(void **state)
{
	struct host_alive *a;
	uint32_t word;

	(void)state;
	for (unsigned died = 0; died < 2; died++) {
		memset(slots, 0, ALIVE_BYTES);
		a = host_alive_new(slots);
		assert_non_null(a);
		say(a, A);
		word = shm_load32(&slots[A].host);
		assert_int_not_equal(word, 0);
		say(a, B);
		assert_int_equal(shm_load32(&slots[B].host), word);
		shm_store_release32(&slots[A].host, 0); /* as other memory would have it */
		host_alive_maintain(a, &slots[A]);
		assert_int_equal(shm_load32(&slots[A].host), word);
		shm_store_release32(&slots[B].host, word + 1); /* another host has come */
		host_alive_end(a, died);
		assert_int_equal(shm_load32(&slots[A].host), died ? ALIVE_DIED : 0);
		assert_int_equal(shm_load32(&slots[B].host), word + 1);
	}
	host_alive_end(NULL, true);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, map, unmap)
	const struct CMUnitTest tests[] = {
		T(all_words_tell_of_a_death),
		T(what_guests_write_harms_only_themselves),
		T(a_word_is_kept_until_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
