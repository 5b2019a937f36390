/* SPDX-License-Identifier: BSD-3-Clause */
#include "lcore_works.h"

#include "core/lcore.h"

static uint64_t the_round = 1;
static unsigned lost;
static TAILQ_HEAD(, lcore_work) works = TAILQ_HEAD_INITIALIZER(works);

uint64_t __wrap_lcore_round(const struct lcore *lc);
void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w);
void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);
struct io *__wrap_lcore_io(struct lcore *lc);
void __wrap_lcore_dgram_lost(struct lcore *lc);

uint64_t __wrap_lcore_round(const struct lcore *lc)
{
	(void)lc;
	return the_round;
}

void __wrap_lcore_defer(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	if (!w->queued)
		TAILQ_INSERT_TAIL(&works, w, link);
	w->queued = true;
}

void __wrap_lcore_defer_cancel(struct lcore *lc, struct lcore_work *w)
{
	(void)lc;
	if (w->queued)
		TAILQ_REMOVE(&works, w, link);
	w->queued = false;
}

struct io *__wrap_lcore_io(struct lcore *lc)
{
	(void)lc;
	return NULL;
}

void __wrap_lcore_dgram_lost(struct lcore *lc)
{
	(void)lc;
	lost++;
}

unsigned lcore_works_lost(void)
{
	return lost;
}

void lcore_works_round(void)
{
	struct lcore_work end = {0}, *w; /* what is deferred from now on comes behind it */

	the_round++;
	TAILQ_INSERT_TAIL(&works, &end, link);
	while ((w = TAILQ_FIRST(&works)) != &end) {
		__wrap_lcore_defer_cancel(NULL, w);
		w->run(w);
	}
	TAILQ_REMOVE(&works, &end, link);
}

bool lcore_works_empty(void)
{
	return TAILQ_EMPTY(&works);
}
