/* SPDX-License-Identifier: BSD-3-Clause */
/* Who closes what: nobody waits for the end of what may be long. */
#include "fd_check.h"
#include "fd_closer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static pthread_t closer;
static uint32_t closes;

static void closed(void)
{
	closer = pthread_self();
	__atomic_add_fetch(&closes, 1, __ATOMIC_RELEASE);
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
	return pthread_equal(closer, pthread_self());
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_ends_soon_is_closed_at_once),
		cmocka_unit_test(much_memory_is_freed_elsewhere),
		cmocka_unit_test(an_eventfd_is_closed_elsewhere),
	};

	return cmocka_run_group_tests_name("fd bin", tests, NULL, NULL);
}
