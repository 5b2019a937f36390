/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore: one thread, one io_uring, any number of queues, and every connection on them.
 *
 * Theory of operation
 * -------------------
 * Nothing on the data path is shared between lcores, so there are no locks. An lcore works in
 * rounds: it calls zv_poll on its queues and passes the events to their owners, runs the work that
 * was put off to this point (so that a connection sends once for everything that has arrived),
 * submits everything that was queued for io_uring in one system call, and takes the completions.
 *
 * When nothing happens it spins, as zv_wait does: while idle it yields the CPU now and then, and
 * after every empty round once it has noticed that another program wants the CPU. After spin_us it
 * arms its queues (zv_arm), has io_uring poll their descriptors, and sleeps in io_uring until a
 * kick, a completion, a timer or a message from another thread wakes it. The socket layer's own
 * timers are behind zv_fd; the lcore's timers determine the sleep's timeout.
 *
 * Making or ending a connection costs far more than a packet: sockets, names, connect(2). The queue
 * that causes such work is charged for it (lcore_charge()). A queue that was charged more than
 * LCORE_PAYS in a round is not polled in the next rounds, until the charge is paid off: meanwhile
 * its peer's packets wait in the ring, and other queues get their turn. If it is alone on its lcore
 * it waits for nothing, since such rounds are over at once.
 *
 * Other threads access what an lcore owns only through its mailbox: lcore_call() and lcore_post()
 * run a function between two rounds, in the order of the calls.
 */
#ifndef ZVD_LCORE_H
#define ZVD_LCORE_H

#include "counters.h"
#include "io.h"
#include "wheel.h"

#include <sys/queue.h>
#include <zvsock.h>

struct lcore;

/* Starts the thread, pinned to @cpu (-1: not); @number is its name in the log. 0 or -errno, with
 * one log line that says what forbids io_uring and how to allow it, or what else is wrong. */
int lcore_start(struct lcore **out, unsigned number, int cpu, bool busy_poll, uint32_t spin_us);

/* Ends the thread; every queue must have been removed. */
void lcore_stop(struct lcore *lc);

/*
 * Runs fn(arg) on the lcore's thread, between two rounds, and returns when it has run. Any thread
 * but an lcore's. @fn must not block. When it has not run after LCORE_LATE_NS, a line in the log
 * says which lcore does not answer and what it was asked for, and another one when it has.
 */
#define lcore_call(lc, fn, arg) lcore_call_named(lc, fn, arg, #fn)
void lcore_call_named(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg,
		      const char *name);
#define LCORE_LATE_NS 1000000000u

/* As lcore_call, but does not wait; @arg belongs to @fn. Any thread. 0, -ENOMEM. */
int lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);

/* Seconds of CPU that the thread has used, and its counters. Any thread. */
struct lcore_stats {
	double cpu_s;
	struct lcore_counters counters;
};
void lcore_stats(struct lcore *lc, struct lcore_stats *st);

/* ---- from here on: the lcore's own thread only ---- */

struct io *lcore_io(struct lcore *lc);

/* The number of the present round. */
uint64_t lcore_round(const struct lcore *lc);

/* For functions run by lcore_call: completes requests, runs deferred work and timers until *@left
 * is 0. */
void lcore_drain(struct lcore *lc, const unsigned *left);
/* The same: cancels @op; on return it is not pending. */
void lcore_cancel(struct lcore *lc, struct io_op *op);

/* A queue that the lcore serves; event() gets what zv_poll reports for it. */
struct lcore_queue {
	struct zv_queue *q;
	void (*event)(struct lcore_queue *lq, const struct zv_event *ev);
	struct io_op poll; /* zv_fd, while the lcore sleeps */
	struct lcore *lc;
	unsigned debt; /* what it has been charged and has not paid */
	unsigned pays; /* in a round; 0: LCORE_PAYS */
	TAILQ_ENTRY(lcore_queue) link;
};

#define LCORE_PAYS 8u /* of all queues of a guest together */
#define LCORE_DEBT_MAX                                                                             \
	256u /* more is forgotten: nobody waits much longer than he was waited for                 \
	      */

/* Something has been done for the peer of @lq that costs some system calls. */
static inline void lcore_charge(struct lcore_queue *lq)
{
	lq->debt += lq->debt < LCORE_DEBT_MAX;
}

void lcore_queue_add(struct lcore *lc, struct lcore_queue *lq);
/* On return nothing refers to @lq any more. */
void lcore_queue_remove(struct lcore *lc, struct lcore_queue *lq);

/* Work that is put off to the end of the present half of the round, or to the next round. */
struct lcore_work {
	void (*run)(struct lcore_work *w);
	bool queued;
	TAILQ_ENTRY(lcore_work) link;
};
void lcore_defer(struct lcore *lc, struct lcore_work *w);
void lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);

/* Timers: wheel.h. */
void lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);

/* A pointer for the relays of the lcore: their stock of batches (relay.c), freed before lcore_stop.
 */
void **lcore_local(struct lcore *lc);

#endif
