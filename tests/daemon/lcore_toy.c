/* SPDX-License-Identifier: BSD-3-Clause */
#include "lcore_toy.h"

#include "core/lcore.h"

uint64_t lcore_toy_round;

uint64_t lcore_round(const struct lcore *lc)
{
	(void)lc;
	return lcore_toy_round;
}

void lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	w->queued = true;
}

void lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	w->queued = false;
}

void lcore_run(struct lcore_work *w)
{
	w->run(w);
}

bool lcore_looks(const struct lcore *lc)
{
	(void)lc;
	return false;
}

struct mem_account *lcore_for(const struct lcore_queue *lq)
{
	(void)lq;
	return NULL;
}

void lcore_for_over(const struct lcore_queue *lq, struct mem_account *was)
{
	(void)lq;
	(void)was;
}
