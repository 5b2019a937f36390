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
