/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entering and leaving a queue, and enabling notifications so that its owner may sleep. Waiting for
 * them is in wait.c.
 */
#ifndef ZV_ARM_H
#define ZV_ARM_H

#include "socket/core/state.h"
#include "spin.h"

#include <sys/epoll.h>

/*
 * Enters a queue for a public call; waits, for a bounded time, while the control thread holds it.
 */
static inline void queue_enter(struct zv_queue *q)
{
	unsigned steps = 0;

	while (!quiesce_enter(&q->tq->qs))
		spin_step(&steps);
}

/*
 * After zv_arm: makes zv_fd readable if the call has left work (an event, a timer, something that
 * waits for a buffer).
 */
void queue_rearm(struct zv_queue *q) __attribute__((cold));

static inline void queue_leave(struct zv_queue *q)
{
	if (__builtin_expect(q->arm.state, 0))
		queue_rearm(q);
	quiesce_leave(&q->tq->qs);
}

/*
 * Enables notifications of rings and of zv_wake; timers are left to the caller. 0, or -EAGAIN:
 * there is work or, unless @ignore_events, an event to report.
 */
int queue_arm_rings(struct zv_queue *q, bool ignore_events);
/*
 * For sleepers on zv_fd: makes it readable by @when (UINT64_MAX: not needed), maybe earlier.
 * -EAGAIN: zv_wake was called.
 */
int queue_timer_by(struct zv_queue *q, uint64_t when);
int queue_arm(struct zv_queue *q);
/* queue_arm() for a queue that was armed before; if it cannot be armed, makes zv_fd readable. */
void queue_arm_again(struct zv_queue *q);
void queue_disarm(struct zv_queue *q);
/* A sleep on zv_fd has ended with these @n events: saves queue_disarm() from checking itself. */
void queue_fds_seen(struct zv_queue *q, const struct epoll_event *ev, int n);
/* zv_wake was called and zv_poll has not reported it yet. */
static inline bool queue_woken(const struct zv_queue *q)
{
	return __atomic_load_n(&q->arm.wake, __ATOMIC_SEQ_CST);
}
/*
 * To be called after the timer was set, so that its descriptor is read when the sleep ends. Any
 * thread.
 */
void queue_timer_was_set(struct zv_queue *q);
int queue_fds_open(struct zv_queue *q);
void queue_fds_close(struct zv_queue *q);

#endif
