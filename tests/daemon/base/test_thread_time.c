/* SPDX-License-Identifier: BSD-3-Clause */
/* What the log says of a thread that does not answer: the words, and where they come from. */
#include "base/thread_time.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static const char *text_of(uint64_t ran, uint64_t wait, char state)
{
	static char text[256];
	const struct thread_time from = {true, 'S', 5000 * MS, 70 * MS, 30 * MS};
	const struct thread_time to = {true, state, 6000 * MS, (70 + ran) * MS, (30 + wait) * MS};

	thread_time_text(&from, &to, text, sizeof(text));
	return text;
}

static void the_words(void **state)
{
	const struct thread_time none = {0}, some = {.known = true, .state = 'R'};
	char text[256];

	(void)state;
	assert_string_equal(text_of(900, 40, 'S'),
			    "of the last 1000 ms it ran for 900, waited for a CPU for 40 and slept "
			    "for 60 (state S): it has too much to do");
	assert_string_equal(text_of(10, 800, 'S'),
			    "of the last 1000 ms it ran for 10, waited for a CPU for 800 and slept "
			    "for 190 (state S): other programs have its CPU");
	/* The kernel counts a wait when it is over. */
	assert_string_equal(text_of(10, 0, 'R'),
			    "of the last 1000 ms it ran for 10, waited for a CPU for 990 and slept "
			    "for 0 (state R): other programs have its CPU");
	assert_non_null(strstr(text_of(10, 0, 'D'), "it waits for a disk, or for memory"));
	assert_non_null(strstr(text_of(10, 0, 'S'), "it was stopped, or waits for"));
	assert_non_null(strstr(text_of(10, 0, 'T'), "it was stopped, or waits for"));
	/* Clocks that differ by a little. */
	assert_non_null(strstr(text_of(1010, 0, 'R'), "ran for 1010, waited for a CPU for 0"));
	thread_time_text(&none, &some, text, sizeof(text));
	assert_string_equal(text, "does another program have its CPU?");
}

/* ---- threads that do one of the three ---- */

struct one {
	pthread_t thread;
	pid_t tid; /* atomic; 0: not known yet */
	bool computes, over;
	int pipe[2];
};

static void *do_it(void *arg)
{
	struct one *o = arg;
	cpu_set_t first;
	char byte;

	/* All of them on one CPU: of two that compute, one waits. */
	if (sched_getaffinity(0, sizeof(first), &first) == 0)
		for (int i = 0, n = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &first) && n++)
				CPU_CLR(i, &first);
	(void)sched_setaffinity(0, sizeof(first), &first);
	__atomic_store_n(&o->tid, gettid(), __ATOMIC_RELEASE);
	if (!o->computes)
		(void)!read(o->pipe[0], &byte, 1);
	while (o->computes && !__atomic_load_n(&o->over, __ATOMIC_RELAXED))
		;
	return NULL;
}

static void begin(struct one *o, bool computes)
{
	*o = (struct one){.computes = computes};
	assert_int_equal(pipe(o->pipe), 0);
	assert_int_equal(pthread_create(&o->thread, NULL, do_it, o), 0);
	while (!__atomic_load_n(&o->tid, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
}

static void finish(struct one *o)
{
	__atomic_store_n(&o->over, true, __ATOMIC_RELAXED);
	assert_int_equal(write(o->pipe[1], "", 1), 1);
	pthread_join(o->thread, NULL);
	close(o->pipe[0]);
	close(o->pipe[1]);
}

/* However long it takes on a busy machine: each of them comes to it. */
static void what_the_kernel_counts(void **state)
{
	struct thread_time from, to;
	struct one computes, rival, sleeps;

	(void)state;
	begin(&sleeps, false);
	from = thread_time_now(sleeps.tid);
	if (!from.known) {
		finish(&sleeps);
		print_message("this kernel does not count how long a thread waits for a CPU\n");
		skip();
	}
	while (from.state != 'S') {
		(void)usleep(1000);
		from = thread_time_now(sleeps.tid);
	}
	begin(&computes, true);
	begin(&rival, true);
	from = thread_time_now(computes.tid);
	do {
		(void)usleep(10000);
		to = thread_time_now(computes.tid);
	} while (to.ran_ns - from.ran_ns < 30 * MS || to.wait_ns - from.wait_ns < 30 * MS);
	assert_int_equal(to.state, 'R');
	from = thread_time_now(sleeps.tid);
	(void)usleep(50000);
	to = thread_time_now(sleeps.tid);
	assert_int_equal(to.state, 'S');
	assert_int_equal(to.ran_ns, from.ran_ns);
	assert_int_equal(to.wait_ns, from.wait_ns);
	assert_true(to.at_ns - from.at_ns >= 50 * MS);
	finish(&computes);
	finish(&rival);
	finish(&sleeps);
	/* It is listed for a moment after it has been joined. */
	while (thread_time_now(computes.tid).known)
		(void)usleep(1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_words),
		cmocka_unit_test(what_the_kernel_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
