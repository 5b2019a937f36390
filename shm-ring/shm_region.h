/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A region of memory that two processes share.
 *
 * Theory of operation
 * -------------------
 * The creator makes a sealed memfd: its size can never change again, so nobody who holds the
 * descriptor can make an access of the other side fault by truncating the file. Hugepages are
 * tried first, because packet buffers of many megabytes in 4 KiB pages miss the TLB on every
 * packet; normal pages are the fall-back, never an error.
 *
 * Hugepages come from a pool. mmap() reserves them, but a cgroup limit strikes only at the first
 * touch, with SIGBUS. So every hugepage is allocated at creation: a region that could be created
 * can be used.
 *
 * The receiver trusts neither the size that it was told nor the file behind the descriptor: both
 * are checked before the mapping is made, and the mapping belongs to a private duplicate.
 */
#ifndef ZV_SHM_REGION_H
#define ZV_SHM_REGION_H

#include <stddef.h>

struct shm_region {
	void *addr;	  /* NULL: no region */
	size_t size;	  /* bytes mapped, a multiple of page_size */
	int fd;		  /* owned by the region; -1: no region */
	size_t page_size; /* of the pages behind it */
};

#define SHM_NO_HUGE 1u /* shm_region_create: normal pages, even when there are hugepages */

/*
 * Creates and maps a region of at least @size bytes, zeroed. @name shows in /proc/PID/maps.
 * @size is rounded up to the page size that was got. 0 or -errno; *r is void after a failure:
 * -EINVAL (size 0 or too large), -ENOMEM, -EMFILE, -ENFILE.
 */
int shm_region_create(struct shm_region *r, const char *name, size_t size, unsigned flags);

/*
 * Maps @size bytes (rounded up to the file's page size) of a file that a peer has sent. The region
 * keeps its own duplicate of @fd; the caller's stays the caller's. 0 or -errno: -EINVAL (not a
 * file, size 0, or the file is smaller than @size), -EPERM (it could be sealed against shrinking
 * and is not), -EACCES (not open for reading and writing), -ENOMEM, -EMFILE.
 */
int shm_region_open(struct shm_region *r, int fd, size_t size);

/* Unmaps and closes. Harmless on a void region, and twice. */
void shm_region_destroy(struct shm_region *r);

#endif
