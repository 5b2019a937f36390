/* SPDX-License-Identifier: BSD-3-Clause */
#include "poll.h"

#include "arm.h"
#include "session.h"
#include "socket/chan/chan.h"
#include "socket/chan/grant.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/credit.h"
#include "socket/core/listener.h"
#include "socket/core/timer.h"
#include "socket/rx/hello_conn.h"
#include "socket/rx/rx.h"
#include "socket/tx/tx_data.h"
#include "socket/tx/tx_mem.h"

#define POLLS_PER_CLOCK 32u
#define POLLS_BEHIND	1024u /* bursts in the largest ring */

/* ---- events ---- */

/*
 * The application wants an event for what has arrived. Only events use this: receiving calls and
 * the end of the stream depend on conn_has_data(), so what is here can always be read.
 */
static bool conn_readable(const struct zv_conn *c)
{
	return conn_has_data(c);
}

/* The slow half of conn_events(): a connection in any state. */
static __attribute__((noinline)) uint32_t any_events(const struct zv_conn *c)
{
	uint32_t ev = 0;

	if (c->flags & CF_NEW)
		ev |= ZV_EV_CONNECT;
	if (conn_readable(c))
		ev |= ZV_EV_IN;
	if (c->flags & CF_WOKEN)
		ev |= ZV_EV_WAKE;
	if (c->state == VC_CLOSED && c->err)
		return ev | ZV_EV_ERR;
	if (!conn_has_data(c) && !(c->flags & CF_EOF_SEEN) &&
	    (c->state == VC_CLOSED || !vsock_shut_can_recv(&c->shut)))
		ev |= ZV_EV_IN;
	if (c->state == VC_CLOSED || c->shut.peer == VSOCK_SHUTDOWN_BOTH)
		ev |= ZV_EV_HUP;
	if ((c->state == VC_CLOSED || c->shut.peer & VSOCK_SHUTDOWN_RCV) &&
	    !(c->shut.local & VSOCK_SHUTDOWN_SEND))
		ev |= ZV_EV_EPIPE;
	if ((c->flags & CF_WANT_OUT) && c->flow.turn != TX_WAITING && !tx_behind_ctrl(c) &&
	    (c->sock->has_room(c) || c->state == VC_CLOSED || !vsock_shut_can_send(&c->shut)))
		ev |= ZV_EV_OUT;
	return ev;
}

uint32_t conn_events(const struct zv_conn *c)
{
	/* Most often a connection is established, and there is nothing but data to report. */
	if (c->state == VC_CONNECTED && !(c->shut.local | c->shut.peer) &&
	    !(c->flags & (CF_NEW | CF_WOKEN | CF_WANT_OUT)))
		return conn_readable(c) ? ZV_EV_IN : 0;
	return any_events(c);
}

/*
 * Once all connections on the list have been reported, those that become ready go before those that
 * have remained so: a short message does not wait until the program has worked on a long one of a
 * connection that always has more. While some are left for the next call, new ones go behind them,
 * so that each has its turn.
 */
static unsigned ready_events(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	struct zv_conn *last = TAILQ_LAST(&q->ready, conn_list), *c;
	bool end = false;
	unsigned n = 0;

	while (!end && n < max && (c = TAILQ_FIRST(&q->ready))) {
		uint32_t ev = conn_events(c) & (c->mask | ZV_EV_ERR);

		end = c == last;
		if (!ev) {
			TAILQ_REMOVE(&q->ready, c, ready_link);
			c->flags &= ~CF_READY;
		} else {
			events[n++] = (struct zv_event){
				.conn = c, .user = c->user, .events = ev, .err = c->err};
			if (ev & (ZV_EV_CONNECT | ZV_EV_WAKE))
				c->flags &= ~((ev & ZV_EV_CONNECT ? CF_NEW : 0) |
					      (ev & ZV_EV_WAKE ? CF_WOKEN : 0));
			/* Level-triggered: to the end of the list, to be checked again. */
			if (TAILQ_NEXT(c, ready_link)) {
				TAILQ_REMOVE(&q->ready, c, ready_link);
				TAILQ_INSERT_TAIL(&q->ready, c, ready_link);
			}
		}
	}
	q->ready_at = end ? NULL : TAILQ_LAST(&q->ready, conn_list);
	return n;
}

