/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue's own work, and waiting for it.
 *
 * zv_wait polls for spin_ns and then arms and sleeps. Two rules make polling bearable on few
 * cores. First, an idle poller offers the CPU: sched_yield after every 64 empty polls. Second, it
 * looks at how long that took: longer than an empty system call means that somebody else ran here,
 * most likely the very peer that is being waited for, so from then on it yields after every empty
 * poll (q->crowded) until a yield comes back at once. With each side on a CPU of its own the cost
 * is one cheap system call per 64 polls; with everything on one CPU a round trip is two yields.
 *
 * A signal handler that runs while zv_wait polls leaves no trace that a later system call could
 * return -EINTR for. So once it has been idle for a while, and before it sleeps, zv_wait blocks
 * signals; ppoll lets them in, and says so, at intervals or in its sleep. What came before is as
 * if it had come before the call.
 */
#include "socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define POLLS_PER_YIELD 64u
#define POLLS_PER_CLOCK 32u
#define POLLS_BEHIND	1024u /* bursts in the largest ring */
#define YIELD_TAKEN_NS	1000u /* a sched_yield that took longer let somebody else run */
#define SIGNAL_LOOK_NS	50000u

/*
 * The last bytes of a peer that has closed and gone lie in the ring with its SHUTDOWN. Nothing is
 * sent meanwhile: the rings may run again by now, for another peer.
 */
static void take_rest(struct zv_queue *q)
{
	int got;

	if (!q->ops->rx_rest)
		return;
	q->no_tx = 1;
	while ((got = q->ops->rx_rest(q->tq, q->pkts, ZV_BURST)) > 0)
		for (int i = 0; i < got; i++)
			rx_packet(q, &q->pkts[i]);
	q->no_tx = 0;
}

void queue_sync(struct zv_queue *q)
{
	uint64_t guest;

	if (q->session == q->tq->session)
		return;
	q->session = q->tq->session;
	take_rest(q);
	conn_reset_all(q);
	guest = q->ops->guest_cid(q->dev->t);
	q->own_cid = q->host ? VSOCK_CID_HOST : guest;
	q->peer_cid = q->host ? guest : VSOCK_CID_HOST;
	__atomic_store_n(&q->hello, HELLO_OFF, __ATOMIC_RELAXED);
	q->peer_hello.caps = 0;
	q->incoming = 0;
	q->max_pkt = ZV_PLAIN_PKT;
	if (!q->tq->up)
		return;
	if (q->ops->role == ZV_ROLE_GUEST && !(q->dev->opts.flags & ZV_OPT_NO_HELLO))
		ctrl_start(q);
}

/* ---- events ---- */

static uint32_t events_of(struct zv_conn *c)
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
	if ((c->flags & CF_WANT_OUT) && !(c->flags & CF_TXWAIT) &&
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
		uint32_t ev = events_of(c) & (c->mask | ZV_EV_ERR);
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

static void disarm(struct zv_queue *q)
{
	uint64_t ticks;

	q->armed = 0;
	q->tick = 0; /* look at the clock: time has passed */
	q->ops->disarm(q->tq);
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

int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	unsigned buffers;
	int got;

	queue_sync(q);
	if (q->armed)
		disarm(q);
	got = q->ops->rx_burst(q->tq, q->pkts, ZV_BURST);
	for (int i = 0; i < got; i++)
		rx_packet(q, &q->pkts[i]);
	if (q->rst_count || !TAILQ_EMPTY(&q->ctrl))
		tx_ctrl_flush(q);
	if (q->hello_due)
		ctrl_flush(q);
	if (!TAILQ_EMPTY(&q->more))
		tx_more_flush(q);
	if (TAILQ_EMPTY(&q->txwait))
		q->contended &= q->fresh_turns != 0; /* those woken last have not had theirs */
	else if ((buffers = q->ops->tx_ready(q->tq)))
		tx_wake_waiters(q, buffers);
	if (clock_due(q, got) && conn_timers_next(q) != UINT64_MAX) {
		q->now = zv_now();
		conn_timers_run(q);
	}
	if (q->listen_gen != __atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE))
		listener_sync(q);
	q->ops->publish(q->tq);
	return (int)report(q, events, max);
}

/* ---- arm and wait ---- */

static int arm_rings(struct zv_queue *q)
{
	unsigned what = 0;

	q->armed_until = UINT64_MAX;
	if (q->session != q->tq->session) /* zv_poll has work to do */
		return -EAGAIN;
	if (!TAILQ_EMPTY(&q->ready) || !TAILQ_EMPTY(&q->more) || q->naccepts)
		return -EAGAIN;
	if (!TAILQ_EMPTY(&q->txwait) || !TAILQ_EMPTY(&q->ctrl) || q->rst_count || q->hello_due)
		what = ARM_TX;
	if (q->ops->arm(q->tq, what))
		return -EAGAIN;
	q->armed = ARMED;
	return 0;
}

static void set_timer(struct zv_queue *q, uint64_t when)
{
	struct itimerspec t = {.it_value = {.tv_sec = (time_t)(when / 1000000000u),
					    .tv_nsec = (long)(when % 1000000000u)}};

	(void)timerfd_settime(q->timerfd, TFD_TIMER_ABSTIME, &t, NULL);
	q->armed_until = when;
}

