/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions of the rings (transport.h), as connections see them: when one is over they are reset,
 * and the next one begins when none is left.
 */
#ifndef ZV_SESSION_H
#define ZV_SESSION_H

#include "socket/core/state.h"

/*
 * After quiesce_enter: resets the connections when the session has changed. There may be tens of
 * thousands, and others wait for this thread, so this does some of them, and each poll more
 * (session_go_on). Until all are done the new session has not begun for this queue: nothing is
 * received or sent, there are no new connections (-ENETDOWN), and one that is called is reset first
 * (conn_leave).
 */
void session_go_on(struct zv_queue *q);
/* The transport has another session than this queue. */
static inline bool session_changed(const struct zv_queue *q)
{
	return q->session.id != q->tq->session;
}
/* The slow half of session_sync(). */
void session_leave(struct zv_queue *q) __attribute__((cold));
static inline void session_sync(struct zv_queue *q)
{
	if (__builtin_expect(session_changed(q), 0))
		session_leave(q);
}
/* A connection of a session that is over: reset, or closed when the peer had closed. On the host's
 * side a RST waits for a session with the same driver. */
void conn_leave(struct zv_conn *c);
/* All of them, at once: the queue is closed. */
void session_end(struct zv_queue *q);

#endif
