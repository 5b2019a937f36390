/* SPDX-License-Identifier: BSD-3-Clause */
#include "close.h"

#include "conn.h"
#include "rx_loan.h"
#include "socket/core/timer.h"
#include "socket/tx/tx_data.h"

#include <errno.h>

/* Takes the handle back from the application: 0 or -EBUSY. */
static int give_back(struct zv_conn *c, const char *call)
{
	if (c->tx.loans)
		return zv_err(-EBUSY,
			      "%s: %u transmit buffers are still reserved on the connection: send "
			      "or cancel them first",
			      call, c->tx.loans);
	c->flags |= CF_ORPHAN;
	conn_uncount(c);
	tx_sched_leave(&c->q->sched, &c->flow);
	conn_not_ready(c);
	c->flags &= ~(CF_WANT_OUT | CF_NEW);
	return 0;
}

int conn_close(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	struct vc_step s = vc_step(c->state, VC_EV_CLOSE);
	int ret = give_back(c, "zv_conn_close");

	if (ret)
		return ret;
	if (c->flags & CF_MORE)
		tx_more_flush(q);
	c->sock->rx_drop(c);
	switch (s.action) {
	case VC_ACT_SEND_SHUTDOWN:
		if (vsock_shut_done(&c->shut)) {
			/* The peer has already closed: it waits for a RST, not for a SHUTDOWN. */
			conn_abort(c, 0);
			break;
		}
		if (c->sock->path)
			c->sock->path->end(c);
		c->state = s.next;
		conn_timer_start(c, TIMER_CLOSE, q->dev->opts.close_timeout_ns);
		/* Once: the peer has dropped the connection at the first SHUTDOWN of both halves,
		 * and would answer another one by a RST, which would hit the next connection of
		 * these ports. */
		if (c->shut.local != VSOCK_SHUTDOWN_BOTH) {
			c->shut.local = VSOCK_SHUTDOWN_BOTH;
			tx_ctrl(c, CP_SHUTDOWN);
		}
		break;
	case VC_ACT_RST_FREE:
		conn_abort(c, 0);
		break;
	default:
		conn_free(c);
	}
	return 0;
}

int conn_reset(struct zv_conn *c)
{
	int ret = give_back(c, "zv_conn_reset");

	if (ret)
		return ret;
	c->sock->rx_drop(c);
	if (c->state == VC_CLOSED) {
		conn_free(c);
		return 0;
	}
	tx_more_drop(c);
	conn_abort(c, 0);
	return 0;
}

int conn_shutdown(struct zv_conn *c, unsigned how)
{
	static const uint8_t bits[] = {VSOCK_SHUTDOWN_RCV, VSOCK_SHUTDOWN_SEND,
				       VSOCK_SHUTDOWN_BOTH};

	if (c->state != VC_CONNECTED)
		return zv_err(-ENOTCONN, "zv_shutdown: the connection is %s",
			      vc_state_name(c->state));
	tx_more_end(c);
	if ((c->shut.local | bits[how]) == c->shut.local)
		return 0;
	if (c->sock->path && bits[how] & VSOCK_SHUTDOWN_SEND)
		c->sock->path->end(c);
	c->shut.local |= bits[how];
	conn_ready(c); /* the end of receiving is an event here as well */
	if (bits[how] & VSOCK_SHUTDOWN_SEND)
		c->flags &= ~CF_WANT_OUT; /* nothing to wait for any more */
	tx_ctrl(c, CP_SHUTDOWN);
	return 0;
}

int conn_answer(struct zv_conn *c, int err)
{
	if (c->state == VC_CLOSED && c->err) /* reset by the peer or timed out before */
		return c->err;
	if (c->state != VC_REQUESTED || err > 0)
		return zv_err(-EINVAL, "zv_conn_answer: %s %s",
			      err > 0 ? "err must be 0 or negative; the connection is"
				      : "there is nothing to answer: the connection is",
			      vc_state_name(c->state));
	conn_timer_stop(c);
	if (err) {
		stats_add(&c->q->tq->stats.conns_refused, 1);
		conn_abort(c, err);
		return 0;
	}
	c->state = VC_CONNECTED;
	if (c->sock->path)
		c->sock->path->opened(c);
	stats_add(&c->q->tq->stats.conns_accepted, 1);
	tx_ctrl(c, CP_RESPONSE);
	return 0;
}
