/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocator of zvsockd, and how free memory goes back to the kernel.
 *
 * Theory of operation
 * -------------------
 * Peers decide how much memory an lcore has in use, in how many pieces, and when all of it is
 * freed; the other guests of the lcore wait while that takes time. glibc's malloc makes single
 * calls long: a free() that returns 64 MiB to the kernel, a malloc() that joins a million free
 * pieces, any call while malloc_trim() has locked the arena. So zvsockd links jemalloc, which does
 * none of that: what is freed stays with its arena, and heap_check(), on the main thread, has it
 * returned. The system calls for that are made without a lock that an lcore takes.
 *
 * Builds with sanitizers, which bring an allocator of their own, and those without jemalloc
 * (zvsockd-guest, -Djemalloc=disabled) use malloc_trim().
 */
#ifndef ZVD_HEAP_H
#define ZVD_HEAP_H

#define HEAP_CHECK_MS 4000u	  /* between two looks */
#define HEAP_SLACK    (32u << 20) /* bytes that may be kept */

/* Returns free memory, if it is time and there is more than HEAP_SLACK. Main thread, as often as it
 * likes. */
void heap_check(void);

#endif
