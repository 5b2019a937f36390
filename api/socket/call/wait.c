/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocking calls, and zv_wake, which ends their sleep.
 *
 * Theory of operation
 * -------------------
 * A waiting call polls for spin_ns, yielding the CPU as described in spin.h, and then arms its
 * queues and sleeps.
 *
 * A signal handler that runs while a call polls leaves no trace that would make a later system call
 * return -EINTR. So once it has been idle for a while, and before it sleeps, a call blocks signals;
 * ppoll lets them in, and reports them, at intervals or while sleeping. A signal before that counts
 * as one before the call. A call that sleeps without having polled has done nothing yet during
 * which it could miss one, like any system call that sleeps: it blocks signals if that sleep brings
 * it nothing.
 *
 * A sleep is one system call (epoll_pwait2 on what is behind zv_fd) and usually sets no timer: if
 * the queue's timer expires before the time-out, it is left running, which mostly is a second or
 * more after a sleep of microseconds. At worst it causes one useless wake-up, and is then set to
 * what is due.
 *
 * Calls that wait for one connection (zv_conn_wait and those built on it) do the work of its queue
 * and report no events: events are computed from state, so those of other connections are still
 * there for the next zv_poll. Such events do not keep the call awake either: it arms *quietly*,
 * that is, although other connections have something to report.
 *
 * zv_wake sets q->arm.wake and, if the queue is armed, makes the queue's timer expire at once: the
 * timer's descriptor is part of zv_fd and of what a waiting call sleeps on. Waker [store wake; load
 * armed] and owner [store armed; load wake] are a Dekker pair (barrier pair [W]): one of the two
 * sees the other. The owner sets its own time-out before it checks wake for the last time, so it
 * cannot undo the waker's setting. A late waker makes the timer expire once for nothing.
 */
#include "socket/chan/grant.h"
#include "socket/core/timer.h"
#include "socket/queue/arm.h"
#include "socket/queue/poll.h"
#include "spin.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#define SIGNAL_CHECK_NS 50000u
#define SPIN_NONE_NS	1000u /* below this spin_ns a call does not poll */

/* One waiting call. Its first look at the clock is in wait_more(): most calls need none. */
struct waiting {
	struct zv_queue *const *queues;
	unsigned n;
	bool ignore_events;  /* events do not keep it awake */
	uint64_t timeout_ns; /* UINT64_MAX: no limit */
	uint64_t deadline;   /* 0: not known yet */
	uint64_t again;	     /* when it looks again in any case; 0: not before the deadline */
	uint64_t start, now; /* of this spell of polling; 0: not begun */
	unsigned idle;	     /* empty polls */
	bool slept;	     /* in this call */
	bool held;	     /* signals are */
	sigset_t before;     /* the caller's mask, while held */
	uint64_t checked;    /* when they were let in, or began to be held */
	const char *eintr;   /* the sentence for -EINTR; NULL: the caller has one */
};

/* ---- signals ---- */

/*
 * From here on signals wait for ppoll. Not those of faults (guest memory may go), nor those of
 * profilers.
 */
static void signals_hold(struct waiting *w)
{
	static const int never[] = {SIGBUS, SIGSEGV, SIGILL,  SIGFPE,	SIGTRAP,
				    SIGSYS, SIGABRT, SIGPROF, SIGVTALRM};
	sigset_t most;

	if (w->held)
		return;
	(void)sigfillset(&most);
	for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		(void)sigdelset(&most, never[i]);
	w->held = pthread_sigmask(SIG_BLOCK, &most, &w->before) == 0;
}

/* Delivers pending signals. True: a handler ran. */
static bool signals_check(struct waiting *w)
{
	const struct timespec none = {0, 0};

	w->checked = w->now;
	if (w->held)
		return ppoll(NULL, 0, &none, &w->before) < 0 && errno == EINTR;
	signals_hold(w);
	return false;
}

