/* SPDX-License-Identifier: BSD-3-Clause */
/* An lcore and the memory of its peers; see "Memory" in lcore.h. */
#include "lcore_int.h"

#define CHECK_NS 1000000u
#define LONG_NS	 20000000u /* hardly a CPU that was lost for a moment */

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
	lq->resting = false;
	lq->rests(lq, 0);
}

bool lcore_mem_rests(struct lcore_queue *lq)
{
	uint64_t ns;

	if (lq->resting || !lq->mem || !mem_sleep_charged(&lq->mem->sleep))
		return lq->resting;
	ns = mem_sleep_rest(&lq->mem->sleep, idle_clock());
	if (!ns)
		return false;
	lq->resting = true;
	lq->rest.expired = rest_over;
	lcore_timer_start(lq->lc, &lq->rest, ns);
	lq->rests(lq, ns);
	return true;
}

/* ---- looking ---- */

static void call_watched(void *arg, bool enters)
{
	struct lcore_queue *lq = arg;

	if (enters) {
		lq->payer = mem_for(lq->mem);
	} else {
		(void)mem_for(lq->payer);
		(void)lcore_mem_rests(lq);
	}
}

static void look(struct lcore *lc, uint64_t until)
{
	bool changes = !lc->looks_until != !until;
	struct lcore_queue *lq;

	lc->looks_until = until;
	TAILQ_FOREACH(lq, &lc->queues, link)
		if (changes && lq->mem)
			lq->watch(lq, until ? call_watched : NULL);
}

bool lcore_looks(const struct lcore *lc)
{
	return lc->looks_until;
}

struct mem_account *lcore_for(const struct lcore_queue *lq)
{
	return lq && lq->lc && lq->lc->looks_until ? mem_for(lq->mem) : NULL;
}

void lcore_for_over(const struct lcore_queue *lq, struct mem_account *was)
{
	if (lq && lq->lc && lq->lc->looks_until)
		(void)mem_for(was);
}

void lcore_mem_added(struct lcore_queue *lq)
{
	if (lq->mem && lq->lc->looks_until)
		lq->watch(lq, call_watched);
	(void)lcore_mem_rests(lq);
}

void lcore_mem_removed(struct lcore_queue *lq)
{
	if (lq->mem && lq->lc->looks_until)
		lq->watch(lq, NULL);
	if (!lq->resting)
		return;
	lcore_timer_stop(lq->lc, &lq->rest);
	lq->resting = false;
	lq->rests(lq, 0);
}

static uint64_t later(uint64_t until, uint64_t now, uint64_t ns)
{
	ns = MEM_SLEEP_PART * (ns < MEM_SLEEP_MOST_NS ? ns : MEM_SLEEP_MOST_NS);
	return now + ns > until ? now + ns : until;
}

/* The lcore has worked for @took until @now; it does not watch. */
static void suspect(struct lcore *lc, uint64_t now, uint64_t took)
{
	if (!mem_look_suspects())
		return;
	lc->watches_until = later(0, now, took);
	mem_look_awake();
	if (took >= LONG_NS)
		look(lc, later(lc->looks_until, now, took));
}

static void watch(struct lcore *lc, uint64_t now)
{
	uint64_t ns = mem_look_slept();

	if (ns >= MEM_SLEEP_NS) {
		look(lc, later(lc->looks_until, now, ns));
		lc->watches_until = later(lc->watches_until, now, ns);
	}
	if (lc->looks_until && now >= lc->looks_until)
		look(lc, 0);
	if (now >= lc->watches_until)
		lc->watches_until = 0;
}

void lcore_mem_check(struct lcore *lc, uint64_t now)
{
	uint64_t took = now - lc->checked;
	struct lcore_queue *lq;

	if (now < lc->checked || took < CHECK_NS)
		return;
	lc->checked = now;
	if (lc->watches_until || lc->looks_until)
		watch(lc, now);
	else
		suspect(lc, now, took);
	/* Another lcore may have slept on the memory of the same peer, or user. */
	TAILQ_FOREACH(lq, &lc->queues, link)
		(void)lcore_mem_rests(lq);
}

void lcore_mem_woken(struct lcore *lc)
{
	lc->checked = idle_clock();
	if (lc->watches_until || lc->looks_until)
		mem_look_awake();
}
