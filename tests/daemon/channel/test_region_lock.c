/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks that tell who has a region mapped since before zvsockd was started (channel/region_lock.h).
 */
#include "channel/region_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE 8192u

static const uint32_t lives[] = {1, 2, 0x12345678, UINT32_MAX - 2, UINT32_MAX - 1};
#define LIVES (sizeof(lives) / sizeof(lives[0]))

static int file(void)
{
	int fd = memfd_create("zvsock-test", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, SIZE) == 0);
	return fd;
}

static void every_life_but_its_own_is_seen(void **state)
{
	int err;

	(void)state;
	for (unsigned i = 0; i < LIVES; i++) {
		int fd = file(), given = region_lock_fd(fd, lives[i], &err);

		assert_true(given >= 0 && err == 0);
		for (unsigned k = 0; k < LIVES; k++)
			assert_int_equal(region_locked_before(fd, lives[k]), k != i);
		close(given);
		for (unsigned k = 0; k < LIVES; k++)
			assert_false(region_locked_before(fd, lives[k]));
		close(fd);
	}
}

/* As long as a page is mapped, and there is one application. */
static void a_mapping_is_enough(void **state)
{
	int err, fd = file(), a = region_lock_fd(fd, 1, &err), b = region_lock_fd(fd, 1, &err);
	void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, a, 0);

	(void)state;
	assert_true(a >= 0 && b >= 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(a);
	close(b);
	assert_true(region_locked_before(fd, 2));
	munmap(map, SIZE / 2);
	assert_true(region_locked_before(fd, 2));
	munmap((char *)map + SIZE / 2, SIZE / 2);
	assert_false(region_locked_before(fd, 2));
	close(fd);
}

/* zvsockd ends, and leaves the descriptor to another process, which is killed. */
static void the_end_of_a_process_is_enough(void **state)
{
	int err, fd = file(), given = region_lock_fd(fd, 1, &err);
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	assert_true(pid > 0);
	close(given);
	assert_true(region_locked_before(fd, 2));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(region_locked_before(fd, 2));
	close(fd);
}

/* What nobody can open for writing, as a directory, is handed on as it is. */
static void without_a_lock_there_is_a_descriptor(void **state)
{
	int fd = open("/", O_RDONLY | O_CLOEXEC), err = 0, given;

	(void)state;
	assert_true(fd >= 0);
	given = region_lock_fd(fd, 1, &err);
	assert_true(given >= 0 && err < 0);
	assert_false(region_locked_before(fd, 2));
	close(given);
	close(fd);
}

/* open(2) would wait for 45 s until the owner of the file gives up its lease. */
static void a_lease_is_not_waited_for(void **state)
{
	int err = 0, fd = file(), given, lease;
	char path[32];

	(void)state;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	lease = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(lease >= 0 && signal(SIGIO, SIG_IGN) != SIG_ERR);
	assert_int_equal(fcntl(lease, F_SETLEASE, F_RDLCK), 0);
	given = region_lock_fd(fd, 1, &err);
	assert_true(given >= 0);
	assert_int_equal(err, -EWOULDBLOCK);
	assert_int_equal(fcntl(lease, F_SETLEASE, F_UNLCK), 0);
	close(given);
	close(lease);
	close(fd);
}

static void a_life_has_one_number(void **state)
{
	(void)state;
	assert_int_equal(region_instance(), region_instance());
	assert_in_range(region_instance(), 1, UINT32_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_life_but_its_own_is_seen),
		cmocka_unit_test(a_mapping_is_enough),
		cmocka_unit_test(the_end_of_a_process_is_enough),
		cmocka_unit_test(without_a_lock_there_is_a_descriptor),
		cmocka_unit_test(a_lease_is_not_waited_for),
		cmocka_unit_test(a_life_has_one_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