/* The end of a waiting call: @ret. */
static int done(struct waiting *w, int ret)
{
	if (w->held)
		(void)pthread_sigmask(SIG_SETMASK, &w->before, NULL);
	w->held = false;
	return ret == -EINTR && w->eintr ? zv_fail(ret, w->eintr) : ret;
}

/* ---- sleep ---- */

/* Arms all queues. Returns the time of the first timer, 0: there is work. */
static uint64_t arm_all(const struct waiting *w)
{
	uint64_t next = w->again && w->again < w->deadline ? w->again : w->deadline;

	for (unsigned i = 0; i < w->n; i++) {
		struct zv_queue *q = w->queues[i];
		uint64_t timer;
		int ret;

		if (!quiesce_enter(&q->tq->qs)) {
			spin_nap(); /* the control thread may need this CPU */
			return 0;
		}
		ret = queue_arm_rings(q, w->ignore_events);
		timer = queue_timers_next(q);
		quiesce_leave(&q->tq->qs);
		if (ret)
			return 0;
		next = timer < next ? timer : next;
	}
	return next;
}

/*
 * Sleeps on a single queue, and gets what woke it in the same system call. <0: -errno; -ENOSYS:
 * Linux before 5.11, or a seccomp filter that does not know the call.
 */
static int sleep_on_one(const struct waiting *w, uint64_t until, const sigset_t *mask)
{
	static bool missing;
	struct zv_queue *q = w->queues[0];
	struct epoll_event ev[FDS];
	int n;

	if (__atomic_load_n(&missing, __ATOMIC_RELAXED))
		return -ENOSYS;
	if (queue_timer_by(q, until))
		return 0;
	n = epoll_pwait2(q->arm.epfd, ev, FDS, NULL, mask);
	if (n >= 0) {
		queue_fds_seen(q, ev, n);
		return n;
	}
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	__atomic_store_n(&missing, true, __ATOMIC_RELAXED);
	return -ENOSYS;
}

static int sleep_on_all(const struct waiting *w, uint64_t until, const sigset_t *mask)
{
	uint64_t now = until == UINT64_MAX ? 0 : zv_now(), left = until > now ? until - now : 0;
	struct timespec t = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
	struct pollfd p[ZV_WAIT_QUEUES_MAX];
	int n;

	for (unsigned i = 0; i < w->n; i++)
		p[i] = (struct pollfd){.fd = w->queues[i]->arm.epfd, .events = POLLIN};
	n = ppoll(p, w->n, until == UINT64_MAX ? NULL : &t, mask);
	if (n < 0)
		return -errno;
	for (unsigned i = 0; i < w->n; i++)
		if (!p[i].revents)
			queue_fds_seen(w->queues[i], NULL, 0);
	return n;
}

/* Sleeps until the rings, bells, a timer, zv_wake or the deadline. 0 or -EINTR. */
static int doze(struct waiting *w)
{
	const sigset_t *mask;
	uint64_t until;
	int ret = -ENOSYS;

	if (w->idle || w->slept)
		signals_hold(w);
	w->slept = true;
	mask = w->held ? &w->before : NULL;
	until = arm_all(w);
	if (!until)
		return 0;
	if (w->n == 1)
		ret = sleep_on_one(w, until, mask);
	if (ret == -ENOSYS)
		ret = sleep_on_all(w, until, mask);
	for (unsigned i = 0; i < w->n; i++)
		stats_add(&w->queues[i]->tq->stats.wakeups, 1);
	return ret == -EINTR ? ret : 0;
}

/* How long to poll before sleeping. UINT64_MAX: never sleep. */
static uint64_t spin_ns(const struct waiting *w)
{
	uint64_t spin = 0;

	for (unsigned i = 0; i < w->n; i++) {
		const struct zv_opts *o = &w->queues[i]->dev->opts;

		if (o->flags & ZV_OPT_BUSY_POLL)
			return UINT64_MAX;
		spin = o->spin_ns > spin ? o->spin_ns : spin;
	}
	return spin;
}

