/* SPDX-License-Identifier: BSD-3-Clause */
/* How the tests wait, in either testbed. */
#include "testbed.h"

#include <sched.h>
#include <time.h>

#define YIELD_TAKEN_NS 200000u /* a sched_yield that took longer let somebody compute */
#define NAPS	       100u    /* before the next one is tried */

void testbed_nap(void)
{
	nanosleep(&(struct timespec){0, 100000}, NULL);
}

uint64_t testbed_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void testbed_idle(void)
{
	static __thread unsigned naps; /* left */
	uint64_t before;

	if (naps) {
		naps--;
		testbed_nap();
		return;
	}
	before = testbed_now();
	sched_yield();
	if (testbed_now() - before > YIELD_TAKEN_NS)
		naps = NAPS;
}

bool testbed_until(bool (*done)(void *arg), void *arg)
{
	for (uint64_t end = testbed_now() + TESTBED_WAIT_NS; testbed_now() < end; testbed_nap())
		if (done(arg))
			return true;
	return done(arg);
}
