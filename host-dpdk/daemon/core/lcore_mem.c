/* SPDX-License-Identifier: BSD-3-Clause */
/* An lcore and the memory of its peers; see "Memory" in lcore.h. */
#include "lcore_int.h"

#define LONG_NS 20000000u /* hardly a CPU that was lost for a moment */

static uint64_t never(void)
{
	return 0;
}

static uint64_t (*maps_slow)(void) = never;

void lcore_maps_by(uint64_t (*slow)(void))
{
	__atomic_store_n(&maps_slow, slow, __ATOMIC_RELAXED);
}

/* ---- looking ---- */

static void until(uint64_t *when, uint64_t now, uint64_t ns)
{
	ns = MEM_SLEEP_PART * (ns < MEM_SLEEP_MOST_NS ? ns : MEM_SLEEP_MOST_NS);
	if (now + ns > *when)
		*when = now + ns;
}

static void over(uint64_t *when, uint64_t now)
{
	if (*when && now >= *when)
		*when = 0;
}

void lcore_mem_check(struct lcore *lc, uint64_t now)
{
	uint64_t took = now - lc->stretch;

	if (now < lc->stretch)
		return;
	lc->stretch = now;
	if (__builtin_expect(lc->watches_until != 0, 0)) {
		over(&lc->watches_until, now);
		over(&lc->looks_until, now);
		over(&lc->parts_until, now);
	}
	if (took < MEM_SLEEP_NS || !mem_look_suspects())
		return;
	if (lc->watches_until || took >= LONG_NS)
		until(&lc->looks_until, now, took);
	until(&lc->watches_until, now, took);
}

void lcore_mem_woken(struct lcore *lc)
{
	lc->stretch = idle_clock();
	if (lc->watches_until)
		(void)mem_look_suspects(); /* this sleep is none that counts */
}

bool lcore_looks_at_parts(const struct lcore *lc)
{
	return lc->parts_until;
}

void lcore_look_begin(const struct lcore_queue *lq, struct mem_look *l)
{
	l->at = 0;
	if (lq->mem && __builtin_expect(lq->lc->looks_until != 0, 0))
		mem_look_begin(l);
}

/* What was slept since. 0: nothing, or it was for a lock. */
static uint64_t found(const struct mem_look *l, uint64_t *end)
{
	uint64_t ns = l->at ? mem_look_end(l, end) : 0;

	return ns && __atomic_load_n(&maps_slow, __ATOMIC_RELAXED)() < l->at ? ns : 0;
}

void lcore_look_end(const struct lcore_queue *lq, const struct mem_look *l)
{
	uint64_t end, ns = found(l, &end);

	if (ns)
		(void)mem_sleep_charge(&lq->mem->sleep, end, ns);
}

void lcore_look_end_any(struct lcore *lc, const struct mem_look *l)
{
	uint64_t end, ns = found(l, &end);

	if (!ns)
		return;
	until(&lc->parts_until, end, ns);
	until(&lc->looks_until, end, ns);
	until(&lc->watches_until, end, ns);
}

void lcore_mem_submit(struct lcore *lc)
{
	struct mem_look l = {0};

	if (__builtin_expect(lc->looks_until != 0, 0))
		mem_look_begin(&l);
	io_submit(&lc->io);
	lcore_look_end_any(lc, &l);
}

/* ---- resting ---- */

static void rest_over(struct lcore_timer *t)
{
	struct lcore_queue *lq =
		(struct lcore_queue *)(void *)((char *)t - offsetof(struct lcore_queue, rest));
	uint64_t ns = mem_sleep_rest(&lq->mem->sleep, idle_clock());

	if (ns) { /* charged meanwhile */
		lcore_timer_start(lq->lc, t, ns);
		return;
	}
	TAILQ_REMOVE(&lq->lc->resting, lq, link);
	TAILQ_INSERT_TAIL(&lq->lc->queues, lq, link);
	lq->resting = false;
	if (lq->rests)
		lq->rests(lq, 0);
}

bool lcore_mem_rests(struct lcore *lc, struct lcore_queue *lq)
{
	uint64_t ns = lq->mem ? mem_sleep_rest(&lq->mem->sleep, idle_clock()) : 0;

	if (!ns)
		return false;
	TAILQ_REMOVE(&lc->queues, lq, link);
	TAILQ_INSERT_TAIL(&lc->resting, lq, link);
	lq->resting = true;
	lq->rest.expired = rest_over;
	lcore_timer_start(lc, &lq->rest, ns);
	if (lq->rests)
		lq->rests(lq, ns);
	return true;
}

void lcore_mem_forget(struct lcore *lc, struct lcore_queue *lq)
{
	lcore_timer_stop(lc, &lq->rest);
	TAILQ_REMOVE(&lc->resting, lq, link);
	lq->resting = false;
}
