/* SPDX-License-Identifier: BSD-3-Clause */
#include "shm_region.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define SEALS	  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static size_t normal_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* @size rounded up to @page; 0 when it is 0 or does not fit a file offset. */
static size_t round_up(size_t size, size_t page)
{
	if (size > (size_t)INT64_MAX - page)
		return 0;
	return (size + page - 1) & ~(page - 1);
}

static int map_region(struct shm_region *r)
{
	void *addr = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	r->addr = addr;
	return 0;
}

static int create_with(struct shm_region *r, const char *name, size_t size, unsigned memfd_flags)
{
	int rc;

	r->size = round_up(size, r->page_size);
	if (!r->size)
		return -EINVAL;
	r->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags);
	if (r->fd < 0)
		return -errno;
	if (ftruncate(r->fd, (off_t)r->size))
		return -errno;
	rc = map_region(r);
	if (rc)
		return rc;
	/* Allocates the pages: what a limit forbids is an error here and would be SIGBUS later. */
	if ((memfd_flags & MFD_HUGETLB) && fallocate(r->fd, 0, 0, (off_t)r->size))
		return -errno;
	if (fcntl(r->fd, F_ADD_SEALS, SEALS))
		return -errno;
	return 0;
}

int shm_region_create(struct shm_region *r, const char *name, size_t size, unsigned flags)
{
	int rc;

	*r = (struct shm_region){.fd = -1};
	if (!size)
		return -EINVAL;
	if (!(flags & SHM_NO_HUGE)) {
		r->page_size = HUGE_PAGE;
		if (!create_with(r, name, size, MFD_HUGETLB | MFD_HUGE_2MB))
			return 0;
		shm_region_destroy(r);
	}
	r->page_size = normal_page();
	rc = create_with(r, name, size, 0);
	if (rc) {
		shm_region_destroy(r);
		return rc;
	}
	return 0;
}

int shm_region_open(struct shm_region *r, int fd, size_t size)
{
	struct statfs fs;
	struct stat st;
	int seals, rc;

	*r = (struct shm_region){.fd = -1};
	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return -errno;
	if (!S_ISREG(st.st_mode) || !size)
		return -EINVAL;

	/*
	 * F_SEAL_SEAL without F_SEAL_SHRINK is what a file on tmpfs or hugetlbfs shows: nobody can
	 * seal it, so nothing can be asked of it. Other file systems fail the call.
	 */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0 && !(seals & (F_SEAL_SHRINK | F_SEAL_SEAL)))
		return -EPERM;

	r->page_size = fs.f_type == HUGETLBFS_MAGIC ? (size_t)fs.f_bsize : normal_page();
	r->size = round_up(size, r->page_size);
	if (!r->size || st.st_size < 0 || (size_t)st.st_size < size ||
	    (fs.f_type == HUGETLBFS_MAGIC && (size_t)st.st_size < r->size)) {
		*r = (struct shm_region){.fd = -1};
		return -EINVAL;
	}
	r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	rc = r->fd < 0 ? -errno : map_region(r);
	if (rc)
		shm_region_destroy(r);
	return rc;
}

void shm_region_destroy(struct shm_region *r)
{
	if (r->addr)
		munmap(r->addr, r->size);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct shm_region){.fd = -1};
}
