/* SPDX-License-Identifier: BSD-3-Clause */
#include "wake_cost.h"

static uint64_t fastest_ns; /* CPU time of the fastest write of all; 0: none yet */

/* A write may take this much. Emulated CPUs and kernels with checks are many times slower. */
static uint64_t usual_ns(uint64_t took)
{
	uint64_t fastest = __atomic_load_n(&fastest_ns, __ATOMIC_RELAXED), usual;

	if (!took)
		took = 1; /* the clock is coarse */
	while ((!fastest || took < fastest) &&
	       !__atomic_compare_exchange_n(&fastest_ns, &fastest, took, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
	usual = WAKE_USUAL * (!fastest || took < fastest ? took : fastest);
	if (usual > WAKE_SLOW_MOST * WAKE_SLOW_NS)
		usual = WAKE_SLOW_MOST * WAKE_SLOW_NS;
	return usual < WAKE_SLOW_NS ? WAKE_SLOW_NS : usual;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool used_up(uint64_t refilled, uint64_t now)
{
	return refilled > now && refilled - now >= (uint64_t)WAKE_LIMIT_NS * WAKE_LIMIT_PART;
}

bool wake_limit_over(const struct wake_limit *l)
{
	uint64_t refilled = __atomic_load_n(&l->refilled, __ATOMIC_RELAXED);

	return refilled && used_up(refilled, now_ns());
}

static bool charge(struct wake_limit *l, uint64_t ns)
{
	uint64_t now = now_ns(), was = __atomic_load_n(&l->refilled, __ATOMIC_RELAXED), is;

	if (ns > WAKE_ONE_NS)
		ns = WAKE_ONE_NS;
	do
		is = (was > now ? was : now) + ns * WAKE_LIMIT_PART;
	while (!__atomic_compare_exchange_n(&l->refilled, &was, is, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
	return used_up(is, now);
}

bool wake_cost_note(struct wake_cost *c, struct wake_limit *l, uint64_t took)
{
	uint64_t usual;

	if (c->fast == WAKE_MEASURED) { /* by the clock: was it the CPU? The next ones tell. */
		c->fast = 0;
		return false;
	}
	usual = usual_ns(took);
	if (took <= usual) {
		if (++c->fast == WAKE_MEASURED)
			c->pardon = true;
		return false;
	}
	c->fast = 0;
	if (c->pardon) {
		c->pardon = false;
		return false;
	}
	return charge(l, took);
}
