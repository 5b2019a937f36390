/* SPDX-License-Identifier: BSD-3-Clause */
/* Clocks, CPU time, memory in use, and which CPU a side runs on. */
#ifndef BENCH_CPU_H
#define BENCH_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* The two sides of everything that is measured. */
enum bench_role { ROLE_GUEST = 0, ROLE_HOST = 1 };

/* Where they run: value, name of --cpus. */
#define BENCH_CPUS(X)                                                                              \
	X(CPUS_1, 1, "1cpu")                                                                       \
	X(CPUS_2, 2, "2cpu")                                                                       \
	X(CPUS_FREE, 3, "free")
enum bench_cpus {
#define BENCH_CPUS_VALUE(id, value, name) id = (value),
	BENCH_CPUS(BENCH_CPUS_VALUE)
#undef BENCH_CPUS_VALUE
};

/* CLOCK_MONOTONIC in ns. */
uint64_t cpu_now_ns(void);

/*
 * The cheapest clock that can be read for each message: the TSC where there is one. Only
 * differences on one CPU are used. cpu_clock_init() measures its rate (about 20 ms); call it
 * before fork.
 */
void cpu_clock_init(void);
uint64_t cpu_ticks_to_ns(uint64_t ticks);
uint64_t cpu_ns_to_ticks(uint64_t ns);

static inline uint64_t cpu_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return cpu_now_ns();
#endif
}

/* User + system time of this process so far, ns; all threads. */
uint64_t cpu_used_ns(void);

/* Resident memory of this process, bytes. */
uint64_t cpu_rss(void);

/* Reads the CPUs that this process may use. Call before any pinning. Returns their number. */
unsigned cpu_init(void);

/* The CPU of thread @thread of side @role, as cpu_pin has it; -1: any. */
int cpu_place(enum bench_cpus how, enum bench_role role, unsigned thread);

/*
 * Pins the calling thread, thread @thread of side @role: 1cpu everything on one CPU; 2cpu guest
 * threads on even, host threads on odd places of the list of CPUs; free nothing.
 * 0 or -errno.
 */
int cpu_pin(enum bench_cpus how, enum bench_role role, unsigned thread);

/* "AMD EPYC", or "unknown". Static storage. */
const char *cpu_model(void);
unsigned cpu_count(void);

#endif
