/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entering and leaving a queue, and asking for notifications so that its owner may sleep. Waiting
 * for them is wait.c.
 */
#ifndef ZV_ARM_H
#define ZV_ARM_H

#include "socket/core/state.h"
#include "spin.h"

#include <sys/epoll.h>

/* Enters a queue for a public call: waits, for a bounded time, while the control thread has it. */
static inline void queue_enter(struct zv_queue *q)
{
	unsigned steps = 0;

	while (!quiesce_enter(&q->tq->qs))
		spin_step(&steps);
}

/*
 * After zv_arm: what a call has left to do (an event, a timer, something that waits for a buffer)
 * must make zv_fd readable as well.
 */
void queue_rearm(struct zv_queue *q) __attribute__((cold));

static inline void queue_leave(struct zv_queue *q)
{
	if (__builtin_expect(q->arm.state, 0))
		queue_rearm(q);
	quiesce_leave(&q->tq->qs);
}

/*
 * Asks for notifications of rings and of zv_wake; the timers are up to the caller. 0, or -EAGAIN:
 * there is work or, unless @quiet, an event to report.
 */
int queue_arm_rings(struct zv_queue *q, bool quiet);
/*
 * For who sleeps on what zv_fd is: it becomes readable by @when (UINT64_MAX: no matter), maybe
 * before. -EAGAIN: zv_wake was called.
 */
int queue_timer_by(struct zv_queue *q, uint64_t when);
int queue_arm(struct zv_queue *q);
/* queue_arm for a queue that was armed before; where that is not to be had, zv_fd is readable. */
void queue_arm_again(struct zv_queue *q);
void queue_disarm(struct zv_queue *q);
/* A sleep on zv_fd has ended with these @n events: spares queue_disarm() looking for itself. */
void queue_fds_seen(struct zv_queue *q, const struct epoll_event *ev, int n);
/* zv_wake was called and zv_poll has not reported it. */
static inline bool queue_woken(const struct zv_queue *q)
{
	return __atomic_load_n(&q->arm.wake, __ATOMIC_SEQ_CST);
}
/* After the timer has been set, so that the end of the sleep reads its descriptor. Any thread. */
void queue_timer_was_set(struct zv_queue *q);
int queue_fds_open(struct zv_queue *q);
void queue_fds_close(struct zv_queue *q);

#endif
