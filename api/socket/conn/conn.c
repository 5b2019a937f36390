/* SPDX-License-Identifier: BSD-3-Clause */
#include "conn.h"

#include "rx_loan.h"
#include "socket/core/listener.h"
#include "socket/core/peer.h"
#include "socket/core/timer.h"
#include "socket/tx/tx_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FREE_CONNS_CACHED 256u /* freed structures kept for the next connection of the queue */

/* ---- the beginning ---- */

static void timed_out(struct zv_conn *c);

/* Makes room in the table for one more. False: the application has max_conns of them. */
static bool may_have_another(struct zv_queue *q)
{
	struct zv_conn *c = TAILQ_FIRST(&q->timers[TIMER_CLOSE]);

	if (q->pool.live >= q->dev->opts.max_conns)
		return false;
	/* As many again may be closing; beyond that the oldest is dropped. */
	if (q->conns.count >= q->conns.max && c)
		timed_out(c);
	return true;
}

void conn_uncount(struct zv_conn *c)
{
	c->q->pool.live -= !!(c->flags & CF_COUNTED);
	c->flags &= ~CF_COUNTED;
}

struct zv_conn *conn_new(struct zv_queue *q, const struct conn_key *key,
			 const struct sock_type *sock, enum vc_state state, unsigned flags,
			 int *err)
{
	struct zv_conn *c;

	if (!(flags & CF_INTERNAL)) {
		flags |= CF_COUNTED;
		*err = -ENOSPC;
		if (!may_have_another(q))
			return NULL;
	}
	c = q->pool.free;
	if (c) {
		q->pool.free = c->next_free;
		q->pool.nfree--;
	} else {
		c = malloc(sizeof(*c));
		if (!c) {
			*err = -ENOMEM;
			return NULL;
		}
	}
	memset(c, 0, sizeof(*c));
	c->node.key = *key;
	c->q = q;
	c->sock = sock;
	c->type = sock->type;
	c->state = (uint8_t)state;
	c->rx.head = c->rx.tail = LOAN_NONE;
	c->mask = ~ZV_EV_EPIPE;
	c->totals.opened_ns = zv_now();
	credit_init(&c->credit, rx_promise(c));
	conn_pkt_budget(c);
	*err = conn_table_insert(&q->conns, &c->node);
	if (*err) {
		rx_promise_back(c);
		free(c);
		return NULL;
	}
	c->id = c->node.id;
	c->flags = CF_IN_TABLE | flags;
	q->pool.live += !!(flags & CF_COUNTED);
	return c;
}

/* ---- timers ---- */

static void timed_out(struct zv_conn *c)
{
	struct vc_step s = vc_step(c->state, VC_EV_TIMEOUT);

	conn_timer_stop(c);
	if (c->timer.which >= TIMER_CREDIT) {
		tx_credit_retry(c);
		return;
	}
	stats_add(&c->q->tq->stats.conns_timedout, 1);
	switch (s.action) {
	case VC_ACT_TIMEDOUT:
		/* The peer may have seen the REQUEST: it must not keep half a connection. */
		conn_abort(c, -ETIMEDOUT);
		break;
	case VC_ACT_RST_FREE:
		conn_abort(c, 0);
		break;
	default:
		/*
		 * A HELLO connection that is established but not answered: the peer runs plain
		 * virtio-vsock.
		 */
		if (c->flags & CF_INTERNAL)
			conn_abort(c, -ETIMEDOUT);
	}
}

void conn_timers_run(struct zv_queue *q)
{
	struct zv_conn *c;

	for (unsigned i = 0; i < TIMERS; i++)
		while ((c = TAILQ_FIRST(&q->timers[i])) && c->timer.deadline <= q->clock.now)
			timed_out(c);
	if (q->peer.hello_by <= q->clock.now) {
		peer_is_plain(q, "it has not said HELLO");
		peer_has_no_channels(q);
	}
	while ((c = credit_update_next(q)))
		if (c->state == VC_CONNECTED && credit_peer_stuck(&c->credit))
			tx_ctrl(c, CP_CREDIT_UPDATE);
}

/* ---- the end ---- */

/* Takes the connection off every list of its queue except the ready list. */
static void unlink_all(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	conn_timer_stop(c);
	credit_update_cancel(c);
	tx_sched_leave(&q->sched, &c->flow);
	tx_more_drop(c);
	tx_ctrl_drop(c);
	if (q->last == c)
		q->last = NULL;
}