/* The first look at the clock in this spell of polling. */
static void begin_spell(struct waiting *w)
{
	w->start = w->now = zv_now();
	if (w->deadline) {
		signals_hold(w); /* it has slept */
		return;
	}
	w->checked = w->now;
	w->deadline = w->timeout_ns < UINT64_MAX - w->now ? w->now + w->timeout_ns : UINT64_MAX;
}

/* To be called after polls that found nothing. 0: poll again; -EAGAIN: the time is over; -EINTR. */
static int wait_more(struct waiting *w)
{
	struct idle *idle = &w->queues[0]->wait.idle;
	uint64_t spin;

	if (w->timeout_ns == 0)
		return -EAGAIN;
	if (!w->start)
		begin_spell(w);
	if (w->now >= w->deadline)
		return -EAGAIN;
	spin = spin_ns(w);
	/*
	 * There was a poll since the clock was last read: a peer that was given this CPU may have
	 * answered.
	 */
	if (w->now - w->start >= spin || spin < SPIN_NONE_NS ||
	    (spin != UINT64_MAX && idle_sleeps(idle, w->now))) {
		w->start = 0;
		return doze(w);
	}
	w->now = idle_moment(idle, ++w->idle, w->now);
	return w->now - w->checked >= SIGNAL_CHECK_NS && signals_check(w) ? -EINTR : 0;
}

/* ---- any event of queues ---- */

static int enter_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	int n = 0;

	if (quiesce_enter(&q->tq->qs)) {
		n = queue_poll(q, events, max);
		quiesce_leave(&q->tq->qs);
	}
	return n;
}

/* Not inlined, so that zv_wait() is short when there is something at once. */
static __attribute__((noinline)) int wait_queue(struct zv_queue *q, struct zv_event *events,
						unsigned max, uint64_t timeout_ns)
{
	struct waiting w = {.queues = &q,
			    .n = 1,
			    .timeout_ns = timeout_ns,
			    .eintr = "zv_wait: a signal handler has run meanwhile"};
	int n = 0, ret;

	do {
		ret = wait_more(&w);
		if (!ret)
			n = enter_poll(q, events, max);
	} while (!ret && !n);
	return done(&w, ret == -EAGAIN ? 0 : ret ? ret : n);
}

int zv_wait(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns)
{
	int n;

	if (!q || !events || !max)
		return zv_err(-EINVAL, "zv_wait: queue, events and max must be set");
	n = enter_poll(q, events, max); /* most often there is something at once */
	return n || !timeout_ns ? n : wait_queue(q, events, max, timeout_ns);
}

/* Events of all queues, starting with a different queue each time that there are any. */
static unsigned poll_all(const struct waiting *w, struct zv_event *events, unsigned max)
{
	uint32_t *first = &w->queues[0]->wait.next;
	unsigned n = 0, k = *first < w->n ? *first : 0;

	for (unsigned i = 0; i < w->n && n < max; i++) {
		unsigned got = (unsigned)enter_poll(w->queues[k], events + n, max - n);

		for (; got; got--)
			events[n++].queue = k;
		k = k + 1 == w->n ? 0 : k + 1;
	}
	if (n)
		*first = *first + 1 < w->n ? *first + 1 : 0;
	return n;
}

int zv_wait_queues(struct zv_queue *const *queues, unsigned n, struct zv_event *events,
		   unsigned max, uint64_t timeout_ns)
{
	struct waiting w = {.queues = queues,
			    .n = n,
			    .timeout_ns = timeout_ns,
			    .eintr = "zv_wait_queues: a signal handler has run meanwhile"};
	unsigned got;
	int ret;

	if (!queues || !n || n > ZV_WAIT_QUEUES_MAX || !events || !max)
		return zv_err(-EINVAL,
			      "zv_wait_queues: queues, events and max must be set, and n, which is "
			      "%u, must be 1..%u",
			      n, ZV_WAIT_QUEUES_MAX);
	for (unsigned i = 0; i < n; i++)
		if (!queues[i])
			return zv_err(-EINVAL, "zv_wait_queues: queue %u of %u is NULL", i, n);
	do {
		got = poll_all(&w, events, max);
		if (got)
			return done(&w, (int)got);
		ret = wait_more(&w);
	} while (!ret);
	return done(&w, ret == -EAGAIN ? 0 : ret);
}

