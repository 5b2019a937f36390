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

bool lcore_looks_at_parts(const struct lcore *lc)
{
	(void)lc;
	return false;
}

void lcore_look_begin(const struct lcore_queue *lq, struct mem_look *l)
{
	(void)lq;
	l->at = 0;
}

void lcore_look_end(const struct lcore_queue *lq, const struct mem_look *l)
{
	(void)lq;
	(void)l;
}

void lcore_look_end_any(struct lcore *lc, const struct mem_look *l)
{
	(void)lc;
	(void)l;
}
