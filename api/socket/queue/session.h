/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions of the rings (transport.h) as connections see them: when a session is over its
 * connections are reset, and the next session begins when none of them is left.
 */
#ifndef ZV_SESSION_H
#define ZV_SESSION_H

#include "socket/core/state.h"

/*
 * To be called after quiesce_enter(): resets the connections when the session has changed. There
 * may be tens of thousands, and others wait for this thread, so the first call handles some of
 * them, and each poll more (session_go_on()). Until all are done the new session has not begun for
 * this queue: nothing is received or sent, no connections are made (-ENETDOWN), and a connection
 * that a call is made on is reset first (conn_leave()).
 */
void session_go_on(struct zv_queue *q);
/* The transport has changed session and this queue has not yet. */
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
/*
 * Ends a connection of a session that is over: resets it, or closes it when the peer had closed. On
 * the host's side a RST waits for a session with the same driver.
 */
void conn_leave(struct zv_conn *c);
/* Ends all connections at once: the queue is closed. */
void session_end(struct zv_queue *q);

#endif