int queue_arm(struct zv_queue *q)
{
	int ret = arm_rings(q);
	uint64_t next = conn_timers_next(q);

	if (ret == 0 && next != UINT64_MAX)
		set_timer(q, next);
	return ret;
}

void queue_rearm(struct zv_queue *q)
{
	uint64_t until = q->armed_until, next = conn_timers_next(q);

	if (q->armed == ARMED_SPOKEN)
		return;
	if (arm_rings(q)) {
		set_timer(q, 1); /* long ago: zv_fd is readable at once */
		q->armed = ARMED_SPOKEN;
	} else if (next < until) {
		set_timer(q, next);
	} else {
		q->armed_until = until;
	}
}

static int enter_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	int n = 0;

	if (quiesce_enter(&q->tq->qs)) {
		n = queue_poll(q, events, max);
		quiesce_leave(&q->tq->qs);
	}
	return n;
}

/* ---- signals ---- */

struct signals {
	sigset_t before; /* the caller's mask, while held */
	bool held;
	uint64_t looked; /* when they were let in, or began to be held */
};

/* From here on signals wait for ppoll. Not those of faults (guest memory may go), nor profilers'.
 */
static void signals_hold(struct signals *s)
{
	static const int never[] = {SIGBUS, SIGSEGV, SIGILL,  SIGFPE,	SIGTRAP,
				    SIGSYS, SIGABRT, SIGPROF, SIGVTALRM};
	sigset_t most;

	if (s->held)
		return;
	(void)sigfillset(&most);
	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		(void)sigdelset(&most, never[i]);
	s->held = pthread_sigmask(SIG_BLOCK, &most, &s->before) == 0;
}

static void signals_restore(const struct signals *s)
{
	if (s->held)
		(void)pthread_sigmask(SIG_SETMASK, &s->before, NULL);
}

/* Lets in what waits. True: there was a handler to run. */
static bool signals_look(struct signals *s, uint64_t now)
{
	const struct timespec none = {0, 0};

	s->looked = now;
	if (s->held)
		return ppoll(NULL, 0, &none, &s->before) < 0 && errno == EINTR;
	signals_hold(s);
	return false;
}

/* ---- wait ---- */

/* Sleeps until the rings, a timer or @deadline. 0 or -EINTR. */
static int doze(struct zv_queue *q, uint64_t deadline, struct signals *s)
{
	struct pollfd p = {.fd = q->ops->fd(q->tq), .events = POLLIN};
	uint64_t next = UINT64_MAX, now;
	struct timespec t;
	int armed = -EAGAIN, ret;

	signals_hold(s);
	if (quiesce_enter(&q->tq->qs)) {
		armed = arm_rings(q);
		next = conn_timers_next(q);
		quiesce_leave(&q->tq->qs);
	}
	if (armed)
		return 0;
	next = deadline < next ? deadline : next;
	now = zv_now();
	next = next > now ? next - now : 0;
	t = (struct timespec){(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
	ret = ppoll(&p, 1, next > INT64_MAX / 2 ? NULL : &t, s->held ? &s->before : NULL);
	tq_count(&q->tq->stats.wakeups, 1);
	return ret < 0 && errno == EINTR ? -EINTR : 0;
}

/* One idle moment of a poller; see the theory above. */
static void idle_moment(struct zv_queue *q, unsigned idle, uint64_t *now)
{
	uint64_t before;

	if (!q->crowded && idle % POLLS_PER_YIELD) {
		shm_relax();
		return;
	}
	before = zv_now();
	sched_yield();
	*now = zv_now();
	q->crowded = *now - before > YIELD_TAKEN_NS;
}

static int wait_loop(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns,
		     struct signals *s)
{
	uint64_t start = 0, now = 0, deadline = UINT64_MAX, spin = q->dev->opts.spin_ns;
	bool busy = q->dev->opts.flags & ZV_OPT_BUSY_POLL;
	int n, ret;

	for (unsigned idle = 1;; idle++) {
		n = enter_poll(q, events, max);
		if (n || timeout_ns == 0)
			return n;
		if (!start) {
			start = now = s->looked = zv_now();
			if (timeout_ns < UINT64_MAX - start)
				deadline = start + timeout_ns;
		}
		if (now >= deadline)
			return 0;
		idle_moment(q, idle, &now);
		if (now - s->looked >= SIGNAL_LOOK_NS && signals_look(s, now))
			return -EINTR;
		if (busy || now - start < spin)
			continue;
		ret = doze(q, deadline, s);
		if (ret)
			return ret;
		start = now = zv_now();
	}
}

int queue_wait(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns)
{
	struct signals s = {.held = false};
	int ret = wait_loop(q, events, max, timeout_ns, &s);

	signals_restore(&s);
	return ret;
}

int queue_fds_open(struct zv_queue *q)
{
	struct epoll_event ev = {.events = EPOLLIN};

	q->epfd = epoll_create1(EPOLL_CLOEXEC);
	q->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (q->epfd < 0 || q->timerfd < 0 ||
	    epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->timerfd, &ev) < 0 ||
	    epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->ops->fd(q->tq), &ev) < 0)
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