/*
 * Ports and connections share the slots of @events, so that neither can crowd out the other; an odd
 * slot, or the only one, goes to each in turn.
 */
static __attribute__((noinline)) unsigned report_ports(struct zv_queue *q, struct zv_event *events,
						       unsigned max)
{
	uint32_t ports = q->accept.ndue;
	unsigned n;

	if (TAILQ_EMPTY(&q->ready))
		return accept_events(q, events, max, &ports);
	q->accept.first ^= 1;
	n = accept_events(q, events, (max + q->accept.first) / 2, &ports);
	n += ready_events(q, events + n, max - n);
	return n + accept_events(q, events + n, max - n, &ports);
}

static inline unsigned report(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	if (__builtin_expect(q->accept.ndue != 0, 0))
		return report_ports(q, events, max);
	return TAILQ_EMPTY(&q->ready) ? 0 : ready_events(q, events, max);
}

/* ---- work ---- */

/*
 * Whether to check the timers after a burst of @got packets. Answers that lie in the ring are
 * handled before their time-outs, because this thread may have been off the CPU for seconds. But
 * timers are not postponed for ever, because a ring may never be empty.
 */
static bool clock_due(struct zv_queue *q, int got)
{
	if (q->clock.tick++ % POLLS_PER_CLOCK)
		return false;
	if ((got == ZV_BURST || q->tq->rx_more) && q->clock.behind < POLLS_BEHIND) {
		q->clock.behind++;
		q->clock.tick = 0;
		return false;
	}
	q->clock.behind = 0;
	return true;
}

void queue_work(struct zv_queue *q)
{
	unsigned buffers;
	int got;

	session_sync(q);
	if (q->arm.state)
		queue_disarm(q);
	if (q->session.leaving) {
		session_go_on(q);
		if (q->rx.chores)
			rx_chores(q);
		q->tq->ops->publish(q->tq);
		return;
	}
	rx_faults_rebase(q);
	got = q->tq->ops->rx_burst(q->tq, q->pkts, ZV_BURST);
	for (int i = 0; i < got; i++)
		rx_packet(q, &q->pkts[i]);
	if (__builtin_expect(q->chans.n, 0))
		chans_poll(q);
	if (tx_ctrl_waits(q))
		tx_ctrl_flush(q);
	if (__builtin_expect(q->grants.mapping, 0))
		grants_check(q);
	if (hello_waits(q))
		hello_flush(q);
	if (q->budgets.due)
		queue_budgets_some(q);
	if (__builtin_expect(q->rx.chores, 0))
		rx_chores(q);
	if (!TAILQ_EMPTY(&q->more))
		tx_more_flush(q);
	if (__builtin_expect(q->mem.out, 0))
		mem_sends_check(q);
	if (!tx_sched_waiting(&q->sched))
		tx_sched_idle(&q->sched);
	else if ((buffers = q->tq->ops->tx_ready(q->tq)))
		tx_wake_waiters(q, buffers);
	if (clock_due(q, got) && queue_timers_next(q) != UINT64_MAX) {
		q->clock.now = queue_clock(q);
		conn_timers_run(q);
		if (__builtin_expect(q->chans.next_tick <= q->clock.now, 0))
			chans_tick(q);
		if (__builtin_expect(q->peer.retry_at <= q->clock.now, 0))
			hello_again(q);
	}
	if (listener_closed(q))
		conns_unaccepted(q);
	q->tq->ops->publish(q->tq);
}

int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	unsigned n = 0;

	queue_work(q);
	/* First, so that other events cannot delay it; any number of wakes is one flag. */
	if (queue_woken(q) && __atomic_exchange_n(&q->arm.wake, 0, __ATOMIC_ACQUIRE))
		events[n++] = (struct zv_event){.events = ZV_EV_WAKE};
	if (__builtin_expect(q->hello.events != 0, 0) && n < max)
		events[n++] = (struct zv_event){.events = ZV_EV_BROKER};
	if (__builtin_expect(mem_send_over(q), 0) && n < max)
		events[n++] = (struct zv_event){.events = ZV_EV_SENT};
	return (int)(n + report(q, events + n, max - n));
}
