/* SPDX-License-Identifier: BSD-3-Clause */
/* How a public call begins and ends. */
#ifndef ZV_CALLS_H
#define ZV_CALLS_H

#include "socket/queue/arm.h"
#include "socket/queue/session.h"

/* Enters the connection's queue and brings it to the present session. */
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
 * Leaves the sentence for what any call on a connection can return: that it is over, not there yet,
 * shut down, or -EAGAIN (@again). Other failures have left theirs where they were found. Returns
 * @ret.
 */
ssize_t call_failed(const struct zv_conn *c, ssize_t ret, const char *call, const char *again);

static inline ssize_t call_result(const struct zv_conn *c, ssize_t ret, const char *call,
				  const char *again)
{
	return __builtin_expect(ret < 0, 0) ? call_failed(c, ret, call, again) : ret;
}

/* Leaves it when there may be something to publish; queue_leave() when there is not. */
static inline void call_leave(struct zv_queue *q)
{
	q->tq->ops->publish(q->tq);
	queue_leave(q);
}

#endif
