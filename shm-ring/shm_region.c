/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation
 * -------------------
 * The creator makes a sealed memfd: its size can never change again, so nobody who holds the
 * descriptor can make an access of the other side fault by truncating the file. Hugepages are tried
 * first, because packet buffers of many megabytes in 4 KiB pages miss the TLB on every packet;
 * normal pages are the fall-back, never an error.
 *
 * Hugepages come from a pool. mmap() reserves them, but a cgroup limit strikes only at the first
 * touch, with SIGBUS. So every hugepage is allocated at creation: a region that could be created
 * can be used. The same holds for a file that is created on tmpfs, which may be full.
 *
 * The receiver trusts neither the size that it was told nor the file behind the descriptor: both
 * are checked before the mapping is made, and the mapping uses a private duplicate. A region that
 * begins in the middle of a hugepage is mapped from the start of that page.
 */
#include "shm_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdbool.h>
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

static int map_region(struct shm_region *r, uint64_t offset)
{
	uint64_t in_page = offset & (r->page_size - 1);
	size_t len = r->size + (size_t)in_page;
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
			 (off_t)(offset - in_page));

	if (map == MAP_FAILED)
		return -errno;
	r->map = map;
	r->map_size = len;
	r->addr = (uint8_t *)map + in_page;
	return 0;
}

/* Sets the size of r->fd and allocates its pages. */
static int fill_region(struct shm_region *r, size_t size, bool allocate)
{
	int rc;

	r->size = round_up(size, r->page_size);
	if (!r->size)
		return -EINVAL;
	if (ftruncate(r->fd, (off_t)r->size))
		return -errno;
	rc = map_region(r, 0);
	if (rc)
		return rc;
	/* Exceeding a limit is an error here, and would be SIGBUS later. */
	return allocate && fallocate(r->fd, 0, 0, (off_t)r->size) ? -errno : 0;
}

static int create_memfd(struct shm_region *r, const char *name, size_t size, unsigned memfd_flags)
{
	int rc;

	if (!round_up(size, r->page_size))
		return -EINVAL;
	r->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags);
	if (r->fd < 0)
		return -errno;
	rc = fill_region(r, size, memfd_flags & MFD_HUGETLB);
	if (rc)
		return rc;
	return fcntl(r->fd, F_ADD_SEALS, SEALS) ? -errno : 0;
}

int shm_region_create(struct shm_region *r, const char *name, size_t size, unsigned flags)
{
	int rc;

	*r = (struct shm_region){.fd = -1};
	if (!size)
		return -EINVAL;
	if (!(flags & SHM_NO_HUGE)) {
		r->page_size = HUGE_PAGE;
		if (!create_memfd(r, name, size, MFD_HUGETLB | MFD_HUGE_2MB))
			return 0;
		shm_region_destroy(r);
	}
	r->page_size = normal_page();
	rc = create_memfd(r, name, size, 0);
	if (rc)
		shm_region_destroy(r);
	return rc;
}

/*
 * The page size of a file that lies in memory; 0 with errno, EINVAL if it does not. Any access to a
 * page served by a program (FUSE) or another machine could block for ever.
 */
static size_t page_size_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return 0;
	switch ((unsigned long)fs.f_type) {
	case HUGETLBFS_MAGIC:
		return (size_t)fs.f_bsize;
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		return normal_page();
	default:
		errno = EINVAL;
		return 0;
	}
}

int shm_region_create_file(struct shm_region *r, const char *path, size_t size)
{
	int rc;

	*r = (struct shm_region){.fd = -1};
	if (!size)
		return -EINVAL;
	r->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (r->fd < 0)
		return -errno;
	r->page_size = page_size_of(r->fd);
	rc = r->page_size ? fill_region(r, size, true) : -errno;
	if (rc) {
		unlink(path);
		shm_region_destroy(r);
	}
	return rc;
}

int shm_region_open_at(struct shm_region *r, int fd, uint64_t offset, size_t size)
{
	struct stat st;
	uint64_t end;
	int seals, rc;

	*r = (struct shm_region){.fd = -1};
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || !size || offset % normal_page() || st.st_size < 0 ||
	    offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
		return -EINVAL;

	/*
	 * A file on tmpfs or hugetlbfs shows F_SEAL_SEAL without F_SEAL_SHRINK: nobody can seal it,
	 * so it is accepted. Other file systems fail the call.
	 */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0 && !(seals & (F_SEAL_SHRINK | F_SEAL_SEAL)))
		return -EPERM;

	r->page_size = page_size_of(fd);
	if (!r->page_size)
		return -errno;
	/* The last page is mapped whole. A file of hugepages consists of whole ones. */
	end = round_up((size_t)offset + size, r->page_size);
	r->size = (size_t)(end - offset);
	if (r->page_size != normal_page() && end > (uint64_t)st.st_size) {
		*r = (struct shm_region){.fd = -1};
		return -EINVAL;
	}
	r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	rc = r->fd < 0 ? -errno : map_region(r, offset);
	if (rc)
		shm_region_destroy(r);
	return rc;
}

int shm_region_open(struct shm_region *r, int fd, size_t size)
{
	return shm_region_open_at(r, fd, 0, size);
}

void shm_region_destroy(struct shm_region *r)
{
	if (r->map)
		munmap(r->map, r->map_size);
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct shm_region){.fd = -1};
}
