/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offering the CPU while waiting.
 *
 * For a thread that is about to get on (one that leaves a call, or has stopped a queue): spin_step.
 * For a peer, by whoever polls: idle_moment.
 *
 * Two rules make polling bearable on few cores. First, an idle poller offers the CPU: sched_yield
 * after every IDLE_POLLS_PER_YIELD empty polls. Second, it looks at how long that took: longer than
 * an empty system call means that somebody else ran here, most likely the very peer that is being
 * waited for, so from then on it yields after every empty poll (`crowded`) until a yield comes back
 * at once. With each side on a CPU of its own the cost is one cheap system call per 64 polls; with
 * everything on one CPU a round trip is two yields.
 */
#ifndef ZV_SPIN_H
#define ZV_SPIN_H

#include "shm_access.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_YIELDS 64u
#define SPIN_NAP_NS 50000

#define IDLE_POLLS_PER_YIELD 64u
#define IDLE_YIELD_TAKEN_NS  1000u /* a sched_yield that took longer let somebody else run */

static inline void spin_nap(void)
{
	static const struct timespec nap = {.tv_nsec = SPIN_NAP_NS};

	(void)nanosleep(&nap, NULL);
}

/*
 * One step of the loop; *@steps begins with 0. Offers the CPU, and every SPIN_YIELDS steps sleeps:
 * sched_yield never lets a thread of lower priority run (SCHED_FIFO and SCHED_RR; any other policy
 * is lower), and that may be the one that is waited for.
 */
static inline __attribute__((cold)) void spin_step(unsigned *steps)
{
	if (++*steps % SPIN_YIELDS)
		sched_yield();
	else
		spin_nap();
}

static inline uint64_t idle_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * After the @polls-th empty poll in a row. *@crowded, false at first, is the poller's to keep; @now
 * is its last look at CLOCK_MONOTONIC, in ns. Returns that, or a newer one.
 */
static inline uint64_t idle_moment(bool *crowded, unsigned polls, uint64_t now)
{
	uint64_t before;

	if (!*crowded && polls % IDLE_POLLS_PER_YIELD) {
		shm_relax();
		return now;
	}
	before = idle_clock();
	sched_yield();
	now = idle_clock();
	*crowded = now - before > IDLE_YIELD_TAKEN_NS;
	return now;
}

#endif
