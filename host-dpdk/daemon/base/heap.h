/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Returns free memory to the kernel.
 *
 * Theory of operation
 * -------------------
 * malloc keeps freed memory for later use. After a peak (thousands of connections, payload that
 * nobody had read) the process would stay that large. So the main thread checks periodically: if
 * the process holds more private memory than malloc has handed out, and more than could be returned
 * the last time, malloc_trim() returns every free whole page, in the arenas of all threads.
 *
 * An arena is locked meanwhile, and an lcore that allocates at that moment waits: so the checks are
 * seconds apart, and most of them are one read of a file in /proc.
 */
#ifndef ZVD_HEAP_H
#define ZVD_HEAP_H

#include <stddef.h>

#define HEAP_CHECK_MS 4000u	  /* between two looks */
#define HEAP_SLACK    (32u << 20) /* bytes that may be kept */

/* Checks if it is time. Main thread, as often as it likes. */
void heap_check(void);

/* @bytes of zeroes for a table of which little may be used, however large it is: each page is taken
 * when it is written to. malloc may have to clear them all. NULL: no memory. */
void *heap_sparse(size_t bytes);
void heap_sparse_free(void *p, size_t bytes);

#endif
