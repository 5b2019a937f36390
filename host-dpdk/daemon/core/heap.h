/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that goes back to the kernel.
 *
 * Theory of operation
 * -------------------
 * malloc keeps what is freed for the next time. After a peak (thousands of connections, payload
 * that nobody had read) the process would stay as large as it was then. So the main thread looks
 * now and then: when the process holds more private memory than malloc has given out, and more than
 * could be given back the last time, malloc_trim() returns every whole page that is free, in the
 * arenas of all threads.
 *
 * An arena is locked meanwhile, and an lcore that allocates just then waits: so there are seconds
 * between two looks, and most of them are one read of a file in /proc.
 */
#ifndef ZVD_HEAP_H
#define ZVD_HEAP_H

#define HEAP_LOOK_MS 4000u	 /* between two looks */
#define HEAP_SLACK   (32u << 20) /* bytes that may stay */

/* Looks, when it is time. By the main thread, as often as it likes. */
void heap_look(void);

#endif
