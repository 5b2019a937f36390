/* SPDX-License-Identifier: BSD-3-Clause */
/* How the tests wait, in either world. */
#include "world.h"

#include <sched.h>
#include <time.h>

#define YIELD_TAKEN_NS 200000u /* a sched_yield that took longer let somebody compute */
#define NAPS	       100u    /* before the next one is tried */

void world_nap(void)
{
	nanosleep(&(struct timespec){0, 100000}, NULL);
}

uint64_t world_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void world_idle(void)
{
	static __thread unsigned naps; /* left */
	uint64_t before;

	if (naps) {
		naps--;
		world_nap();
		return;
	}
	before = world_now();
	sched_yield();
	if (world_now() - before > YIELD_TAKEN_NS)
		naps = NAPS;
}

bool world_until(bool (*done)(void *arg), void *arg)
{
	for (uint64_t end = world_now() + WORLD_WAIT_NS; world_now() < end; world_nap())
		if (done(arg))
			return true;
	return done(arg);
}
