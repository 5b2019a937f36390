/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether a connection may send now, and what it waits for if not: its state, credit
 * (vsock_credit.h), a buffer (tx_sched.h). A blocked connection has CF_WANT_OUT and reports
 * ZV_EV_OUT when what it lacked is there.
 */
#ifndef ZV_TX_WAIT_H
#define ZV_TX_WAIT_H

#include "socket/core/credit.h"

/* The slow half of tx_may_send(). */
int tx_why_not(struct zv_conn *c);
/* 0, or why the connection cannot send at all. */
static inline int tx_may_send(struct zv_conn *c)
{
	bool may = c->state == VC_CONNECTED && vsock_shut_can_send(&c->shut);

	return __builtin_expect(may, 1) ? 0 : tx_why_not(c);
}
/* 0, or -EINVAL: zv_buf_send has begun a message, which zv_send cannot continue. */
int tx_message_open(const struct zv_conn *c) __attribute__((cold));
static inline int tx_may_begin(const struct zv_conn *c)
{
	return __builtin_expect(c->tx.msg_pkts, 0) ? tx_message_open(c) : 0;
}
/* Bytes that @c may send in its turn; 0: it has to wait for others. */
static inline uint32_t tx_turn_left(const struct zv_conn *c)
{
	return tx_sched_left(&c->q->sched, &c->flow);
}
static inline void tx_turn_charge(struct zv_conn *c, uint32_t len)
{
	tx_sched_charge(&c->q->sched, &c->flow, len);
}
/* Remembers what the connection waits for. Returns -EAGAIN. */
int tx_blocked_on_credit(struct zv_conn *c, uint32_t bytes, uint32_t pkts);
int tx_blocked_on_buffers(struct zv_conn *c, uint32_t bytes, uint32_t need);
/* Nothing may overtake a REQUEST or RESPONSE. */
static inline bool tx_behind_ctrl(const struct zv_conn *c)
{
	return c->pending & (CP_REQUEST | CP_RESPONSE);
}
/* @buffers buffers are free: wakes the first connections in the queue. */
void tx_wake_waiters(struct zv_queue *q, unsigned buffers);
/* Reserved credit has come back unused: lets the connection report ZV_EV_OUT if it waits. */
static inline void tx_credit_back(struct zv_conn *c)
{
	if (c->flags & CF_WANT_OUT)
		conn_ready(c);
}
/* The slow half of tx_credit_ahead(). */
void tx_credit_ask_ahead(struct zv_conn *c, uint32_t before);
/*
 * To be called after sending data, with @before packets unread before: requests credit when half of
 * the packet budget has just been used.
 */
static inline void tx_credit_ahead(struct zv_conn *c, uint32_t before)
{
	if (__builtin_expect(c->credit.pkt_limit != 0, 0))
		tx_credit_ask_ahead(c, before);
}
/*
 * Handles a packet of the peer after a CREDIT_REQUEST. One that brings room is the answer, and the
 * next request need not wait for the timer.
 */
void tx_credit_answer(struct zv_conn *c);
/* TIMER_CREDIT: requests credit again while the connection is still blocked. */
void tx_credit_retry(struct zv_conn *c);

#endif
