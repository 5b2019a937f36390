/* SPDX-License-Identifier: BSD-3-Clause */
#include "wheel.h"

static struct timer_list *slot_of(struct wheel *w, const struct lcore_timer *t)
{
	return &w->slot[(t->deadline / WHEEL_NS + 1) % WHEEL_SLOTS];
}

void wheel_init(struct wheel *w)
{
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		TAILQ_INIT(&w->slot[i]);
}

void wheel_start(struct wheel *w, struct lcore_timer *t, uint64_t now, uint64_t ns)
{
	wheel_stop(w, t);
	t->deadline = now + ns;
	if (!w->n_timers++) /* without timers wheel_run() did not advance it */
		w->tick = now / WHEEL_NS;
	t->running = true;
	TAILQ_INSERT_TAIL(slot_of(w, t), t, link);
}

void wheel_stop(struct wheel *w, struct lcore_timer *t)
{
	if (!t->running)
		return;
	t->running = false;
	w->n_timers--;
	if (w->next == t)
		w->next = TAILQ_NEXT(t, link);
	TAILQ_REMOVE(slot_of(w, t), t, link);
}

bool wheel_run(struct wheel *w, uint64_t now)
{
	uint64_t tick = now / WHEEL_NS;
	bool any = false;

	if (tick - w->tick > WHEEL_SLOTS)
		w->tick = tick - WHEEL_SLOTS;
	while (w->n_timers && w->tick < tick) {
		struct timer_list *slot = &w->slot[++w->tick % WHEEL_SLOTS];
		struct lcore_timer *t;

		/* Each timer is checked once, however many timers of later laps lie between those
		 * that are due. */
		for (t = TAILQ_FIRST(slot); t; t = w->next) {
			w->next = TAILQ_NEXT(t, link);
			if (t->deadline > now)
				continue;
			wheel_stop(w, t);
			t->expired(t);
			any = true;
		}
	}
	return any;
}

uint64_t wheel_next(const struct wheel *w, uint64_t now)
{
	for (uint64_t tick = w->tick + 1;; tick++)
		if (!TAILQ_EMPTY(&w->slot[tick % WHEEL_SLOTS]) || tick == w->tick + WHEEL_SLOTS)
			return tick * WHEEL_NS > now ? tick * WHEEL_NS - now : 0;
}
