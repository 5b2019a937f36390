/* SPDX-License-Identifier: BSD-3-Clause */
/* Who closes what: nobody waits for the end of what may be long. */
#include "charge.h"
#include "fd_check.h"
#include "fd_closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static pthread_t closer; /* the last; atomic */
static uint32_t closes;
static sem_t go_on; /* for held() */

static void closed(void)
{
	__atomic_store_n(&closer, pthread_self(), __ATOMIC_RELAXED);
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELEASE);
}

/* The close lasts until go_on. */
static void held(void)
{
	(void)sem_wait(&go_on);
}

static bool no_threads; /* the limit of the user or of the cgroup is reached */

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

/* A file in memory, of which so many bytes are there. */
static int memory(off_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, 1 << 30) == 0);
	if (bytes)
		assert_int_equal(posix_fallocate(fd, 0, bytes), 0);
	return fd;
}

/* True: this thread has closed it. */
static bool closed_here(int fd)
{
	struct fd_closer *b = fd_closer_new(closed);
	uint32_t before = __atomic_load_n(&closes, __ATOMIC_ACQUIRE);

	assert_true(b && fd >= 0);
	fd_closer_put(b, fd);
	while (__atomic_load_n(&closes, __ATOMIC_ACQUIRE) == before)
		sched_yield();
	while (fd_closer_count(b))
		sched_yield();
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	fd_closer_free(b);
	return pthread_equal(__atomic_load_n(&closer, __ATOMIC_RELAXED), pthread_self());
}

static void what_ends_soon_is_closed_at_once(void **state)
{
	(void)state;
	assert_true(closed_here(memory(0)));
	assert_true(closed_here(memory(1 << 20)));
}

/* The last descriptor of a VM's memory frees it, which takes a quarter of a second each GiB. */
static void much_memory_is_freed_elsewhere(void **state)
{
	(void)state;
	assert_false(closed_here(memory(16 << 20)));
	assert_false(closed_here(open("/dev/null", O_RDONLY | O_CLOEXEC)));
}

/* It may be in very many epoll sets, and the last close takes it out of all of them. */
static void an_eventfd_is_closed_elsewhere(void **state)
{
	(void)state;
	assert_false(closed_here(eventfd(0, EFD_CLOEXEC)));
}

/* The writing end of a pipe. *end: the other one, which has an end of file when it is closed. */
static int pipe_end(int *end)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	*end = p[0];
	return p[1];
}

static void is_closed(int end)
{
	char b;

	assert_int_equal(read(end, &b, 1), 0);
	(void)close(end);
}

/* Whoever puts them there must not wait for what their maker likes. */
static void without_a_thread_nothing_is_closed_here(void **state)
{
	struct fd_closer *b = fd_closer_new(closed), *other = fd_closer_new(closed);
	uint32_t before = __atomic_load_n(&closes, __ATOMIC_ACQUIRE);
	int fd[3], end[3];

	(void)state;
	assert_true(b && other);
	no_threads = true;
	for (unsigned i = 0; i < 3; i++) {
		fd[i] = pipe_end(&end[i]);
		fd_closer_put(i < 2 ? b : other, fd[i]);
	}
	fd_closer_retry();
	assert_int_equal(__atomic_load_n(&closes, __ATOMIC_ACQUIRE), before);
	for (unsigned i = 0; i < 3; i++)
		assert_true(fcntl(fd[i], F_GETFD) >= 0);
	assert_int_equal(fd_closer_count(b), 2);
	assert_int_equal(fd_closer_count(other), 1);
	fd_closer_free(b);
	fd_closer_free(other);
	no_threads = false;
	while (__atomic_load_n(&closes, __ATOMIC_ACQUIRE) != before + 3) {
		fd_closer_retry();
		sched_yield();
	}
	for (unsigned i = 0; i < 3; i++)
		is_closed(end[i]);
	assert_false(pthread_equal(__atomic_load_n(&closer, __ATOMIC_RELAXED), pthread_self()));
}

/* One that has been put later is enough to try again. */
static void what_comes_later_brings_a_thread(void **state)
{
	struct fd_closer *b = fd_closer_new(NULL), *other = fd_closer_new(NULL);
	int end[2];

	(void)state;
	assert_true(b && other);
	no_threads = true;
	fd_closer_put(b, pipe_end(&end[0]));
	no_threads = false;
	while (fd_closer_count(b)) {
		fd_closer_put(other, pipe_end(&end[1]));
		is_closed(end[1]);
	}
	is_closed(end[0]);
	fd_closer_free(b);
	fd_closer_free(other);
}

/* When as many threads close as there may be, these do the work of the others. */
static void a_thread_that_ends_takes_over(void **state)
{
	struct fd_closer *b = fd_closer_new(held), *other = fd_closer_new(NULL);
	int end[2];

	(void)state;
	assert_true(b && other);
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	fd_closer_put(b, pipe_end(&end[0]));
	is_closed(end[0]);
	no_threads = true;
	fd_closer_put(other, pipe_end(&end[1]));
	assert_int_equal(fd_closer_count(other), 1);
	(void)sem_post(&go_on);
	is_closed(end[1]);
	while (fd_closer_count(b) || fd_closer_count(other))
		sched_yield();
	no_threads = false;
	fd_closer_free(b);
	fd_closer_free(other);
	(void)sem_destroy(&go_on);
}

/* What a user has left is known until it is closed. */
static void users_are_charged(void **state)
{
	struct fd_closer *b[2] = {fd_closer_new(NULL), fd_closer_new(NULL)};
	struct charge *c[2] = {charge_new(1), charge_new(2)};
	int end[2];

	(void)state;
	no_threads = true;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(b[i] && c[i]);
		fd_closer_charge(b[i], c[i]);
		fd_closer_put(b[i], pipe_end(&end[i]));
	}
	assert_int_equal(charged_to(1).left, 0);
	assert_int_equal(charged_to(1).fds, 1);
	fd_closer_free(b[0]);
	charge_end(c[0]);
	assert_int_equal(charged_to(1).left, 1);
	assert_int_equal(charged_to(1).fds, 1);
	assert_int_equal(charged_to(2).left, 0);
	assert_int_equal(charged_to(3).left, 0);
	assert_int_equal(charged_to(3).fds, 0);
	fd_closer_free(b[1]);
	charge_end(c[1]);
	assert_int_equal(charged_to(CHARGE_ALL).left, 2);
	assert_int_equal(charged_to(CHARGE_ALL).fds, 2);
	no_threads = false;
	while (charged_to(CHARGE_ALL).left) {
		fd_closer_retry();
		sched_yield();
	}
	assert_int_equal(charged_to(CHARGE_ALL).fds, 0);
	for (unsigned i = 0; i < 2; i++)
		is_closed(end[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_ends_soon_is_closed_at_once),
		cmocka_unit_test(much_memory_is_freed_elsewhere),
		cmocka_unit_test(an_eventfd_is_closed_elsewhere),
		cmocka_unit_test(without_a_thread_nothing_is_closed_here),
		cmocka_unit_test(what_comes_later_brings_a_thread),
		cmocka_unit_test(a_thread_that_ends_takes_over),
		cmocka_unit_test(users_are_charged),
	};

	return cmocka_run_group_tests_name("fd bin", tests, NULL, NULL);
}
