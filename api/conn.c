/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a connection. Two holders: the table, while packets may arrive for it, and the
 * application, while it has the handle. conn_over() takes it out of the table; zv_conn_close gives
 * the handle back; who comes second frees it.
 *
 * A connection that waits in an accept queue is the application's already when its peer closes it
 * in order: it stays there, with what it had sent. When it is reset it goes: nobody has seen it.
 */
#include "socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TELL_AFTER_NS	1000000u /* small amounts of credit are told no more often than that */
#define LEAVE_LOOKS	4096	 /* at places of the table, in one go, when a session is over */
#define LEAVE_CONN	16	 /* what a connection costs, measured in empty places */
#define FREE_CONNS_KEPT 256u	 /* freed structures kept for the next connection of the queue */

uint64_t zv_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void conn_pkt_budget(struct zv_conn *c)
{
	if (!(queue_caps(c->q) & ZV_CAP_MANY_PKTS))
		credit_limit_packets(&c->credit, CREDIT_PKT_OVERHEAD);
	else
		credit_limit_packets(&c->credit, c->type == ZV_STREAM ? 0 : CREDIT_MSG_OVERHEAD);
	if (c->flags & CF_WANT_OUT)
		conn_ready(c);
}

static void timed_out(struct zv_conn *c);

/* Room in the table for one more. False: the application has max_conns of them. */
static bool make_room(struct zv_queue *q)
{
	struct zv_conn *c = TAILQ_FIRST(&q->timers[TIMER_CLOSE]);

	if (q->nlive >= q->dev->opts.max_conns)
		return false;
	/* Those that are finishing may be as many again; then the oldest has had its time. */
	if (q->conns.count >= q->conns.max && c)
		timed_out(c);
	return true;
}

/* @c is none of the application's max_conns any more. */
static void uncount(struct zv_conn *c)
{
	c->q->nlive -= !!(c->flags & CF_COUNTED);
	c->flags &= ~CF_COUNTED;
}

/*
 * Receive credit for a connection, out of what the queue has left (zv_opts.rx_memory). What it can
 * cost is promised with it: bytes, and the entry of each message of a SEQPACKET (loan.c bounds
 * these).
 */
#define PROMISE_LEAST 4096u
#define PROMISE_SEQ   8u /* bytes for a byte of tiny messages */

static uint32_t promise(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	uint64_t all = q->dev->opts.rx_memory / q->dev->nqueues, used = q->tq->stats.rx_promised;
	uint64_t most = used < all ? (all - used) / ZV_RX_SHARE : 0;
	unsigned cost = c->type == ZV_SEQPACKET ? PROMISE_SEQ : 1;
	uint32_t credit = q->dev->opts.buf_alloc;

	if (most < credit)
		credit = most > PROMISE_LEAST ? (uint32_t)most : PROMISE_LEAST;
	c->promised = credit * (uint64_t)cost;
	stats_add(&q->tq->stats.rx_promised, c->promised);
	return credit;
}

static void promise_back(struct zv_conn *c)
{
	stats_add(&c->q->tq->stats.rx_promised, -c->promised);
	c->promised = 0;
}

struct zv_conn *conn_new(struct zv_queue *q, const struct conn_key *key, unsigned type,
			 enum vc_state state, unsigned flags, int *err)
{
	struct zv_conn *c;

