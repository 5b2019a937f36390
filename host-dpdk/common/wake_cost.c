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

/* One @part of the limit, or more, is used. */
static bool used(uint64_t refilled, uint64_t now, unsigned part)
{
	return refilled > now && refilled - now >= (uint64_t)WAKE_LIMIT_NS * WAKE_LIMIT_PART / part;
}

bool wake_limit_over(const struct wake_limit *l)
{
	uint64_t refilled = __atomic_load_n(&l->refilled, __ATOMIC_RELAXED);

	return refilled && used(refilled, now_ns(), 1);
}

bool wake_limit_used(const struct wake_limit *l)
{
	uint64_t refilled = __atomic_load_n(&l->refilled, __ATOMIC_RELAXED);

	return refilled && used(refilled, now_ns(), 4);
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
	return used(is, now, 1);
}

/* What was slow and free takes WAKE_FREE_PART times as long before the next. */
static void defer(uint64_t *when, uint64_t took)
{
	uint64_t now = now_ns(), was = __atomic_load_n(when, __ATOMIC_RELAXED), is;

	if (took > WAKE_FREE_NS)
		took = WAKE_FREE_NS;
	do
		is = (was > now ? was : now) + took * WAKE_FREE_PART;
	while (!__atomic_compare_exchange_n(when, &was, is, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
}

static void end_measuring(struct wake_limit *l)
{
	uint64_t until = __atomic_load_n(&l->measured_until, __ATOMIC_RELAXED);

	/* Not if another thread has just set it anew. */
	if (until && until <= now_ns())
		(void)__atomic_compare_exchange_n(&l->measured_until, &until, 0, false,
						  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool wake_cost_note(struct wake_cost *c, struct wake_limit *l, uint64_t took, bool cpu)
{
	if (!cpu) { /* was it the CPU? The next ones tell. */
		c->fast = 0;
		defer(&l->measured_until, took);
		return false;
	}
	end_measuring(l);
	if (took <= usual_ns(took)) {
		if (c->fast < WAKE_MEASURED && ++c->fast == WAKE_MEASURED)
			c->pardon = true;
		return false;
	}
	c->fast = 0;
	if (c->pardon && __atomic_load_n(&l->free_from, __ATOMIC_RELAXED) <= now_ns()) {
		c->pardon = false;
		defer(&l->free_from, took);
		return false;
	}
	c->pardon = false;
	return charge(l, took);
}
