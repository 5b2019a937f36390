/* SPDX-License-Identifier: BSD-3-Clause */
#include "timer.h"

#include "spin.h"

uint64_t zv_now(void)
{
	return idle_clock();
}

void conn_timer_stop(struct zv_conn *c)
{
	if (c->flags & CF_TIMER)
		TAILQ_REMOVE(&c->q->timers[c->timer.which], c, timer.link);
	c->flags &= ~CF_TIMER;
}

void conn_timer_start(struct zv_conn *c, unsigned which, uint64_t timeout_ns)
{
	conn_timer_stop(c);
	c->q->clock.now = queue_clock(c->q);
	c->timer.which = (uint8_t)which;
	c->timer.deadline = time_after(c->q->clock.now, timeout_ns);
	c->flags |= CF_TIMER;
	TAILQ_INSERT_TAIL(&c->q->timers[which], c, timer.link);
}

uint64_t queue_timers_next(const struct zv_queue *q)
{
	const struct zv_conn *u = TAILQ_FIRST(&q->updates);
	uint64_t next = u && u->update.at < q->peer.hello_by ? u->update.at : q->peer.hello_by;

	if (q->chans.next_tick < next)
		next = q->chans.next_tick;
	if (q->peer.retry_at < next)
		next = q->peer.retry_at;
	for (unsigned i = 0; i < TIMERS; i++) {
		const struct zv_conn *c = TAILQ_FIRST(&q->timers[i]);

		if (c && c->timer.deadline < next)
			next = c->timer.deadline;
	}
	if (q->tq->paused_at || next > UINT64_MAX - q->tq->paused_ns)
		return UINT64_MAX;
	return next + q->tq->paused_ns;
}
