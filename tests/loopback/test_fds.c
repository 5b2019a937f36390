/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zv_fd in somebody else's event loop: descriptors of several queues and devices in one epoll or
 * io_uring, each watched for one shot. What was ready and not polled is ready again when it is
 * watched again (level-triggered), and what has been polled and armed is silent.
 */
#include "loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
/* cmocka wants some of those above first */
#include <cmocka.h>
#ifdef HAVE_LIBURING
#include <liburing.h>
#include <poll.h>
#endif

#define QUEUES	 2u
#define WATCHED	 (2 * QUEUES)
#define HOST(i)	 (i) /* place of host queue i among those watched */
#define GUEST(i) (QUEUES + (i))
#define LONG_MS	 60000

static struct zv_dev *host, *guest;
static struct zv_queue *queue[WATCHED];
static struct zv_conn *g[QUEUES], *h[QUEUES];

/* A loop: watches a queue's descriptor for one shot; the next one that is ready, or -1. */
struct loop_ops {
	int (*open)(void); /* 0; else the kernel has none, and the test is skipped */
	void (*watch)(unsigned i);
	int (*next)(int timeout_ms);
	void (*close)(void);
};

/* ---- epoll ---- */

static int ep;

static int ep_open(void)
{
	struct epoll_event ev = {.events = 0};

	ep = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < WATCHED; i++)
		assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, zv_fd(queue[i]), &ev), 0);
	return 0;
}

static void ep_watch(unsigned i)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = i};

	assert_int_equal(epoll_ctl(ep, EPOLL_CTL_MOD, zv_fd(queue[i]), &ev), 0);
}

static int ep_next(int timeout_ms)
{
	struct epoll_event ev;

	return epoll_wait(ep, &ev, 1, timeout_ms) == 1 ? (int)ev.data.u32 : -1;
}

static void ep_close(void)
{
	close(ep);
}

static const struct loop_ops by_epoll = {ep_open, ep_watch, ep_next, ep_close};

/* ---- io_uring ---- */

#ifdef HAVE_LIBURING
static struct io_uring ring;

static int ur_open(void)
{
	return io_uring_queue_init(64, &ring, 0);
}

static void ur_watch(unsigned i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	assert_non_null(sqe);
	io_uring_prep_poll_add(sqe, zv_fd(queue[i]), POLLIN);
	io_uring_sqe_set_data64(sqe, i);
	assert_int_equal(io_uring_submit(&ring), 1);
}

static int ur_next(int timeout_ms)
{
	struct __kernel_timespec t = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
	struct io_uring_cqe *cqe;
	int i;

	if (io_uring_wait_cqe_timeout(&ring, &cqe, &t) < 0)
		return -1;
	assert_true(cqe->res > 0);
	i = (int)io_uring_cqe_get_data64(cqe);
	io_uring_cqe_seen(&ring, cqe);
	return i;
}

static void ur_close(void)
{
	io_uring_queue_exit(&ring);
}
#else
static int ur_open(void)
{
	return -ENOSYS;
}
#define ur_watch NULL
#define ur_next	 NULL
#define ur_close NULL
#endif

static const struct loop_ops by_io_uring = {ur_open, ur_watch, ur_next, ur_close};

/* ---- the test ---- */

static uint32_t poll_once(unsigned i)
{
	struct zv_event ev[8];
	uint32_t events = 0;
	int n = zv_poll(queue[i], ev, 8);

	for (int k = 0; k < n; k++)
		events |= ev[k].events;
	return events;
}

/* Until nothing moves: every queue is armed and watched, and none is ready. */
static void settle(const struct loop_ops *l, bool *watched)
{
	bool again = true;

	for (unsigned tries = 0; again; tries++) {
		int i;

		assert_true(tries < 10000);
		again = false;
		for (unsigned k = 0; k < WATCHED; k++) {
			(void)poll_once(k);
			again |= zv_arm(queue[k]) != 0;
		}
		for (unsigned k = 0; k < WATCHED && !again; k++) {
			if (!watched[k])
				l->watch(k);
			watched[k] = true;
		}
		while (!again && (i = l->next(0)) >= 0) {
			watched[i] = false;
			again = true;
		}
	}
}

static void setup(void)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = QUEUES, .close_timeout_ns = 1000000};

	assert_int_equal(zv_open(&host, "loophost:", &o), 0);
	assert_int_equal(zv_open(&guest, "loopguest:", &o), 0);
	assert_int_equal(zv_listen(host, 5, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		queue[HOST(i)] = zv_queue(host, i);
		queue[GUEST(i)] = zv_queue(guest, i);
		assert_true(zv_poll(queue[GUEST(i)], &(struct zv_event){0}, 1) >= 0);
		assert_int_equal(zv_connect(queue[GUEST(i)], ZV_CID_HOST, 5, ZV_STREAM, &g[i]), 0);
		while (zv_accept(queue[HOST(i)], 5, &h[i]) != 0)
			for (unsigned k = 0; k < WATCHED; k++)
				if (queue[k])
					(void)poll_once(k);
	}
}

static void run(const struct loop_ops *l)
{
	bool watched[WATCHED] = {false};
	struct zv_queue_stats st;
	char buf[8];

	memset(queue, 0, sizeof(queue));
	setup();
	if (l->open() != 0) {
		print_message("this kernel has no io_uring, or forbids it\n");
		zv_close(guest);
		zv_close(host);
		skip();
	}
	for (unsigned round = 0; round < 2 * QUEUES; round++) {
		unsigned i = round % QUEUES;

		settle(l, watched);
		assert_int_equal(zv_send(g[i], "ping", 4, 0), 4);
		/* of four descriptors that of the queue which has got something; still, when asked
		 * again before it has been polled */
		assert_int_equal(l->next(LONG_MS), HOST(i));
		l->watch(HOST(i));
		assert_int_equal(l->next(LONG_MS), HOST(i));
		watched[HOST(i)] = false;
		assert_true(poll_once(HOST(i)) & ZV_EV_IN);
		assert_int_equal(zv_arm(queue[HOST(i)]), -EAGAIN); /* it has not been read yet */
		assert_int_equal(zv_recv(h[i], buf, sizeof(buf), NULL), 4);
	}
	/* a timer: nobody answers the guest's SHUTDOWN */
	settle(l, watched);
	assert_int_equal(zv_conn_close(g[1]), 0);
	assert_int_equal(zv_arm(queue[GUEST(1)]), 0);
	for (int i = -1; i != (int)GUEST(1); watched[i] = false) {
		i = l->next(LONG_MS);
		assert_true(i == HOST(1) || i == GUEST(1));
	}
	do {
		(void)poll_once(GUEST(1));
		assert_int_equal(zv_queue_stats(queue[GUEST(1)], &st, sizeof(st)), 0);
	} while (!st.conns_timedout);
	zv_conn_close(h[1]);
	/* the control thread: the rings have gone and come */
	settle(l, watched);
	loop_restart();
	for (unsigned seen = 0; seen != (1u << WATCHED) - 1;) {
		int i = l->next(LONG_MS);

		assert_true(i >= 0);
		seen |= 1u << i;
		watched[i] = false;
	}
	zv_conn_close(g[0]);
	zv_conn_close(h[0]);
	settle(l, watched);
	l->close();
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
}

static void epoll_one_shot(void **state)
{
	(void)state;
	run(&by_epoll);
}

static void io_uring_poll_add(void **state)
{
	(void)state;
	run(&by_io_uring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(epoll_one_shot),
		cmocka_unit_test(io_uring_poll_add),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
