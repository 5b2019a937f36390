/* SPDX-License-Identifier: BSD-3-Clause */
/* The queue's own work, its events, and asking for notifications. Waiting for them is wait.c. */
#include "socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define POLLS_PER_CLOCK 32u
#define POLLS_BEHIND	1024u /* bursts in the largest ring */

/*
 * The last bytes of a peer that has closed and gone lie in the ring with its SHUTDOWN. Nothing is
 * sent meanwhile: the rings may run again by now, for another peer.
 */
static void take_rest(struct zv_queue *q)
{
	bool late = q->leaving; /* the session of what comes never began here: it is nobody's */
	int got;

	if (!q->tq->ops->rx_rest)
		return;
	q->no_tx = 1;
	while ((got = q->tq->ops->rx_rest(q->tq, q->pkts, ZV_BURST)) > 0)
		for (int i = 0; i < got; i++)
			late ? rx_drop(q, &q->pkts[i]) : rx_packet(q, &q->pkts[i]);
	q->no_tx = 0;
}

/* No connection of the former session is left. */
static void begin_session(struct zv_queue *q)
{
	uint64_t guest;

	q->leaving = 0;
	q->session = q->leaving_to;
	guest = q->dev->ops->guest_cid(q->dev->t);
	q->own_cid = q->host ? VSOCK_CID_HOST : guest;
	q->peer_cid = q->host ? guest : VSOCK_CID_HOST;
	__atomic_store_n(&q->hello, HELLO_OFF, __ATOMIC_RELAXED);
	q->peer_hello.caps = 0;
	q->hello_by = UINT64_MAX;
	q->incoming = 0;
	q->max_pkt = ZV_PLAIN_PKT;
	if (!q->tq->up)
		return;
	/*
	 * A driver that has been running may hold connections of former sessions, whoever served
	 * them; a fresh one does not, and may have new ones by now from the same ports.
	 */
	if (!q->tq->inherited)
		q->rst_count = 0;
	ctrl_start(q);
}

void queue_sync(struct zv_queue *q)
{
	if (q->session == q->tq->session || (q->leaving && q->leaving_to == q->tq->session))
		return;
	take_rest(q);
	q->leaving = 1;
	q->leaving_to = q->tq->session;
	conn_leave_begin(q);
	if (conn_leave_some(q))
		begin_session(q);
}

/* ---- events ---- */

uint32_t conn_events(const struct zv_conn *c)
{
	bool have = c->type == ZV_STREAM ? c->rx_head != LOAN_NONE : c->seq.msgs != 0;
	uint32_t ev = 0;

	if (c->flags & CF_NEW)
		ev |= ZV_EV_CONNECT;
	if (have)
		ev |= ZV_EV_IN;
	if (c->state == VC_CLOSED && c->err)
		return ev | ZV_EV_ERR;
	if (!have && !(c->flags & CF_EOF_SEEN) &&
	    (c->state == VC_CLOSED || !vsock_shut_can_recv(&c->shut)))
		ev |= ZV_EV_IN;
	if (c->state == VC_CLOSED || c->shut.peer == VSOCK_SHUTDOWN_BOTH)
		ev |= ZV_EV_HUP;
	if ((c->state == VC_CLOSED || c->shut.peer & VSOCK_SHUTDOWN_RCV) &&
	    !(c->shut.local & VSOCK_SHUTDOWN_SEND))
		ev |= ZV_EV_EPIPE;
	if ((c->flags & CF_WANT_OUT) && c->flow.turn != TX_WAITING &&
	    !(c->pending & (CP_REQUEST | CP_RESPONSE)) &&
	    (tx_has_credit(c) || c->state == VC_CLOSED || !vsock_shut_can_send(&c->shut)))
		ev |= ZV_EV_OUT;
	return ev;
}

static unsigned ready_events(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	struct zv_conn *last = TAILQ_LAST(&q->ready, conn_list), *c;
	unsigned n = 0;

	while (n < max && (c = TAILQ_FIRST(&q->ready))) {
		uint32_t ev = conn_events(c) & (c->mask | ZV_EV_ERR);
		bool end = c == last;

		TAILQ_REMOVE(&q->ready, c, ready);
		if (ev) {
			events[n++] = (struct zv_event){
				.conn = c, .user = c->user, .events = ev, .err = c->err};
			if (ev & ZV_EV_CONNECT)
				c->flags &= ~CF_NEW;
			TAILQ_INSERT_TAIL(&q->ready, c, ready); /* level: look again next time */
		} else {
			c->flags &= ~CF_READY;
		}
		if (end)
			break;
	}
	return n;
}

/*
 * Ports and connections share the places, so that those which nobody looks after cannot hide the
 * others; an odd place, or the only one, goes to either in turn.
 */
static unsigned report(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	uint32_t ports = q->naccepts;
	unsigned n;

	if (TAILQ_EMPTY(&q->ready))
		return ports ? accept_events(q, events, max, &ports) : 0;
	if (!ports)
		return ready_events(q, events, max);
	q->accept_first ^= 1;
	n = accept_events(q, events, (max + q->accept_first) / 2, &ports);
	n += ready_events(q, events + n, max - n);
	return n + accept_events(q, events + n, max - n, &ports);
}

/* ---- poll ---- */

/* zv_wake looks at it. */
static void set_armed(struct zv_queue *q, uint8_t armed)
{
	__atomic_store_n(&q->armed, armed, __ATOMIC_SEQ_CST);
}

