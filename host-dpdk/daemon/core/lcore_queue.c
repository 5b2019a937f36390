/* SPDX-License-Identifier: BSD-3-Clause */
/* An lcore polls its queues. */
#include "lcore_int.h"

#define EVENTS	      64u /* taken from a queue by one zv_poll */
#define POLLS_A_ROUND 4u  /* zv_poll calls of a busy queue before its events' work is done, */
#define POLLED_OFTEN  16u /* if the lcore has no more queues than this; otherwise one call */

void lcore_queues_init(struct lcore *lc)
{
	TAILQ_INIT(&lc->queues);
}

static void queue_woken(struct io_op *op, int res, uint32_t flags)
{
	(void)op; /* the next round polls the queue in any case */
	(void)res;
	(void)flags;
}

void lcore_queue_add(struct lcore *lc, struct lcore_queue *lq)
{
	lq->lc = lc;
	lq->poll.done = queue_woken;
	TAILQ_INSERT_TAIL(&lc->queues, lq, link);
	lc->n_queues++;
	lcore_mem_added(lq);
}

void lcore_queue_remove(struct lcore *lc, struct lcore_queue *lq)
{
	lcore_mem_removed(lq);
	TAILQ_REMOVE(&lc->queues, lq, link);
	lc->n_queues--;
	lcore_cancel(lc, &lq->poll);
}

/* True: it is not polled in this round. */
static bool pays(struct lcore_queue *lq)
{
	unsigned most = lq->pays ? lq->pays : LCORE_PAYS;

	lq->debt -= lq->debt < most ? lq->debt : most;
	return lq->debt;
}

/* True: the guest of @lq has had its turn in this round. */
static bool turn_is_over(const struct lcore *lc, const struct lcore_queue *lq)
{
	struct lcore_turn *t = lq->turn;

	if (!t)
		return false;
	if (t->round != lc->counters.rounds)
		*t = (struct lcore_turn){.round = lc->counters.rounds};
	return t->ns >= LCORE_TURN_NS;
}

static bool poll_queue(struct lcore *lc, struct lcore_queue *lq)
{
	const unsigned polls = lc->n_queues > POLLED_OFTEN ? 1 : POLLS_A_ROUND;
	struct lcore_turn alone = {0}, *turn = lq->turn ? lq->turn : &alone;
	uint64_t at = lq->turn || lq->busy ? idle_clock() : 0, now;
	struct zv_event events[EVENTS];
	int n = (int)EVENTS;

	lq->busy = false;
	for (unsigned k = 0; k < polls && n > 0 && !lq->debt && turn->ns < LCORE_TURN_NS; k++) {
		n = zv_poll(lq->q, events, EVENTS);
		for (int i = 0; i < n; i++)
			lq->event(lq, &events[i]);
		lq->busy |= n > 0;
		now = lq->turn || lq->busy ? idle_clock() : 0;
		turn->ns += at && now ? now - at : 0;
		at = now;
	}
	/* Those that the turn did not reach come first in the next round. */
	if (lq->turn) {
		TAILQ_REMOVE(&lc->queues, lq, link);
		TAILQ_INSERT_TAIL(&lc->queues, lq, link);
	}
	return lq->busy;
}

static bool poll_looking(struct lcore *lc, struct lcore_queue *lq)
{
	struct mem_account *was = mem_for(lq->mem);
	bool any = poll_queue(lc, lq);

	(void)mem_for(was);
	return any;
}

bool lcore_poll_queues(struct lcore *lc)
{
	struct lcore_queue *lq, *next, *last = TAILQ_LAST(&lc->queues, lcore_queues);
	bool any = false;

	for (lq = TAILQ_FIRST(&lc->queues); lq; lq = next) {
		next = lq == last ? NULL : TAILQ_NEXT(lq, link);
		if (__builtin_expect(lq->resting, 0))
			continue;
		/* Of those that wait there may be something for the next round. */
		if ((__builtin_expect(lq->debt != 0, 0) && pays(lq)) || turn_is_over(lc, lq))
			any = true;
		else if (__builtin_expect(lc->looks_until != 0, 0))
			any |= poll_looking(lc, lq);
		else
			any |= poll_queue(lc, lq);
	}
	return any;
}
