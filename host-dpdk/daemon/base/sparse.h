/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for tables of which little may be used, however large they are: each page is taken when it
 * is written to. calloc() may have to clear all of them.
 */
#ifndef ZVD_SPARSE_H
#define ZVD_SPARSE_H

#include <stddef.h>
#include <sys/mman.h>

/* @bytes of zeroes. NULL: no memory. */
static inline void *sparse_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* @p: may be NULL; @bytes: as allocated. */
static inline void sparse_free(void *p, size_t bytes)
{
	if (p)
		(void)munmap(p, bytes);
}

#endif
