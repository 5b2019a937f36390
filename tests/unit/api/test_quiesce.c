/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiesce where membarrier(2) is refused by a seccomp filter: from the start, or later. Each case
 * is a child of its own, because a filter stays; its exit code is the line that failed.
 */
#include "quiesce.h"
#include "transport.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 2000
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			_exit(__LINE__ & 127 ? __LINE__ & 127 : 1);                                \
	} while (0)

static struct quiesce q;
static uint32_t done, shared;
static char said[256];

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	if (level == ZV_LOG_ERR)
		(void)snprintf(said, sizeof(said), "%s", line);
}

/* membarrier fails with EPERM: all of it, or (@only_barrier) just PRIVATE_EXPEDITED. */
static void refuse_membarrier(bool only_barrier)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0,
			 only_barrier ? 1 : 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	/* For threads that are there already, too. */
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0);
}

/* The owner: two stores to one word that the control thread must never see between. */
static void *owner(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		if (!quiesce_enter(&q)) {
			sched_yield();
			continue;
		}
		__atomic_store_n(&shared, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&shared, 0, __ATOMIC_RELAXED);
		quiesce_leave(&q);
	}
	return NULL;
}

static void stops_are_stops(int rounds)
{
	for (int i = 0; i < rounds; i++) {
		quiesce_stop(&q);
		for (int look = 0; look < 50; look++)
			CHECK(__atomic_load_n(&shared, __ATOMIC_RELAXED) == 0);
		quiesce_resume(&q);
	}
}

static void refused_from_the_start(void)
{
	pthread_t t;

	refuse_membarrier(false);
	quiesce_init();
	CHECK(quiesce_owner_fence == 1);
	CHECK(pthread_create(&t, NULL, owner, NULL) == 0);
	stops_are_stops(ROUNDS);
	CHECK(!said[0]); /* known before: nothing is lost */
}

static void registered_but_refused(void)
{
	refuse_membarrier(true);
	quiesce_init();
	CHECK(quiesce_owner_fence == 1);
}

static void refused_later(void)
{
	pthread_t t;

	quiesce_init();
	CHECK(pthread_create(&t, NULL, owner, NULL) == 0);
	stops_are_stops(ROUNDS);
	refuse_membarrier(false);
	stops_are_stops(ROUNDS);
	CHECK(quiesce_owner_fence == 1);
#ifndef QUIESCE_TSAN
	CHECK(strstr(said, "membarrier"));
#endif
}

static void in_child(void (*f)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		zv_set_log(on_log, NULL);
		f();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_process_without_membarrier_is_served(void **state)
{
	(void)state;
	in_child(refused_from_the_start);
}

static void a_filter_that_passes_the_registration_only_is_found(void **state)
{
	(void)state;
	in_child(registered_but_refused);
}

static void a_filter_that_comes_later_is_found_and_said(void **state)
{
	(void)state;
	in_child(refused_later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_without_membarrier_is_served),
		cmocka_unit_test(a_filter_that_passes_the_registration_only_is_found),
		cmocka_unit_test(a_filter_that_comes_later_is_found_and_said),
	};

	return cmocka_run_group_tests_name("quiesce", tests, NULL, NULL);
}
