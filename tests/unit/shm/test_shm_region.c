/* SPDX-License-Identifier: BSD-3-Clause */
/* shm_region: what the creator promises and what the receiver refuses. */
#include "shm_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <mntent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

static int sealable(size_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void create_rounds_zeroes_and_seals(void **state)
{
	struct shm_region r;

	(void)state;
	assert_int_equal(shm_region_create(&r, "test", PAGE + 1, SHM_NO_HUGE), 0);
	assert_int_equal(r.page_size, PAGE);
	assert_int_equal(r.size, 2 * PAGE);
	for (size_t i = 0; i < r.size; i++)
		assert_int_equal(((uint8_t *)r.addr)[i], 0);
	assert_true(fcntl(r.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fcntl(r.fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(ftruncate(r.fd, 0), -1);
	assert_int_equal(errno, EPERM);
	shm_region_destroy(&r);
	assert_null(r.addr);
	assert_int_equal(r.fd, -1);
	shm_region_destroy(&r);
}

/* With or without hugepages on this machine: every byte that was promised can be touched. */
static void create_is_usable_whatever_the_pages(void **state)
{
	struct shm_region r;

	(void)state;
	assert_int_equal(shm_region_create(&r, "test", (size_t)3 << 20, 0), 0);
	assert_true(r.page_size == PAGE || r.page_size == (size_t)2 << 20);
	assert_int_equal(r.size % r.page_size, 0);
	assert_true(r.size >= (size_t)3 << 20);
	memset(r.addr, 0xa5, r.size);
	print_message("page size %zu\n", r.page_size);
	shm_region_destroy(&r);
}

static void create_refuses_bad_sizes(void **state)
{
	struct shm_region r;

	(void)state;
	assert_int_equal(shm_region_create(&r, "test", 0, 0), -EINVAL);
	assert_int_equal(r.fd, -1);
	assert_int_equal(shm_region_create(&r, "test", SIZE_MAX, 0), -EINVAL);
	assert_int_equal(shm_region_create(&r, "test", SIZE_MAX - PAGE, SHM_NO_HUGE), -EINVAL);
	assert_null(r.addr);
	assert_int_equal(r.fd, -1);
}

static void open_shares_the_memory(void **state)
{
	struct shm_region a, b;

	(void)state;
	assert_int_equal(shm_region_create(&a, "test", 3 * PAGE, 0), 0);
	assert_int_equal(shm_region_open(&b, a.fd, a.size), 0);
	assert_int_not_equal(a.fd, b.fd);
	assert_int_equal(b.page_size, a.page_size);
	strcpy(a.addr, "seen");
	assert_string_equal(b.addr, "seen");
	shm_region_destroy(&a); /* the duplicate keeps the memory */
	assert_string_equal(b.addr, "seen");
	shm_region_destroy(&b);
}

static void open_crosses_processes(void **state)
{
	struct shm_region r, mine;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(shm_region_create(&r, "test", PAGE, SHM_NO_HUGE), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (shm_region_open(&mine, r.fd, PAGE))
			_exit(1);
		*(volatile uint32_t *)mine.addr = 4711;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(*(uint32_t *)r.addr, 4711);
	shm_region_destroy(&r);
}

/* A peer that says more than the file holds would make us fault behind its end. */
static void open_refuses_a_short_file(void **state)
{
	struct shm_region r;
	int fd = sealable(PAGE);

	(void)state;
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(shm_region_open(&r, fd, PAGE + 1), -EINVAL);
	assert_int_equal(shm_region_open(&r, fd, SIZE_MAX), -EINVAL);
	assert_int_equal(shm_region_open(&r, fd, 0), -EINVAL);
	assert_int_equal(r.fd, -1);
	assert_int_equal(shm_region_open(&r, fd, PAGE), 0);
	shm_region_destroy(&r);
	close(fd);
}

/* A file that the peer can still shrink is an access that the peer can make fault. */
static void open_demands_the_shrink_seal(void **state)
{
	struct shm_region r;
	int fd = sealable(PAGE);

	(void)state;
	assert_int_equal(shm_region_open(&r, fd, PAGE), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_int_equal(shm_region_open(&r, fd, PAGE), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(shm_region_open(&r, fd, PAGE), 0);
	shm_region_destroy(&r);
	close(fd);
}

/* Guest memory may come from a file that knows no seals (hugetlbfs, tmpfs). */
static void open_takes_a_file_without_seals(void **state)
{
	struct shm_region r;
	int fd = memfd_create("test", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
	assert_int_equal(shm_region_open(&r, fd, PAGE), 0);
	shm_region_destroy(&r);
	close(fd);
}

static void open_refuses_what_is_no_file(void **state)
{
	struct shm_region r;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(shm_region_open(&r, p[0], PAGE), -EINVAL);
	close(p[0]);
	assert_int_equal(shm_region_open(&r, p[0], PAGE), -EBADF);
	close(p[1]);
}

/* On a disk, on a network, or served by a program: an access might never return. */
static void open_refuses_a_file_that_is_not_in_memory(void **state)
{
	struct shm_region r;
	struct statfs fs;
	char path[64];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "region-test-%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC) {
		print_message("the tests run in a folder that lies in memory\n");
		skip();
	}
	assert_int_equal(shm_region_open(&r, fd, PAGE), -EINVAL);
	assert_int_equal(shm_region_create_file(&r, path, PAGE), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	close(fd);
}

static void open_refuses_read_only(void **state)
{
	struct shm_region r;
	char path[64];
	int fd = sealable(PAGE), ro;

	(void)state;
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	assert_int_equal(shm_region_open(&r, ro, PAGE), -EACCES);
	assert_int_equal(r.fd, -1);
	close(ro);
	close(fd);
}

static void open_at_maps_a_part(void **state)
{
	struct shm_region a, b;
	uint8_t *p;

	(void)state;
	assert_int_equal(shm_region_create(&a, "test", 6 * PAGE, 0), 0);
	p = a.addr;
	p[3 * PAGE] = 42;
	assert_int_equal(shm_region_open_at(&b, a.fd, 3 * PAGE, 2 * PAGE), 0);
	/* Of a hugepage the rest is there as well: a page is mapped whole. */
	assert_int_equal(b.size, b.page_size == PAGE ? 2 * PAGE : a.size - 3 * PAGE);
	assert_int_equal(((uint8_t *)b.addr)[0], 42);
	((uint8_t *)b.addr)[b.size - 1] = 43;
	assert_int_equal(p[3 * PAGE + b.size - 1], 43);
	shm_region_destroy(&b);
	assert_int_equal(p[3 * PAGE], 42);
	shm_region_destroy(&a);
}

static void open_at_refuses_what_is_outside(void **state)
{
	struct shm_region a, b;

	(void)state;
	assert_int_equal(shm_region_create(&a, "test", 4 * PAGE, SHM_NO_HUGE), 0);
	assert_int_equal(shm_region_open_at(&b, a.fd, 8, PAGE), -EINVAL);
	assert_int_equal(shm_region_open_at(&b, a.fd, 3 * PAGE, PAGE + 1), -EINVAL);
	assert_int_equal(shm_region_open_at(&b, a.fd, 4 * PAGE, 1), -EINVAL);
	assert_int_equal(shm_region_open_at(&b, a.fd, 5 * PAGE, 1), -EINVAL);
	assert_int_equal(shm_region_open_at(&b, a.fd, PAGE, SIZE_MAX), -EINVAL);
	assert_int_equal(shm_region_open_at(&b, a.fd, UINT64_MAX & ~(uint64_t)(PAGE - 1), PAGE),
			 -EINVAL);
	assert_int_equal(b.fd, -1);
	shm_region_destroy(&a);
}

static void create_file_makes_what_a_vmm_can_open(void **state)
{
	struct shm_region a, b;
	char path[64];
	struct stat st;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/zvsock-test-%d", (int)getpid());
	assert_int_equal(shm_region_create_file(&a, path, 0), -EINVAL);
	assert_int_equal(shm_region_create_file(&a, "/dev/shm/none/none", PAGE), -ENOENT);
	assert_int_equal(shm_region_create_file(&a, path, PAGE + 1), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, a.size);
	assert_int_equal((uint64_t)st.st_blocks * 512, a.size);
	assert_int_equal(shm_region_create_file(&b, path, PAGE), -EEXIST);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(shm_region_open_at(&b, fd, PAGE, PAGE), 0);
	((uint8_t *)a.addr)[PAGE] = 7;
	assert_int_equal(((uint8_t *)b.addr)[0], 7);
	close(fd);
	shm_region_destroy(&b);
	shm_region_destroy(&a);
	assert_int_equal(unlink(path), 0);
}

static void create_file_leaves_nothing_after_a_failure(void **state)
{
	struct shm_region a;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/dev/shm/zvsock-test-%d", (int)getpid());
	assert_true(shm_region_create_file(&a, path, SIZE_MAX / 4) < 0);
	assert_null(a.addr);
	assert_int_equal(access(path, F_OK), -1);
}

/* The first hugetlbfs that is mounted, with pages of 2 MiB. */
static bool find_hugetlbfs(char *path, size_t room)
{
	FILE *f = setmntent("/proc/mounts", "r");
	bool found = false;
	struct mntent *m;
	struct statfs fs;

	while (f && !found && (m = getmntent(f)))
		if (!strcmp(m->mnt_type, "hugetlbfs") && !statfs(m->mnt_dir, &fs) &&
		    fs.f_bsize == 2 << 20 && strlen(m->mnt_dir) + 32 < room) {
			strcpy(path, m->mnt_dir);
			found = true;
		}
	if (f)
		endmntent(f);
	return found;
}

static void a_file_of_hugepages(void **state)
{
	struct shm_region a, b;
	char path[512];
	int rc;

	(void)state;
	if (!find_hugetlbfs(path, sizeof(path))) {
		print_message("no hugetlbfs with pages of 2 MiB is mounted\n");
		skip();
	}
	snprintf(path + strlen(path), 32, "/zvsock-test-%d", (int)getpid());
	rc = shm_region_create_file(&a, path, (size_t)3 << 20);
	if (rc == -ENOMEM || rc == -ENOSPC) {
		assert_int_equal(access(path, F_OK), -1);
		print_message("fewer than two hugepages of 2 MiB are free\n");
		skip();
	}
	assert_int_equal(rc, 0);
	assert_int_equal(a.page_size, 2 << 20);
	assert_int_equal(a.size, 4 << 20);
	((uint8_t *)a.addr)[(2 << 20) + PAGE] = 9;
	assert_int_equal(shm_region_open_at(&b, a.fd, (2u << 20) + PAGE, PAGE), 0);
	assert_int_equal(((uint8_t *)b.addr)[0], 9);
	assert_int_equal(b.size, (2 << 20) - PAGE);
	((uint8_t *)b.addr)[b.size - 1] = 1;
	shm_region_destroy(&b);
	assert_int_equal(shm_region_open_at(&b, a.fd, PAGE, 4u << 20), -EINVAL);
	shm_region_destroy(&a);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_rounds_zeroes_and_seals),
		cmocka_unit_test(create_is_usable_whatever_the_pages),
		cmocka_unit_test(create_refuses_bad_sizes),
		cmocka_unit_test(open_shares_the_memory),
		cmocka_unit_test(open_crosses_processes),
		cmocka_unit_test(open_refuses_a_short_file),
		cmocka_unit_test(open_demands_the_shrink_seal),
		cmocka_unit_test(open_takes_a_file_without_seals),
		cmocka_unit_test(open_refuses_what_is_no_file),
		cmocka_unit_test(open_refuses_a_file_that_is_not_in_memory),
		cmocka_unit_test(open_refuses_read_only),
		cmocka_unit_test(open_at_maps_a_part),
		cmocka_unit_test(open_at_refuses_what_is_outside),
		cmocka_unit_test(create_file_makes_what_a_vmm_can_open),
		cmocka_unit_test(a_file_of_hugepages),
		cmocka_unit_test(create_file_leaves_nothing_after_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