void zv_wake(struct zv_queue *q)
{
	const struct itimerspec now = {.it_value = {.tv_nsec = 1}};
	int saved = errno; /* a signal handler must not change it */

	if (!q)
		return;
	/*
	 * Barrier pair [W]. Whoever sets the flag also sets the timer; a zv_wake that finds it set
	 * need not.
	 */
	if (__atomic_exchange_n(&q->arm.wake, 1, __ATOMIC_SEQ_CST) == 0 &&
	    __atomic_load_n(&q->arm.state, __ATOMIC_SEQ_CST)) {
		(void)timerfd_settime(q->arm.timerfd, 0, &now, NULL);
		queue_timer_was_set(q);
	}
	errno = saved;
}

/* ---- one connection ---- */

static int wait_for(struct waiting *w, struct zv_conn *c, uint32_t wanted)
{
	struct zv_queue *q = w->queues[0];
	uint32_t ev = 0;
	int ret;

	for (;;) {
		if (quiesce_enter(&q->tq->qs)) {
			queue_work(q);
			ev = conn_events(c) & (wanted | ZV_EV_ERR);
			if (ev & ZV_EV_CONNECT)
				c->flags &= ~CF_NEW; /* reported once */
			quiesce_leave(&q->tq->qs);
		}
		if (ev)
			return (int)ev;
		if (queue_woken(q))
			return -EINTR;
		ret = wait_more(w);
		if (ret)
			return ret;
	}
}

/* To be called after work on a queue that was @armed before: who sleeps on zv_fd relies on it. */
static void arm_again(const struct waiting *w, bool armed)
{
	struct zv_queue *q = w->queues[0];

	if (armed) {
		queue_enter(q);
		queue_arm_again(q);
		quiesce_leave(&q->tq->qs);
	}
}

/* zv_conn_wait after the argument checks: events, -EAGAIN when the time is over, -EINTR. */
static int conn_wait(struct waiting *w, struct zv_conn *c, uint32_t wanted)
{
	bool armed = w->queues[0]->arm.state;
	int ret = wait_for(w, c, wanted);

	arm_again(w, armed);
	return done(w, ret);
}

/*
 * Not 0: a connection that is requested now has no channel, because the peer has not learned of
 * this side's memory. Packets follow the offer, so its being sent is enough. Kernel sockets do not:
 * who requests over one says before that it wants a channel, and can only do so once the region is
 * in use. A peer that does not want it is waited for once, @limit ns from its HELLO: until then.
 */
static uint64_t offer_pending(const struct zv_queue *q, uint64_t limit)
{
	const struct transport_region_ops *ops = q->dev->ops->regions;
	struct ctrl_offer offer;
	uint64_t since;

	if (q->host || !q->tq->up || q->dev->opts.flags & (ZV_OPT_NO_CHANNEL | ZV_OPT_NO_HELLO) ||
	    !ops || !ops->offer || ops->offer(q->dev->t, q->index, &offer))
		return 0;
	if (q->peer.state != HELLO_DONE)
		return q->peer.state == HELLO_PLAIN ? 0 : UINT64_MAX;
	return q->dev->ops->kernel_sockets && grants_offered(q, &since) ? since + limit : 0;
}

/*
 * A connection that is requested before this side's memory has been offered has no channel. Waits
 * for that for at most half of the time, so that a peer which does not answer HELLO is reached
 * without one. To be followed by done(). 0 or -EINTR.
 */
