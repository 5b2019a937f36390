/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for a thread that is about to get on: one that leaves a call, or that has stopped a
 * queue. */
#ifndef ZV_SPIN_H
#define ZV_SPIN_H

#include <sched.h>
#include <time.h>

#define SPIN_YIELDS 64u
#define SPIN_NAP_NS 50000

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

#endif