static void leave_accept_queue(struct zv_conn *c)
{
	if (!(c->flags & CF_ACCEPTQ))
		return;
	accept_take(c);
	c->flags |= CF_ORPHAN; /* nobody has the handle */
}

static struct conn_key *ended_at(struct zv_queue *q, const struct conn_key *key)
{
	uint32_t h = (key->peer_port ^ key->local_port * 2654435761u) * 2654435761u;

	return &q->ended[h >> 24];
}
_Static_assert(ZV_ENDED == 256, "ended_at() takes the top 8 bits");

bool conn_ended_recently(struct zv_queue *q, const struct conn_key *key)
{
	const struct conn_key *e = ended_at(q, key);

	return e->cid == key->cid && e->peer_port == key->peer_port &&
	       e->local_port == key->local_port;
}

void conn_free(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	unlink_all(c);
	leave_accept_queue(c);
	conn_not_ready(c);
	if (c->flags & CF_CLOSED)
		TAILQ_REMOVE(&q->closed.list, c, closed.link);
	if (c->flags & CF_IN_TABLE)
		conn_table_remove(&q->conns, &c->node);
	conn_uncount(c);
	c->sock->rx_drop(c);
	if (c->sock->path)
		c->sock->path->free(c);
	rx_forget(c);
	rx_promise_back(c);
	if (q->pool.nfree < FREE_CONNS_CACHED) {
		c->next_free = q->pool.free;
		q->pool.free = c;
		q->pool.nfree++;
	} else {
		free(c);
	}
}

void conn_over(struct zv_conn *c, int err)
{
	struct zv_queue *q = c->q;

	/* A RST that found no room goes to the queue's side ring: the connection need not stay. */
	if (c->pending & CP_RST)
		tx_rst_of(c);
	unlink_all(c);
	if (c->sock->path)
		c->sock->path->over(c);
	if (err)
		leave_accept_queue(c);
	if (c->state == VC_CONNECTING)
		c->flags |= CF_NEW; /* zv_connect is over, with an error */
	c->state = VC_CLOSED;
	c->err = err;
	if (err == -ECONNRESET)
		stats_add(&q->tq->stats.conns_reset, 1);
	if (c->flags & CF_IN_TABLE) {
		conn_table_remove(&q->conns, &c->node);
		*ended_at(q, &c->node.key) = c->node.key;
	}
	c->flags &= ~CF_IN_TABLE;
	conn_uncount(c);
	rx_forget(c);
	if (c->flags & CF_INTERNAL) {
		peer_hung_up(c);
		conn_free(c);
		return;
	}
	if (c->flags & CF_ORPHAN) {
		conn_free(c);
		return;
	}
	if (!(c->flags & CF_CLOSED)) {
		c->closed.seq = ++q->closed.seq;
		TAILQ_INSERT_TAIL(&q->closed.list, c, closed.link);
	}
	c->flags |= CF_CLOSED;
	conn_ready(c);
}

void conn_abort(struct zv_conn *c, int err)
{
	/*
	 * A connection that was never answered is refused as by a port without listener: without
	 * credit.
	 */
	if (c->state == VC_REQUESTED)
		tx_rst_of(c);
	else
		tx_ctrl(c, CP_RST);
	conn_over(c, err);
}

ssize_t conn_rx_lost(struct zv_conn *c, size_t done)
{
	(void)rx_drop_lost(c);
	conn_abort(c, -ECONNRESET);
	return done ? (ssize_t)done : -ECONNRESET;
}

void conn_end_drained(struct zv_conn *c)
{
	c->flags &= ~CF_DRAINED;
	if ((c->state == VC_CONNECTED || c->state == VC_CLOSING) && rx_drained(c))
		conn_abort(c, 0);
}

/* Ends @c, which is in an accept queue and will not be accepted. */
static void unaccepted(struct zv_conn *c)
{
	if (c->state == VC_CLOSED) {
		conn_free(c);
		return;
	}
	conn_abort(c, -ECONNRESET);
}

void conns_unaccepted(struct zv_queue *q)
{
	struct accept_queue *a = NULL;
	struct zv_conn *c;

	while ((a = listener_closed_next(q, a))) {
		while ((c = TAILQ_FIRST(&a->conns)))
			unaccepted(c); /* and off the list: NOLINT(clang-analyzer-unix.Malloc) */
		if (a->count)
			accept_waiting(q, a, 0); /* datagrams, which nobody can receive any more */
	}
}

void conns_fini(struct zv_queue *q)
{
	struct zv_conn *c;

	while ((c = q->pool.free)) {
		q->pool.free = c->next_free;
		free(c);
	}
}
