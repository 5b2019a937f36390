/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One CPU, two real-time priorities: whoever waits for a thread of lower priority must let it run.
 * Each case is a child of its own: one that hangs keeps its CPU, so an alarm ends it.
 */
#include "socket/queue/arm.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_S 120
#define LOW	1
#define HIGH	2

static struct transport_queue tq;
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

/* A thread that gives itself its priority: how one begins is not what is tried here. */
struct actor {
	void *(*f)(void *arg);
	int priority;
	int cpu;
	pthread_t thread;
};

static void *act(void *arg)
{
	const struct actor *a = arg;
	struct sched_param p = {.sched_priority = a->priority};
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)a->cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) ||
	    pthread_setschedparam(pthread_self(), SCHED_FIFO, &p))
		_exit(2);
	return a->f(NULL);
}

static bool permitted(void)
{
	struct sched_param p = {.sched_priority = HIGH};
	bool ok = pthread_setschedparam(pthread_self(), SCHED_FIFO, &p) == 0;

	p.sched_priority = 0;
	return ok && pthread_setschedparam(pthread_self(), SCHED_OTHER, &p) == 0;
}

static void high_lets_low_go_on(void *(*low)(void *), void *(*high)(void *))
{
	/* The higher one first: the lower one may leave no CPU to start another. */
	struct actor a[2] = {{high, HIGH, sched_getcpu(), 0}, {low, LOW, sched_getcpu(), 0}};
	int status;
	pid_t pid;

	a[1].cpu = a[0].cpu;
	if (!permitted()) {
		print_message("SCHED_FIFO is not permitted here (RLIMIT_RTPRIO, CAP_SYS_NICE)\n");
		skip();
	}
	pid = fork();
	if (pid == 0) {
		alarm(LIMIT_S);
		quiesce_init();
		for (int i = 0; i < 2; i++)
			if (pthread_create(&a[i].thread, NULL, act, &a[i]))
				_exit(3);
		for (int i = 0; i < 2; i++)
			pthread_join(a[i].thread, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_control_thread_lets_a_lower_owner_leave(void **state)
{
	(void)state;
	high_lets_low_go_on(owner_inside, control_stops);
}

static void an_owner_lets_a_lower_control_thread_go_on(void **state)
{
	(void)state;
	high_lets_low_go_on(control_inside, owner_enters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_control_thread_lets_a_lower_owner_leave),
		cmocka_unit_test(an_owner_lets_a_lower_control_thread_go_on),
	};

	return cmocka_run_group_tests_name("priorities", tests, NULL, NULL);
}
