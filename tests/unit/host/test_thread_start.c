/* SPDX-License-Identifier: BSD-3-Clause */
/* What the threads are that thread_start.h starts, whoever starts them. */
#include "thread_start.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NAME "zvsock-test"

/* What a thread has found. */
static struct {
	sem_t over;
	char name[16];
	bool signals, detached;
	int policy, cpus;
} it;

static bool no_threads;

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

static void *look(void *arg)
{
	struct sched_param p;
	pthread_attr_t attr;
	cpu_set_t cpus;
	sigset_t mask;
	int state;

	(void)pthread_getname_np(pthread_self(), it.name, sizeof(it.name));
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	it.signals = !sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1);
	(void)pthread_getattr_np(pthread_self(), &attr);
	(void)pthread_attr_getdetachstate(&attr, &state);
	(void)pthread_attr_destroy(&attr);
	it.detached = state == PTHREAD_CREATE_DETACHED;
	(void)pthread_getschedparam(pthread_self(), &it.policy, &p);
	(void)sched_getaffinity(0, sizeof(cpus), &cpus);
	it.cpus = CPU_COUNT(&cpus);
	(void)sem_post(arg);
	return NULL;
}

static void starts(int (*start)(const char *name, void *(*run)(void *), void *arg))
{
	memset(it.name, 0, sizeof(it.name));
	assert_int_equal(start(NAME, look, &it.over), 0);
	while (sem_wait(&it.over) < 0)
		assert_int_equal(errno, EINTR);
	assert_string_equal(it.name, NAME);
	assert_false(it.signals);
	assert_true(it.detached);
}

static void signals_are_for_others(void **state)
{
	sigset_t mask;

	(void)state;
	starts(thread_start);
	starts(thread_start_apart);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	assert_false(sigismember(&mask, SIGTERM)); /* the caller's are as before */
}

/* As an lcore is: on one CPU, with real-time priority. */
static void *be_an_lcore(void *arg)
{
	const struct sched_param p = {.sched_priority = 1};
	bool real_time = sched_setscheduler(0, SCHED_FIFO, &p) == 0;
	cpu_set_t one, all;

	CPU_ZERO(&one);
	(void)sched_getaffinity(0, sizeof(all), &all);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	if (!real_time)
		print_message("no real-time priority here: %s\n", strerror(errno));
	starts(thread_start);
	assert_int_equal(it.cpus, 1);
	assert_int_equal(it.policy, real_time ? SCHED_FIFO : SCHED_OTHER);
	starts(thread_start_apart);
	assert_int_equal(it.cpus, CPU_COUNT(&all));
	assert_int_equal(it.policy, SCHED_OTHER);
	return arg;
}

static void apart_from_an_lcore(void **state)
{
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, be_an_lcore, NULL), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
}

static void no_thread_can_be_made(void **state)
{
	(void)state;
	no_threads = true;
	assert_int_equal(thread_start(NAME, look, &it.over), -EAGAIN);
	assert_int_equal(thread_start_apart(NAME, look, &it.over), -EAGAIN);
	no_threads = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signals_are_for_others),
		cmocka_unit_test(apart_from_an_lcore),
		cmocka_unit_test(no_thread_can_be_made),
	};

	if (sem_init(&it.over, 0, 0) < 0)
		return 99;
	return cmocka_run_group_tests_name("thread_start", tests, NULL, NULL);
}