static void disarm(struct zv_queue *q)
{
	uint64_t ticks;

	set_armed(q, 0);
	q->tick = 0; /* look at the clock: time has passed */
	q->tq->ops->disarm(q->tq);
	if (q->timerfd >= 0)
		(void)!read(q->timerfd, &ticks, sizeof(ticks));
}

/*
 * Time to look at the timers, after a burst of @got packets. Answers that lie in the ring come
 * before their time-outs: this thread may have been off the CPU for seconds. Not for ever, though:
 * a ring may never be empty.
 */
static bool clock_due(struct zv_queue *q, int got)
{
	if (q->tick++ % POLLS_PER_CLOCK)
		return false;
	if (got == ZV_BURST && q->behind < POLLS_BEHIND) {
		q->behind++;
		q->tick = 0;
		return false;
	}
	q->behind = 0;
	return true;
}

void queue_work(struct zv_queue *q)
{
	unsigned buffers;
	int got;

	queue_sync(q);
	if (q->armed)
		disarm(q);
	if (q->leaving) {
		if (conn_leave_some(q))
			begin_session(q);
		q->tq->ops->publish(q->tq);
		return;
	}
	got = q->tq->ops->rx_burst(q->tq, q->pkts, ZV_BURST);
	for (int i = 0; i < got; i++)
		rx_packet(q, &q->pkts[i]);
	if (q->rst_count || !TAILQ_EMPTY(&q->ctrl))
		tx_ctrl_flush(q);
	if (q->hello_due)
		ctrl_flush(q);
	if (q->budgets_due)
		ctrl_budgets(q);
	if (!TAILQ_EMPTY(&q->more))
		tx_more_flush(q);
	if (!tx_sched_waiting(&q->sched))
		tx_sched_idle(&q->sched);
	else if ((buffers = q->tq->ops->tx_ready(q->tq)))
		tx_wake_waiters(q, buffers);
	if (clock_due(q, got) && conn_timers_next(q) != UINT64_MAX) {
		q->now = queue_clock(q);
		conn_timers_run(q);
	}
	if (q->listen_gen != __atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE))
		listener_sync(q);
	q->tq->ops->publish(q->tq);
}

int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	unsigned n = 0;

	queue_work(q);
	/* First, so that others cannot keep it waiting; the flag is one for any number of wakes. */
	if (queue_woken(q) && __atomic_exchange_n(&q->wake, 0, __ATOMIC_ACQUIRE))
		events[n++] = (struct zv_event){.events = ZV_EV_WAKE};
	return (int)(n + report(q, events + n, max - n));
}

/* ---- arm ---- */

int queue_arm_rings(struct zv_queue *q, bool quiet)
{
	unsigned room;

	q->armed_until = UINT64_MAX;
	if (q->session != q->tq->session) /* zv_poll has work to do */
		return -EAGAIN;
	if (q->budgets_due || !TAILQ_EMPTY(&q->more) ||
	    (!quiet && (!TAILQ_EMPTY(&q->ready) || q->naccepts)))
		return -EAGAIN;
	if (!TAILQ_EMPTY(&q->ctrl) || q->rst_count || q->hello_due)
		room = 1;
	else
		room = tx_sched_least_need(&q->sched);
	if (q->tq->ops->arm(q->tq, room))
		return -EAGAIN;
	set_armed(q, ARMED); /* barrier pair [W] with zv_wake */
	return queue_woken(q) ? -EAGAIN : 0;
}

static void set_timer(struct zv_queue *q, uint64_t when)
{
	struct itimerspec t = {.it_value = {.tv_sec = (time_t)(when / 1000000000u),
					    .tv_nsec = (long)(when % 1000000000u)}};

	(void)timerfd_settime(q->timerfd, TFD_TIMER_ABSTIME, &t, NULL);
	q->armed_until = when;
}

/* After queue_arm_rings. -EAGAIN: zv_wake has set the timer before us, and that is lost. */
static int arm_timer(struct zv_queue *q, uint64_t when)
{
	if (when == UINT64_MAX)
		return 0;
	set_timer(q, when);
	return queue_woken(q) ? -EAGAIN : 0;
}

int queue_arm(struct zv_queue *q)
{
	int ret = queue_arm_rings(q, false);
	uint64_t next = conn_timers_next(q);

	return ret ? ret : arm_timer(q, next);
}

/* Makes zv_fd readable at once. */
static void speak(struct zv_queue *q)
{
	set_timer(q, 1); /* long ago */
	set_armed(q, ARMED_SPOKEN);
}

void queue_arm_again(struct zv_queue *q)
{
	if (queue_arm(q))
		speak(q);
}

void queue_rearm(struct zv_queue *q)
{
	uint64_t until = q->armed_until, next = conn_timers_next(q);

	if (q->armed == ARMED_SPOKEN)
		return;
	if (queue_arm_rings(q, false) || (next < until && arm_timer(q, next)))
		speak(q);
	else if (next >= until)
		q->armed_until = until;
}

int queue_fds_open(struct zv_queue *q)
{
	struct epoll_event ev = {.events = EPOLLIN};

	q->epfd = epoll_create1(EPOLL_CLOEXEC);
	q->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (q->epfd < 0 || q->timerfd < 0 ||
	    epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->timerfd, &ev) < 0 ||
	    epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->dev->ops->fd(q->tq), &ev) < 0)
		return -errno;
	return 0;
}

void queue_fds_close(struct zv_queue *q)
{
	if (q->epfd >= 0)
		close(q->epfd);
	if (q->timerfd >= 0)
		close(q->timerfd);
}
