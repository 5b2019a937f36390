/* SPDX-License-Identifier: BSD-3-Clause */
#include "arm.h"

#include "session.h"
#include "socket/chan/chan.h"
#include "socket/chan/chan_bell.h"
#include "socket/core/timer.h"
#include "socket/tx/tx_mem.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* zv_wake looks at it. */
static void set_armed(struct zv_queue *q, uint8_t armed)
{
	__atomic_store_n(&q->arm.state, armed, __ATOMIC_SEQ_CST);
}

void queue_timer_was_set(struct zv_queue *q)
{
	__atomic_store_n(&q->arm.timer, 1, __ATOMIC_RELEASE);
}

/* Makes the descriptor of an expired timer unreadable again. */
static void clear_timer(struct zv_queue *q)
{
	uint64_t ticks;

	if (!__atomic_load_n(&q->arm.timer, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&q->arm.timer, 0, __ATOMIC_RELAXED); /* first: zv_wake may set it now */
	if (read(q->arm.timerfd, &ticks, sizeof(ticks)) < 0)
		queue_timer_was_set(q); /* it runs still */
	else
		q->arm.runs = UINT64_MAX;
}

void queue_fds_seen(struct zv_queue *q, const struct epoll_event *ev, int n)
{
	q->arm.seen = FD_CHECKED;
	for (int i = 0; i < n; i++)
		q->arm.seen |= (uint8_t)ev[i].data.u32;
}

/* Takes the event of the bells, and finds out about the others. */
static void queue_fds_check(struct zv_queue *q)
{
	struct epoll_event ev[FDS];
	int n = epoll_wait(q->arm.epfd, ev, FDS, 0);

	if (n >= 0)
		queue_fds_seen(q, ev, n);
}

void queue_disarm(struct zv_queue *q)
{
	set_armed(q, 0);
	q->clock.tick = 0; /* look at the clock: time has passed */
	if (q->chans.bells) {
		chan_bells_disarm(q);
		if (!q->arm.seen)
			queue_fds_check(q);
	}
	q->tq->ops->disarm(q->tq, !q->arm.seen || q->arm.seen & FD_RINGS);
	if (!q->arm.seen || q->arm.seen & FD_TIMER)
		clear_timer(q);
	q->arm.seen = 0;
}

/* Requests to peers, and the last check of what they have done. */
static int arm_peers(struct zv_queue *q)
{
	unsigned room;

	if (q->chans.n) {
		bool work = chans_arm(q);

		q->tq->ops->publish(q->tq); /* it may have woken others by packets */
		if (work)
			return -EAGAIN;
	}
	if (tx_ctrl_waits(q) || q->hello.due)
		room = 1;
	else
		room = tx_sched_least_need(&q->sched);
	if (q->tq->ops->arm(q->tq, room))
		return -EAGAIN;
	set_armed(q, ARMED); /* barrier pair [W] with zv_wake */
	/* Arming may have found packets finished, and so may the control thread before. */
	return queue_woken(q) || q->tq->sent.head != q->tq->sent.tail ? -EAGAIN : 0;
}

int queue_arm_rings(struct zv_queue *q, bool ignore_events)
{
	int ret;

	q->arm.until = UINT64_MAX;
	q->arm.seen = 0;	/* of the last sleep */
	if (session_changed(q)) /* zv_poll has work to do */
		return -EAGAIN;
	if (q->budgets.due || q->rx.chores || !TAILQ_EMPTY(&q->more) ||
	    (!ignore_events &&
	     (!TAILQ_EMPTY(&q->ready) || q->accept.ndue || q->hello.events || mem_send_over(q))))
		return -EAGAIN;
	ret = arm_peers(q);
	if (ret && !q->arm.state)
		chan_bells_disarm(q); /* otherwise zv_poll does */
	return ret;
}

static void set_timer(struct zv_queue *q, uint64_t when)
{
	struct itimerspec t = {.it_value = {.tv_sec = (time_t)(when / 1000000000u),
					    .tv_nsec = (long)(when % 1000000000u)}};

	(void)timerfd_settime(q->arm.timerfd, TFD_TIMER_ABSTIME, &t, NULL);
	queue_timer_was_set(q);
	q->arm.until = q->arm.runs = when;
}

/*
 * To be called after queue_arm_rings(). -EAGAIN: zv_wake has set the timer before, and that setting
 * is lost.
 */
static int arm_timer(struct zv_queue *q, uint64_t when)
{
	if (when == UINT64_MAX)
		return 0;
	set_timer(q, when);
	return queue_woken(q) ? -EAGAIN : 0;
}

int queue_timer_by(struct zv_queue *q, uint64_t when)
{
	return q->arm.runs <= when ? 0 : arm_timer(q, when);
}

int queue_arm(struct zv_queue *q)
{
	int ret = queue_arm_rings(q, false);
	uint64_t next = queue_timers_next(q);

	return ret ? ret : arm_timer(q, next);
}

/* Makes zv_fd readable at once. */
static void make_readable(struct zv_queue *q)
{
	set_timer(q, 1); /* long ago */
	set_armed(q, ARMED_READABLE);
}

void queue_arm_again(struct zv_queue *q)
{
	if (queue_arm(q))
		make_readable(q);
}

void queue_rearm(struct zv_queue *q)
{
	uint64_t until = q->arm.until, next = queue_timers_next(q);

	if (q->arm.state == ARMED_READABLE)
		return;
	if (queue_arm_rings(q, false) || (next < until && arm_timer(q, next)))
		make_readable(q);
	else if (next >= until)
		q->arm.until = until;
}

int queue_fds_open(struct zv_queue *q)
{
	struct epoll_event timer = {.events = EPOLLIN, .data.u32 = FD_TIMER};
	struct epoll_event rings = {.events = EPOLLIN, .data.u32 = FD_RINGS};

	q->arm.epfd = epoll_create1(EPOLL_CLOEXEC);
	q->arm.timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (q->arm.epfd < 0 || q->arm.timerfd < 0 ||
	    epoll_ctl(q->arm.epfd, EPOLL_CTL_ADD, q->arm.timerfd, &timer) < 0 ||
	    epoll_ctl(q->arm.epfd, EPOLL_CTL_ADD, q->dev->ops->fd(q->tq), &rings) < 0)
		return -errno;
	return 0;
}

void queue_fds_close(struct zv_queue *q)
{
	if (q->arm.epfd >= 0)
		close(q->arm.epfd);
	if (q->arm.timerfd >= 0)
		close(q->arm.timerfd);
}