static int offer_wait(struct waiting *w)
{
	struct zv_queue *q = w->queues[0];
	const uint64_t all = w->timeout_ns, limit = q->dev->opts.connect_timeout_ns;
	const uint64_t part = (all < limit ? all : limit) / 2, rest = all - part;
	bool armed = q->arm.state;
	int ret = 0;

	w->timeout_ns = part;
	for (w->again = UINT64_MAX; !ret;) {
		if (quiesce_enter(&q->tq->qs)) {
			queue_work(q);
			w->again = offer_pending(q, limit / 2);
			quiesce_leave(&q->tq->qs);
		}
		if (!w->again || w->again <= zv_now())
			break;
		ret = queue_woken(q) ? -EINTR : wait_more(w);
	}
	arm_again(w, armed);
	w->again = 0;
	w->timeout_ns = all;
	if (w->deadline)
		w->deadline = rest < UINT64_MAX - w->deadline ? w->deadline + rest : UINT64_MAX;
	return ret == -EAGAIN ? 0 : ret;
}

int zv_conn_wait(struct zv_conn *conn, uint32_t events, uint64_t timeout_ns)
{
	struct waiting w = {.n = 1,
			    .ignore_events = true,
			    .timeout_ns = timeout_ns,
			    .eintr =
				    "zv_conn_wait: a signal handler has run meanwhile, or zv_wake"};
	const uint32_t known =
		ZV_EV_IN | ZV_EV_OUT | ZV_EV_CONNECT | ZV_EV_HUP | ZV_EV_ERR | ZV_EV_EPIPE;
	struct zv_queue *q;
	int ret;

	if (!conn || (events & ~known))
		return zv_err(-EINVAL,
			      "zv_conn_wait: conn must not be NULL, and events, which are 0x%x, "
			      "those of a connection",
			      events);
	q = conn->q;
	w.queues = &q;
	ret = conn_wait(&w, conn, events);
	return ret == -EAGAIN ? 0 : ret;
}

static int connect_failed(const struct zv_queue *q, uint64_t cid, uint32_t port, int err)
{
	int ret = err == -EAGAIN ? -ETIMEDOUT : err;

	return zv_err(ret, "zv_connect_wait: port %u of CID %llu: %s%s", port,
		      (unsigned long long)(cid ? cid : q->session.peer_cid), zv_strerror(ret),
		      ret == -ECONNREFUSED ? ": nobody listens there, or it is not allowed" : "");
}

int zv_connect_wait(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
		    uint64_t timeout_ns, struct zv_conn **conn)
{
	struct waiting w = {.queues = &q, .n = 1, .ignore_events = true, .timeout_ns = timeout_ns};
	struct zv_conn *c = NULL;
	int ret;

	if (conn)
		*conn = NULL;
	if (!q || !conn)
		return zv_err(-EINVAL, "zv_connect_wait: queue and conn must not be NULL");
	ret = offer_wait(&w);
	if (ret)
		return connect_failed(q, cid, port, done(&w, ret));
	ret = zv_connect(q, cid, port, type, &c);
	if (ret || !c)
		return done(&w, ret);
	ret = conn_wait(&w, c, ZV_EV_CONNECT);
	if (ret > 0 && !c->err) {
		*conn = c;
		return 0;
	}
	ret = ret > 0 ? c->err : ret;
	(void)zv_conn_close(c);
	return connect_failed(q, cid, port, ret);
}

int zv_send_all(struct zv_conn *conn, const void *data, size_t len, uint32_t flags,
		uint64_t timeout_ns, size_t *sent)
{
	struct waiting w = {.n = 1, .ignore_events = true, .timeout_ns = timeout_ns};
	const uint8_t *p = data;
	struct zv_queue *q = NULL;
	size_t done = 0;
	ssize_t n;

	if (sent)
		*sent = 0;
	w.queues = &q;
	for (;;) {
		n = zv_send(conn, p ? p + done : NULL, len - done, flags);
		done += n > 0 ? (size_t)n : 0;
		if (sent)
			*sent = done;
		if (n >= 0 && done == len)
			return 0;
		if (n >= 0)
			continue;
		if (n != -EAGAIN)
			return (int)n;
		q = conn->q;
		n = conn_wait(&w, conn, ZV_EV_OUT);
		if (n == -EAGAIN)
			n = -ETIMEDOUT;
		if (n < 0)
			return zv_err((int)n, "zv_send_all: %zu of %zu bytes sent: %s", done, len,
				      zv_strerror((int)n));
	}
}
