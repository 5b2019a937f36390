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
 *
 * A yield that takes as long as a time slice (IDLE_YIELD_LOST_NS) went to a program that has work
 * of its own. Each further one would cost a slice, for a thread that yields gets nothing for
 * having waited. Whoever sleeps does: the wake-up interrupts such a program. So for a while a
 * poller that may sleep does so at once (idle_sleeps): IDLE_SLEEP_NS, then one yield to see whether
 * that program is still there, and twice as long each time that it is.
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
#define IDLE_YIELD_TAKEN_NS  1000u    /* a sched_yield that took longer let somebody else run */
#define IDLE_YIELD_LOST_NS   1000000u /* and one that took this long, somebody with other work */
#define IDLE_SLEEP_NS	     8000000u
#define IDLE_SLEEP_DOUBLINGS 5u

/* A poller's, zero at first. */
struct idle {
	bool crowded;	/* somebody else wants this CPU */
	unsigned lost;	/* yields in a row that took a slice; at most IDLE_SLEEP_DOUBLINGS */
	uint64_t until; /* sleep rather than poll, until then */
};

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
 * After the @polls-th empty poll in a row. @now is the poller's last look at CLOCK_MONOTONIC, in
 * ns. Returns that, or a newer one.
 */
static inline uint64_t idle_moment(struct idle *idle, unsigned polls, uint64_t now)
{
	uint64_t before;

	if (!idle->crowded && polls % IDLE_POLLS_PER_YIELD) {
		shm_relax();
		return now;
	}
	before = idle_clock();
	sched_yield();
	now = idle_clock();
	idle->crowded = now - before > IDLE_YIELD_TAKEN_NS;
	if (now - before > IDLE_YIELD_LOST_NS) {
		if (before > idle->until + IDLE_SLEEP_NS)
			idle->lost = 0; /* the last time was long ago */
		idle->until = now + ((uint64_t)IDLE_SLEEP_NS << idle->lost);
		if (idle->lost < IDLE_SLEEP_DOUBLINGS)
			idle->lost++;
	}
	return now;
}

/* At @now, a new look at the clock: whoever polls and may sleep ought to sleep. */
static inline bool idle_sleeps(const struct idle *idle, uint64_t now)
{
	return now < idle->until;
}

#endif
