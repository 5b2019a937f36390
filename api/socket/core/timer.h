/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock of a queue and the timers of its connections. A connection has one timer. Each kind of
 * timer has a fixed timeout and a list of its own, so each list is ordered by deadline. conn.c
 * defines what happens at a deadline.
 */
#ifndef ZV_TIMER_H
#define ZV_TIMER_H

#include "state.h"

/* CLOCK_MONOTONIC, ns. */
uint64_t zv_now(void);

/* The clock of the queue's timers: it stands still while the rings are paused (transport.h). */
static inline uint64_t queue_clock(const struct zv_queue *q)
{
	uint64_t at = q->tq->paused_at;

	return (at ? at : zv_now()) - q->tq->paused_ns;
}

/* @ns after @now; UINT64_MAX (never) when that is out of range. */
static inline uint64_t time_after(uint64_t now, uint64_t ns)
{
	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

void conn_timer_start(struct zv_conn *c, unsigned which, uint64_t timeout_ns);
void conn_timer_stop(struct zv_conn *c);
/* Next deadline of the queue on the monotonic clock, UINT64_MAX when there is none. */
uint64_t queue_timers_next(const struct zv_queue *q);

#endif
