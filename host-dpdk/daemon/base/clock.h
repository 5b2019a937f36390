/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's clocks, as numbers: CLOCK_MONOTONIC, and the CPU time of the calling thread. */
#ifndef ZVD_CLOCK_H
#define ZVD_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Of this thread. To measure a system call: an lcore may lose its CPU during a call. */
static inline uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t now_ms(void)
{
	return now_ns() / 1000000u;
}

#endif
