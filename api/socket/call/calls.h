/* SPDX-License-Identifier: BSD-3-Clause */
/* Common begin and end of public calls. */
#ifndef ZV_CALLS_H
#define ZV_CALLS_H

#include "socket/queue/arm.h"
#include "socket/queue/session.h"

/* Enters the connection's queue and brings it to the current session. */
static inline struct zv_queue *call_enter(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	queue_enter(q);
	session_sync(q);
	if (__builtin_expect(q->session.leaving, 0))
		conn_leave(c);
	return q;
}

/*
 * Sets the error text for the failures common to all calls on a connection: it is over, not
 * established yet, shut down, or -EAGAIN (@again). Other failures have set theirs where they were
 * detected. Returns @ret.
 */
ssize_t call_failed(const struct zv_conn *c, ssize_t ret, const char *call, const char *again);

static inline ssize_t call_result(const struct zv_conn *c, ssize_t ret, const char *call,
				  const char *again)
{
	return __builtin_expect(ret < 0, 0) ? call_failed(c, ret, call, again) : ret;
}

/*
 * Leaves the queue and publishes what was written; queue_leave() suffices when there is nothing to
 * publish.
 */
static inline void call_leave(struct zv_queue *q)
{
	q->tq->ops->publish(q->tq);
	queue_leave(q);
}

#endif
