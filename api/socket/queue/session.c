/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include "socket/chan/grant.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/peer.h"
#include "socket/rx/hello_conn.h"
#include "socket/rx/rx.h"
#include "socket/tx/tx.h"

#include <errno.h>

#define LEAVE_ENTRIES	4096 /* entries of the table, in one go */
#define LEAVE_CONN_COST 16   /* cost of a connection in units of an empty entry */
#define LEAVE_MSGS_COST 2    /* so many messages cost as much as an empty entry */

void conn_leave(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	bool gap, unknown;

	if (!(c->flags & CF_IN_TABLE))
		return;
	gap = q->session.gaps && rx_drop_lost(c);
	/* A peer that has not received the REQUEST does not know of it. */
	unknown = c->state == VC_CONNECTING && (c->pending & CP_REQUEST);
	c->pending = 0;	      /* the session that would carry it is over */
	q->session.no_tx = 1; /* RSTs wait: see session_sync */
	if (q->host && !unknown)
		tx_rst_of(c);
	/* Closed by the peer: all its data is here, and it expects nothing more. */
	conn_over(c, c->shut.peer == VSOCK_SHUTDOWN_BOTH && !gap ? 0 : -ECONNRESET);
	q->session.no_tx = 0;
}

static void leave_begin(struct zv_queue *q)
{
	bool lost = q->session.lost != q->tq->lost;
	struct zv_conn *c;

	q->session.leave_at = 0;
	q->session.lost = q->tq->lost;
	q->session.gaps |= lost;
	if (lost)
		TAILQ_FOREACH(c, &q->closed.list, closed.link)
			if (rx_drop_lost(c))
				c->err = -ECONNRESET;
}

static bool leave_some(struct zv_queue *q)
{
	for (int looks = LEAVE_ENTRIES; looks > 0 && q->session.leave_at < q->conns.slots;
	     looks--) {
		struct conn_node *n = conn_table_at(&q->conns, q->session.leave_at++);

		if (!n)
			continue;
		looks -= LEAVE_CONN_COST;
		if (q->session.gaps) /* rx_drop_lost() looks at them */
			looks -= (int)(((struct zv_conn *)n)->rx.queued / LEAVE_MSGS_COST);
		conn_leave((struct zv_conn *)n);
	}
	if (q->session.leave_at < q->conns.slots)
		return false;
	q->session.gaps = 0;
	return true;
}

/*
 * The last bytes of a peer that has closed and gone lie in the ring with its SHUTDOWN. Nothing is
 * sent meanwhile, because the rings may already serve another peer.
 */
static void take_rest(struct zv_queue *q)
{
	/* The session of these packets never began here, so no connection belongs to it. */
	bool late = q->session.leaving;
	int got;

	if (!q->tq->ops->rx_rest)
		return;
	q->session.no_tx = 1;
	while ((got = q->tq->ops->rx_rest(q->tq, q->pkts, ZV_BURST)) > 0)
		for (int i = 0; i < got; i++)
			late ? rx_drop(q, &q->pkts[i]) : rx_packet(q, &q->pkts[i]);
	q->session.no_tx = 0;
}

/* No connection of the former session is left. */
static void begin_session(struct zv_queue *q)
{
	uint64_t guest;

	q->session.leaving = 0;
	q->session.id = q->session.next;
	guest = q->dev->ops->guest_cid(q->dev->t);
	q->session.own_cid = q->host ? VSOCK_CID_HOST : guest;
	q->session.peer_cid = q->host ? guest : VSOCK_CID_HOST;
	peer_reset(q);
	grants_end(q);
	if (q->session.gone != q->tq->gone && q->dev->opts.flags & ZV_OPT_BROKER)
		q->hello.events |= HELLO_EV_GONE;
	q->session.gone = q->tq->gone;
	if (!q->tq->up)
		return;
	/*
	 * A driver that has been running may hold connections of former sessions, whoever served
	 * them; a fresh one does not, and may already have new ones from the same ports.
	 */
	if (!q->tq->inherited)
		q->rst.count = 0;
	hello_start(q);
}

void session_leave(struct zv_queue *q)
{
	if (q->session.leaving && q->session.next == q->tq->session)
		return;
	take_rest(q);
	q->session.leaving = 1;
	q->session.next = q->tq->session;
	leave_begin(q);
	if (leave_some(q))
		begin_session(q);
}

void session_go_on(struct zv_queue *q)
{
	if (leave_some(q))
		begin_session(q);
}

void session_end(struct zv_queue *q)
{
	leave_begin(q);
	while (!leave_some(q))
		;
}
