/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One CPU, two real-time priorities: whoever waits for a thread of lower priority must let it run.
 * Each case is a child of its own: one that hangs keeps its CPU, so an alarm ends it.
 */
#include "socket.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_S 30
#define LOW	1
#define HIGH	2

static struct tq tq;
static struct zv_queue q = {.tq = &tq};
static uint32_t low_is_there, high_is_there;

static void nap_until(const uint32_t *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		usleep(1000);
}

/* Holds what the other wants until the other has been waiting for it: it is running now. */
static void hold(void)
{
	__atomic_store_n(&low_is_there, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&high_is_there, __ATOMIC_ACQUIRE))
		shm_relax();
}

static void *owner_inside(void *arg)
{
	(void)arg;
	queue_enter(&q);
	hold();
	quiesce_leave(&tq.qs);
	return NULL;
}

static void *control_stops(void *arg)
{
	(void)arg;
	nap_until(&low_is_there);
	__atomic_store_n(&high_is_there, 1, __ATOMIC_RELEASE);
	quiesce_stop(&tq.qs);
	quiesce_resume(&tq.qs);
	return NULL;
}

static void *control_inside(void *arg)
{
	(void)arg;
	quiesce_stop(&tq.qs);
	hold();
	quiesce_resume(&tq.qs);
	return NULL;
}

static void *owner_enters(void *arg)
{
	(void)arg;
	nap_until(&low_is_there);
	__atomic_store_n(&high_is_there, 1, __ATOMIC_RELEASE);
	queue_enter(&q);
	quiesce_leave(&tq.qs);
	return NULL;
}

static int start(pthread_t *t, void *(*f)(void *), int priority)
{
	struct sched_param p = {.sched_priority = priority};
	pthread_attr_t a;
	int ret;

	pthread_attr_init(&a);
	pthread_attr_setinheritsched(&a, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&a, SCHED_FIFO);
	pthread_attr_setschedparam(&a, &p);
	ret = pthread_create(t, &a, f, NULL);
	pthread_attr_destroy(&a);
	return ret;
}

static void one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		_exit(2);
}

static void *nothing(void *arg)
{
	return arg;
}

static void low_lets_high_go_on(void *(*low)(void *), void *(*high)(void *))
{
	pthread_t t[2];
	int status;
	pid_t pid;

	if (start(&t[0], nothing, LOW)) {
		print_message("SCHED_FIFO is not permitted here (RLIMIT_RTPRIO, CAP_SYS_NICE)\n");
		skip();
	}
	pthread_join(t[0], NULL);
	pid = fork();
	if (pid == 0) {
		alarm(LIMIT_S);
		one_cpu();
		quiesce_init();
		/* The higher one first: the lower one leaves no CPU to start another. */
		if (start(&t[0], high, HIGH) || start(&t[1], low, LOW))
			_exit(3);
		pthread_join(t[0], NULL);
		pthread_join(t[1], NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_control_thread_lets_a_lower_owner_leave(void **state)
{
	(void)state;
	low_lets_high_go_on(owner_inside, control_stops);
}

static void an_owner_lets_a_lower_control_thread_go_on(void **state)
{
	(void)state;
	low_lets_high_go_on(control_inside, owner_enters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_control_thread_lets_a_lower_owner_leave),
		cmocka_unit_test(an_owner_lets_a_lower_control_thread_go_on),
	};

	return cmocka_run_group_tests_name("priorities", tests, NULL, NULL);
}
