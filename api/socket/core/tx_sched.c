/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may have the next transmit buffer; theory and invariant in tx_sched.h. */
#include "tx_sched.h"

void tx_sched_init(struct tx_sched *s)
{
	*s = (struct tx_sched){0};
	TAILQ_INIT(&s->waiters);
	TAILQ_INIT(&s->woken);
}

void tx_sched_leave(struct tx_sched *s, struct tx_flow *f)
{
	if (f->turn == TX_WOKEN)
		tx_sched_begin(s, f);
	else if (f->turn == TX_WAITING)
		TAILQ_REMOVE(&s->waiters, f, link);
	f->turn = TX_IDLE;
}

void tx_sched_wait(struct tx_sched *s, struct tx_flow *f, uint32_t need)
{
	bool unused = f->turn == TX_WOKEN;

	f->need = need;
	if (f->turn == TX_WAITING)
		return;
	tx_sched_leave(s, f);
	f->turn = TX_WAITING;
	f->misses = unused ? f->misses + 1 : 0;
	/*
	 * A flow keeps its place only for a while: a message may need more buffers than are ever
	 * free at a time.
	 */
	if (unused && f->misses < TX_MISSES) {
		TAILQ_INSERT_HEAD(&s->waiters, f, link);
		return;
	}
	f->misses = 0;
	TAILQ_INSERT_TAIL(&s->waiters, f, link);
}

/* Flows that were woken and have not tried to send lose their turn. */
static void turns_expire(struct tx_sched *s)
{
	struct tx_flow *f;

	while ((f = TAILQ_FIRST(&s->woken)))
		tx_sched_leave(s, f);
}

/* There are enough buffers for the first in the queue. */
static bool first_can(struct tx_sched *s, unsigned buffers)
{
	struct tx_flow *f = TAILQ_FIRST(&s->waiters);

	if (f->need <= buffers)
		return true;
	if (TAILQ_NEXT(f, link) && ++f->misses >= TX_MISSES) {
		f->misses = 0;
		TAILQ_REMOVE(&s->waiters, f, link);
		TAILQ_INSERT_TAIL(&s->waiters, f, link);
	}
	return false;
}

struct tx_flow *tx_sched_wake(struct tx_sched *s, unsigned buffers)
{
	/*
	 * Wakes as many as can have a whole turn of small packets each; the others keep their
	 * place.
	 */
	unsigned n = 1 + buffers / (TX_QUANTUM / TX_PKT_CHARGE);
	struct tx_flow *f, *first = NULL;

	if (s->nwoken && ++s->idle_polls >= TX_IDLE_POLLS)
		turns_expire(s);
	if (s->nwoken >= n || !first_can(s, buffers))
		return NULL;
	n -= s->nwoken;
	s->idle_polls = 0;
	s->limited = TAILQ_NEXT(TAILQ_FIRST(&s->waiters), link) != NULL;
	for (; n && (f = TAILQ_FIRST(&s->waiters)) && f->need <= buffers; n--) {
		TAILQ_REMOVE(&s->waiters, f, link);
		f->turn = TX_WOKEN;
		f->charged = 0;
		TAILQ_INSERT_TAIL(&s->woken, f, link);
		s->nwoken++;
		first = first ? first : f;
	}
	return first;
}

unsigned tx_sched_least_need(const struct tx_sched *s)
{
	const struct tx_flow *f;
	unsigned least = 0;

	TAILQ_FOREACH(f, &s->waiters, link) {
		if (!least || f->need < least)
			least = f->need;
		if (least == 1)
			break;
	}
	return least;
}
