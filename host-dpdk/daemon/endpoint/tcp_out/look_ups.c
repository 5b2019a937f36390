/* SPDX-License-Identifier: BSD-3-Clause */
#include "look_ups.h"

#include <errno.h>

/* The timer stops by itself when it finds nothing to wait for. */
static void keep_polling(struct look_ups *l)
{
	if (!l->timer.running && !(TAILQ_EMPTY(&l->line) && TAILQ_EMPTY(&l->asked)))
		lcore_timer_start(l->gq->lc, &l->timer, LOOK_UPS_POLL_NS);
}

/* What has been answered. over() ends no other look-up of the queue. */
static void take_answers(struct look_ups *l)
{
	struct look_up *u, *next;

	for (u = TAILQ_FIRST(&l->asked); u; u = next) {
		struct resolve *r = u->asked;

		next = TAILQ_NEXT(u, link);
		if (!resolve_is_over(r))
			continue;
		TAILQ_REMOVE(&l->asked, u, link);
		u->asked = NULL;
		u->waits = false;
		u->over(u, resolve_result(r), 0); /* may free it */
		resolve_end(r);
	}
}

/* Begins those that come first, each in a thread, which costs. */
static void ask_first(struct look_ups *l)
{
	for (unsigned i = 0; i < RESOLVE_SHARE && !TAILQ_EMPTY(&l->line); i++) {
		struct look_up *u = TAILQ_FIRST(&l->line);
		int rc = resolve_begin(&u->asked, u->name, l->gq->guest->serial);

		if (rc == -EBUSY)
			break;
		TAILQ_REMOVE(&l->line, u, link);
		if (rc == 0) {
			lcore_charge(&l->gq->lq);
			TAILQ_INSERT_TAIL(&l->asked, u, link);
			continue;
		}
		u->asked = NULL;
		u->waits = false;
		u->over(u, NULL, rc);
	}
}

static void poll_all(struct lcore_timer *t)
{
	struct look_ups *l =
		(struct look_ups *)(void *)((char *)t - offsetof(struct look_ups, timer));

	take_answers(l);
	ask_first(l);
	keep_polling(l);
}

void look_ups_init(struct look_ups *l, struct guest_queue *gq)
{
	TAILQ_INIT(&l->line);
	TAILQ_INIT(&l->asked);
	l->gq = gq;
	l->timer.expired = poll_all;
}

void look_up_begin(struct look_ups *l, struct look_up *u)
{
	bool first = TAILQ_EMPTY(&l->line);

	u->waits = true;
	TAILQ_INSERT_TAIL(&l->line, u, link);
	if (first)
		ask_first(l);
	keep_polling(l);
}

void look_up_end(struct look_ups *l, struct look_up *u)
{
	if (!u->waits)
		return;
	u->waits = false;
	if (u->asked) {
		TAILQ_REMOVE(&l->asked, u, link);
		resolve_end(u->asked);
		u->asked = NULL;
	} else {
		TAILQ_REMOVE(&l->line, u, link);
	}
	if (TAILQ_EMPTY(&l->line) && TAILQ_EMPTY(&l->asked))
		lcore_timer_stop(l->gq->lc, &l->timer);
}
