/* SPDX-License-Identifier: BSD-3-Clause */
#include "tx_wait.h"

#include "socket/core/listener.h"
#include "socket/core/timer.h"
#include "tx.h"

#include <errno.h>

int tx_why_not(struct zv_conn *c)
{
	if (c->state == VC_CONNECTING || c->state == VC_REQUESTED)
		return -ENOTCONN;
	if (c->state != VC_CLOSED && vsock_shut_can_send(&c->shut))
		return 0;
	c->flags &= ~CF_WANT_OUT; /* told now */
	return c->state == VC_CLOSED && c->err ? c->err : -EPIPE;
}

int tx_message_open(const struct zv_conn *c)
{
	return zv_err(-EINVAL,
		      "zv_send: zv_buf_send has begun a message (%u bytes so far): end that with "
		      "ZV_EOM first",
		      c->tx.msg_bytes);
}

void tx_wake_waiters(struct zv_queue *q, unsigned buffers)
{
	struct tx_flow *f = tx_sched_wake(&q->sched, buffers);

	for (; f; f = TAILQ_NEXT(f, link)) {
		if (f == &q->dgram.flow)
			accept_dgram_out(q);
		else
			conn_ready(conn_of_flow(f));
	}
}

/* ---- credit of a peer that is not zvsock ---- */

/*
 * Such a peer reports its fwd_cnt late (Linux: once less than 64 KiB of its buffer is unreported),
 * too late for a packet budget: ask, and ask again.
 */
static void request_credit(struct zv_conn *c)
{
	/* The answer is delayed by no more than the connection has waited already. */
	static const uint64_t pace_ns[] = {5000000u, 50000000u, 500000000u};
	unsigned pace = c->creq.sent < 16 ? 0 : c->creq.sent < 16 + 40 ? 1 : 2;

	if (c->creq.sent < UINT8_MAX)
		c->creq.sent++;
	c->flags |= CF_CREQ_SENT;
	c->creq.fwd_cnt = c->credit.peer_fwd_cnt;
	conn_timer_start(c, TIMER_CREDIT + pace, pace_ns[pace]);
	tx_ctrl(c, CP_CREDIT_REQUEST);
}

/* The answer comes back while the other half of the budget is being sent. */
void tx_credit_ask_ahead(struct zv_conn *c, uint32_t before)
{
	uint32_t half = c->credit.pkt_limit / 2;

	if (before <= half && c->credit.pkt_unread > half)
		tx_ctrl(c, CP_CREDIT_REQUEST);
}

void tx_credit_answer(struct zv_conn *c)
{
	c->flags |= CF_CREQ_ANSWERED;
	if (!tx_has_credit(c))
		return; /* the timer asks again */
	c->flags &= ~CF_CREQ_SENT;
	c->creq.sent = 0;
	c->creq.unread = 0;
	if (c->timer.which >= TIMER_CREDIT)
		conn_timer_stop(c);
}

/*
 * True when the answer shows a peer that is alive, has seen everything sent before, and has read
 * nothing. It is counted once, however many packets have come since.
 */
static bool peer_reads_nothing(struct zv_conn *c)
{
	bool answered = c->flags & CF_CREQ_ANSWERED;

	c->flags &= ~CF_CREQ_ANSWERED;
	if (c->credit.peer_fwd_cnt != c->creq.fwd_cnt)
		c->creq.unread = 0;
	else if (answered && c->creq.unread < UINT8_MAX)
		c->creq.unread++;
	return answered && c->creq.unread;
}

void tx_credit_retry(struct zv_conn *c)
{
	bool idle_peer = peer_reads_nothing(c);

	c->flags &= ~CF_CREQ_SENT;
	if (!(c->flags & CF_WANT_OUT))
		return;
	if (idle_peer && !c->sock->framed)
		(void)credit_allow_extra(&c->credit, c->creq.unread);
	if (c->credit.pkt_limit && !tx_has_credit(c))
		request_credit(c);
	else
		conn_ready(c);
}

/* ---- blocked ---- */

static void blocked(struct zv_conn *c, uint32_t bytes, uint32_t pkts)
{
	c->flags |= CF_WANT_OUT;
	c->blocked = (struct conn_blocked){.bytes = bytes, .pkts = pkts};
}

int tx_blocked_on_credit(struct zv_conn *c, uint32_t bytes, uint32_t pkts)
{
	blocked(c, bytes, pkts);
	stats_add(&c->q->tq->stats.tx_no_credit, 1);
	tx_sched_leave(&c->q->sched, &c->flow); /* it waits for the peer, not for a buffer */
	if (c->credit.pkt_limit && !(c->flags & (CF_CREQ_SENT | CF_TIMER)))
		request_credit(c);
	return -EAGAIN;
}

int tx_blocked_on_buffers(struct zv_conn *c, uint32_t bytes, uint32_t need)
{
	blocked(c, bytes, 1);
	stats_add(&c->q->tq->stats.tx_no_buffer, 1);
	tx_sched_wait(&c->q->sched, &c->flow, need);
	return -EAGAIN;
}
