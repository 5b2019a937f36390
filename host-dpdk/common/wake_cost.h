/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs to wake those who wait for a descriptor.
 *
 * Theory of operation
 * -------------------
 * Whoever writes to an eventfd or a socket calls, in the kernel, each waiter of that file or of the
 * other end. With an epoll set that is one waiter for each descriptor in it, so who made the file
 * chooses the number: 900,000 of them, which any user may have, make each write take 100 to 200 ms.
 *
 * So writes are measured: with the clock, which costs little; and after one that was slow, and for
 * the first ones on each descriptor, with the CPU time of the thread, because a thread may also
 * lose its CPU in the middle of a write. CPU time beyond what is usual is charged to a limit that
 * all descriptors of one peer share.
 *
 * A single slow write is no sign of anything: an interrupt is in the CPU time too, and so is what a
 * hypervisor took from this machine where there is no steal clock. So after WAKE_MEASURED fast
 * writes in a row, one slow one is not charged. A new descriptor has to have these first, or a peer
 * that gives another one for each write would never be charged.
 *
 * A peer can choose which writes are slow: with EPOLLEXCLUSIVE, all watches are visited only if
 * nobody waits for the first. So what is free takes its time too, of all descriptors of the peer
 * together. After a write that was slow by the clock, the CPU time of each is measured for
 * WAKE_FREE_PART times as long; after one that was not charged, for WAKE_FREE_PART times as long
 * all are.
 */
#ifndef ZV_WAKE_COST_H
#define ZV_WAKE_COST_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define WAKE_MEASURED	8u	    /* writes whose CPU time is measured, see above */
#define WAKE_SLOW_NS	100000u	    /* a write that takes less is never charged */
#define WAKE_SLOW_MOST	8u	    /* where all writes are slow: this many times as long */
#define WAKE_USUAL	8u	    /* nor one that takes so many times as long as the fastest */
#define WAKE_ONE_NS	60000000u   /* at most this is charged for one write */
#define WAKE_LIMIT_NS	100000000u  /* the limit ... */
#define WAKE_LIMIT_PART 100u	    /* ... which 1 / WAKE_LIMIT_PART of the time refills */
#define WAKE_FREE_PART	20u	    /* see above: each of both is 1 / WAKE_FREE_PART of the time */
#define WAKE_FREE_NS	1000000000u /* a pause of the machine: at most this is counted for one */

/* Of one peer. Any thread. Zeroed memory has nothing charged. */
struct wake_limit {
	/* On CLOCK_MONOTONIC: */
	uint64_t refilled;	 /* all of it is refilled */
	uint64_t measured_until; /* so long, CPU time is measured; 0: it is not */
	uint64_t free_from;	 /* from then on, a slow write may be free again */
};

/* Of one descriptor. Zeroed memory is a new one. */
struct wake_cost {
	uint8_t fast; /* writes in a row that were measured and not slow, up to WAKE_MEASURED */
	bool pardon;  /* the next slow one is not charged */
};

/* By which clock a write is measured, and when it began. */
struct wake_start {
	uint64_t at;
	bool cpu;
};

static inline uint64_t wake_clock(bool cpu)
{
	struct timespec t;

	(void)clock_gettime(cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Is the CPU time of the next write measured? */
static inline bool wake_measured(const struct wake_cost *c, const struct wake_limit *l)
{
	return c->fast < WAKE_MEASURED || __atomic_load_n(&l->measured_until, __ATOMIC_RELAXED);
}

/* Before a write. */
static inline struct wake_start wake_cost_begin(const struct wake_cost *c,
						const struct wake_limit *l)
{
	const bool cpu = wake_measured(c, l);

	return (struct wake_start){wake_clock(cpu), cpu};
}

/* A write took @took, of the thread's CPU time (@cpu) or by the clock. True: it was slow, and the
 * limit is used up. */
bool wake_cost_note(struct wake_cost *c, struct wake_limit *l, uint64_t took, bool cpu);
/* Is it used up now? */
bool wake_limit_over(const struct wake_limit *l);
/* Is a quarter of it used now? A single write of WAKE_ONE_NS uses more. */
bool wake_limit_used(const struct wake_limit *l);

/* After a write. True: it was slow, and the limit is used up. */
static inline bool wake_cost_end(struct wake_cost *c, struct wake_limit *l, struct wake_start start)
{
	uint64_t took = wake_clock(start.cpu) - start.at;

	if (__builtin_expect(took < WAKE_SLOW_NS && !start.cpu, 1))
		return false;
	return wake_cost_note(c, l, took, start.cpu);
}

#endif