	if (!(flags & CF_INTERNAL)) {
		flags |= CF_COUNTED;
		*err = -ENOSPC;
		if (!make_room(q))
			return NULL;
	}
	c = q->free_conns;
	if (c) {
		q->free_conns = (struct zv_conn *)c->user;
		q->nfree--;
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
	c->type = (uint16_t)type;
	c->state = (uint8_t)state;
	c->rx_head = c->rx_tail = LOAN_NONE;
	c->mask = ~ZV_EV_EPIPE;
	c->opened_ns = zv_now();
	credit_init(&c->credit, promise(c));
	conn_pkt_budget(c);
	*err = conn_table_insert(&q->conns, &c->node);
	if (*err) {
		promise_back(c);
		free(c);
		return NULL;
	}
	c->id = c->node.id;
	c->flags = CF_IN_TABLE | flags;
	q->nlive += !!(flags & CF_COUNTED);
	return c;
}

/* ---- timers: three lists, each with one timeout, so a list is in the order of deadlines ---- */

void conn_timer_stop(struct zv_conn *c)
{
	if (c->flags & CF_TIMER)
		TAILQ_REMOVE(&c->q->timers[c->timer], c, timers);
	c->flags &= ~CF_TIMER;
}

void conn_timer_start(struct zv_conn *c, unsigned which, uint64_t timeout_ns)
{
	conn_timer_stop(c);
	c->q->now = queue_clock(c->q);
	c->timer = (uint8_t)which;
	c->deadline = time_after(c->q->now, timeout_ns);
	c->flags |= CF_TIMER;
	TAILQ_INSERT_TAIL(&c->q->timers[which], c, timers);
}

void conn_tell_soon(struct zv_conn *c)
{
	if (c->flags & CF_UNTOLD)
		return;
	c->flags |= CF_UNTOLD;
	c->tell_at = zv_now() + TELL_AFTER_NS;
	TAILQ_INSERT_TAIL(&c->q->untold, c, untold);
}

static void told(struct zv_conn *c)
{
	if (c->flags & CF_UNTOLD)
		TAILQ_REMOVE(&c->q->untold, c, untold);
	c->flags &= ~CF_UNTOLD;
}

uint64_t conn_timers_next(const struct zv_queue *q)
{
	const struct zv_conn *u = TAILQ_FIRST(&q->untold);
	uint64_t next = u && u->tell_at < q->hello_by ? u->tell_at : q->hello_by;

	for (unsigned i = 0; i < TIMERS; i++) {
		const struct zv_conn *c = TAILQ_FIRST(&q->timers[i]);

		if (c && c->deadline < next)
			next = c->deadline;
	}
	if (q->tq->paused_at || next > UINT64_MAX - q->tq->paused_ns)
		return UINT64_MAX;
	return next + q->tq->paused_ns;
}

static void timed_out(struct zv_conn *c)
{
	struct vc_step s = vc_step(c->state, VC_EV_TIMEOUT);

	conn_timer_stop(c);
	if (c->timer >= TIMER_CREDIT) {
		tx_credit_retry(c);
		return;
	}
	stats_add(&c->q->tq->stats.conns_timedout, 1);
	switch (s.action) {
	case VC_ACT_TIMEDOUT:
		/* The peer may have seen the REQUEST: it must not keep half a connection. */
		tx_ctrl(c, CP_RST);
		conn_over(c, -ETIMEDOUT);
		break;
	case VC_ACT_RST_FREE:
		tx_ctrl(c, CP_RST);
		conn_over(c, 0);
		break;
	default:
		/* An established HELLO connection without an answer: the peer runs plain. */
		if (c->flags & CF_INTERNAL) {
			tx_ctrl(c, CP_RST);
			conn_over(c, -ETIMEDOUT);
		}
	}
}

void conn_timers_run(struct zv_queue *q)
{
	struct zv_conn *c;

	for (unsigned i = 0; i < TIMERS; i++)
		while ((c = TAILQ_FIRST(&q->timers[i])) && c->deadline <= q->now)
			timed_out(c);
	if (q->hello_by <= q->now)
		ctrl_silent(q);
	while ((c = TAILQ_FIRST(&q->untold)) && c->tell_at <= q->now) {
		told(c);
		if (c->state == VC_CONNECTED && credit_peer_stuck(&c->credit))
			tx_ctrl(c, CP_CREDIT_UPDATE);
	}
}

/* ---- the end ---- */

/* Takes the connection off every list of its queue but the ready list. */
static void unlink_all(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	conn_timer_stop(c);
	told(c);
	if (c->flags & CF_CTRL)
		TAILQ_REMOVE(&q->ctrl, c, ctrl);
	tx_sched_leave(&q->sched, &c->flow);
	tx_more_drop(c);
	c->flags &= ~CF_CTRL;
	c->pending = 0;
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

bool conn_ended_lately(struct zv_queue *q, const struct conn_key *key)
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
	if (c->flags & CF_READY)
		TAILQ_REMOVE(&q->ready, c, ready);
	if (c->flags & CF_OVER)
		TAILQ_REMOVE(&q->over, c, overlink);
	if (c->flags & CF_IN_TABLE)
		conn_table_remove(&q->conns, &c->node);
	uncount(c);
	loan_drop_all(c);
	loan_forget(c);
	promise_back(c);
	if (q->nfree < FREE_CONNS_KEPT) {
		c->user = q->free_conns;
		q->free_conns = c;
		q->nfree++;
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
	uncount(c);
	loan_forget(c);
	if (c->flags & CF_INTERNAL) {
		ctrl_over(c);
		conn_free(c);
		return;
	}
	if (c->flags & CF_ORPHAN) {
		conn_free(c);
		return;
	}
	if (!(c->flags & CF_OVER)) {
		c->over_seq = ++q->over_seq;
		TAILQ_INSERT_TAIL(&q->over, c, overlink);
	}
	c->flags |= CF_OVER;
	conn_ready(c);
}

void conn_unaccepted(struct zv_conn *c)
{
	if (c->state == VC_CLOSED) {
		conn_free(c);
		return;
	}
	tx_ctrl(c, CP_RST);
	conn_over(c, -ECONNRESET);
}

bool conn_drained(struct zv_conn *c)
{
	if ((c->state != VC_CONNECTED && c->state != VC_CLOSING) || !vsock_shut_done(&c->shut) ||
	    c->rx_head != LOAN_NONE)
		return false;
	tx_ctrl(c, CP_RST);
	conn_over(c, 0);
	return true;
}

void conn_leave(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	bool gap, unknown;

	if (!(c->flags & CF_IN_TABLE))
		return;
	gap = q->leaving_gaps && loan_drop_lost(c);
	/* A peer that has not been asked yet knows nothing of it. */
	unknown = c->state == VC_CONNECTING && (c->pending & CP_REQUEST);
	c->pending = 0; /* the session that would carry it is over */
	q->no_tx = 1;	/* RSTs wait: see queue_sync */
	if (q->host && !unknown)
		tx_rst_of(c);
	/* Closed by the peer: all that it had sent is here, and it wants nothing more. */
	conn_over(c, c->shut.peer == VSOCK_SHUTDOWN_BOTH && !gap ? 0 : -ECONNRESET);
	q->no_tx = 0;
}

void conn_leave_begin(struct zv_queue *q)
{
	bool lost = q->lost != q->tq->lost;
	struct zv_conn *c;

	q->leave_at = 0;
	q->lost = q->tq->lost;
	q->leaving_gaps |= lost;
	if (lost)
		TAILQ_FOREACH(c, &q->over, overlink)
			if (loan_drop_lost(c))
				c->err = -ECONNRESET;
}

bool conn_leave_some(struct zv_queue *q)
{
	for (int looks = LEAVE_LOOKS; looks > 0 && q->leave_at < q->conns.slots; looks--) {
		struct conn_node *n = conn_table_at(&q->conns, q->leave_at++);

		if (!n)
			continue;
		conn_leave((struct zv_conn *)n);
		looks -= LEAVE_CONN;
	}
	if (q->leave_at < q->conns.slots)
		return false;
	q->leaving_gaps = 0;
	return true;
}

void conn_reset_all(struct zv_queue *q)
{
	conn_leave_begin(q);
	while (!conn_leave_some(q))
		;
}

/* The application gives its handle back: 0 or -EBUSY. */
static int give_back(struct zv_conn *c, const char *call)
{
	if (c->tx_loans)
		return zv_err(-EBUSY,
			      "%s: %u transmit buffers are still reserved on the connection: send "
			      "or cancel them first",
			      call, c->tx_loans);
	c->flags |= CF_ORPHAN;
	uncount(c);
	tx_sched_leave(&c->q->sched, &c->flow);
	if (c->flags & CF_READY)
		TAILQ_REMOVE(&c->q->ready, c, ready);
	c->flags &= ~(CF_READY | CF_WANT_OUT | CF_NEW);
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
	loan_drop_all(c);
	switch (s.action) {
	case VC_ACT_SEND_SHUTDOWN:
		if (vsock_shut_done(&c->shut)) {
			/* The peer has closed before: it waits for our RST, not for a SHUTDOWN. */
			tx_ctrl(c, CP_RST);
			conn_over(c, 0);
			break;
		}
		c->state = s.next;
		c->shut.local = VSOCK_SHUTDOWN_BOTH;
		conn_timer_start(c, TIMER_CLOSE, q->dev->opts.close_timeout_ns);
		tx_ctrl(c, CP_SHUTDOWN);
		break;
	case VC_ACT_RST_FREE:
		tx_ctrl(c, CP_RST);
		conn_over(c, 0);
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
	loan_drop_all(c);
	if (c->state == VC_CLOSED) {
		conn_free(c);
		return 0;
	}
	tx_more_drop(c);
	tx_ctrl(c, CP_RST);
	conn_over(c, 0);
	return 0;
}

int conn_answer(struct zv_conn *c, int err)
{
	if (c->state == VC_CLOSED && c->err) /* the guest or the clock was faster */
		return c->err;
	if (c->state != VC_REQUESTED || err > 0)
		return zv_err(-EINVAL, "zv_conn_answer: %s %s",
			      err > 0 ? "err must be 0 or negative; the connection is"
				      : "there is nothing to answer: the connection is",
			      vc_state_name(c->state));
	conn_timer_stop(c);
	if (err) {
		stats_add(&c->q->tq->stats.conns_refused, 1);
		tx_ctrl(c, CP_RST);
		conn_over(c, err);
		return 0;
	}
	c->state = VC_CONNECTED;
	stats_add(&c->q->tq->stats.conns_accepted, 1);
	tx_ctrl(c, CP_RESPONSE);
	return 0;
}
