/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore: one thread with one io_uring, any number of queues, and all connections on them.
 *
 * Theory of operation
 * -------------------
 * Lcores share nothing on the data path, so there are no locks. An lcore works in rounds: it calls
 * zv_poll on its queues and passes the events to their owners, runs the work deferred to this point
 * (so a connection sends once for everything that has arrived), submits all queued io_uring
 * requests in one system call, and processes the completions.
 *
 * When there is nothing to do it spins, as zv_wait does: it yields the CPU now and then, and after
 * every empty round once it has noticed that another program wants the CPU. After spin_us it arms
 * its queues (zv_arm), has io_uring poll their descriptors, and sleeps in io_uring until a kick, a
 * completion, a timer or a message from another thread wakes it. The timers of the socket layer are
 * behind zv_fd; the timers of the lcore determine the timeout of the sleep.
 *
 * Opening or closing a connection costs far more than a packet: sockets, names, connect(2). The
 * queue that causes such work is charged for it (lcore_charge()). A queue that was charged more
 * than LCORE_PAYS in a round is not polled in the next rounds until the charge is paid off:
 * meanwhile its peer's packets wait in the ring and other queues get their turn. A queue that is
 * alone on its lcore is not delayed, because empty rounds take no time.
 *
 * A busy queue is polled several times in a round, but no more once its polls have taken
 * LCORE_TURN_NS. Queues of one guest share that time: those that it does not reach wait for the
 * next round, in which they come first. So a guest with many queues takes no more of a round than
 * one with few.
 *
 * Memory. A peer's memory can make whoever touches it sleep (host-dpdk/common/mem_sleep.h). About
 * once in a millisecond of work the lcore looks whether it has slept and had page faults. If so, it
 * *watches* for MEM_SLEEP_PART times as long as that took: its own sleeps in io_uring do not count
 * any more. If it happens again meanwhile, or has taken 20 ms, it *looks* for MEM_SLEEP_PART times
 * as long: it says with whose memory it works (mem_look.h): in each call on a queue, which
 * lq->watch() lets it know of, in what follows from the events of a queue, in work for a queue, and
 * wherever lcore_for() stands. What is slept is charged to the peer of that queue. What would use
 * the memory of several peers at once is done piece by piece: io_uring requests are submitted one
 * by one, and splices read one peer's memory before they write the other's. An lcore that does not
 * sleep pays a getrusage(2) in a millisecond of work for all that.
 *
 * A queue whose peer has to rest is not polled, its rings are left alone, and its flows wait.
 *
 * Other threads access state of an lcore only through its mailbox: lcore_call() and lcore_post()
 * run a function between two rounds, in the order of the calls.
 */
#ifndef ZVD_LCORE_H
#define ZVD_LCORE_H

#include "base/counters.h"
#include "base/io.h"
#include "base/wheel.h"
#include "mem_look.h"

#include <sys/queue.h>
#include <zvsock.h>

struct lcore;

/* Starts the thread, pinned to @cpu (-1: not pinned); @number is its name in the log. 0 or -errno,
 * with one log line that says what prevents io_uring and how to allow it, or what else is wrong. */
int lcore_start(struct lcore **out, unsigned number, int cpu, bool busy_poll, uint32_t spin_us);

/* Ends the thread; every queue must have been removed. */
void lcore_stop(struct lcore *lc);

/*
 * Runs fn(arg) on the lcore's thread between two rounds, and returns when it has run. Any thread
 * except an lcore's. @fn must not block. If it has not run after LCORE_LATE_NS, a log line names
 * the lcore that does not answer and the function, and another line follows when it has run.
 */
#define lcore_call(lc, fn, arg) lcore_call_named(lc, fn, arg, #fn)
void lcore_call_named(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg,
		      const char *name);
#define LCORE_LATE_NS 1000000000u

/* As lcore_call, but does not wait; @arg is handed over to @fn. Any thread. 0, -ENOMEM. */
int lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);

/* CPU seconds used by the thread, and its counters. Any thread. */
struct lcore_stats {
	double cpu_s;
	struct lcore_counters counters;
};
void lcore_stats(struct lcore *lc, struct lcore_stats *st);

/* ---- the rest may be called only by the lcore's own thread ---- */

struct io *lcore_io(struct lcore *lc);

/* The number of the current round. */
uint64_t lcore_round(const struct lcore *lc);

/* A datagram between programs of this machine is lost: no guest's counter has it. */
void lcore_dgram_lost(struct lcore *lc);

/* For functions run by lcore_call: completes requests, runs deferred work and timers until *@left
 * is 0. */
void lcore_drain(struct lcore *lc, const unsigned *left);
/* Likewise: cancels @op; on return it is not pending. */
void lcore_cancel(struct lcore *lc, struct io_op *op);

/* What the polls of several queues have taken of a round. */
struct lcore_turn {
	uint64_t round, ns;
};

#define LCORE_TURN_NS 100000u

/* A queue that the lcore serves; event() gets what zv_poll reports for it. */
struct lcore_queue {
	struct zv_queue *q;
	void (*event)(struct lcore_queue *lq, const struct zv_event *ev);
	struct io_op poll; /* zv_fd, while the lcore sleeps */
	struct lcore *lc;
	unsigned debt; /* charges not paid off yet */
	unsigned pays; /* paid off per round; 0: LCORE_PAYS */
	bool busy;     /* it had events when it was polled last */
	/* Whoever has memory that the lcore sleeps on; NULL: it is no peer's, and the rest of this
	 * is not used. */
	struct mem_account *mem;
	/* @fn(@lq, true) has to run at the beginning of each call on the queue, and @fn(@lq, false)
	 * at the end; NULL: no longer. */
	void (*watch)(struct lcore_queue *lq, void (*fn)(void *lq, bool enters));
	/* A rest of @ns begins; 0: it is over. */
	void (*rests)(struct lcore_queue *lq, uint64_t ns);
	struct mem_account *payer; /* outside the call on the queue */
	struct lcore_timer rest;
	bool resting;
	struct lcore_turn
		*turn; /* shared with the guest's other queues here; NULL: there are none */
	TAILQ_ENTRY(lcore_queue) link;
};

#define LCORE_PAYS     8u   /* for all queues of a guest together */
#define LCORE_DEBT_MAX 256u /* limit of the debt, and so of the delay that it causes */

/* Charges @lq for an operation that costs some system calls. */
static inline void lcore_charge(struct lcore_queue *lq)
{
	lq->debt += lq->debt < LCORE_DEBT_MAX;
}

/* It says with whose memory it works: lcore_for(). */
bool lcore_looks(const struct lcore *lc);
/* If the lcore looks, it works with the memory of the peer of @lq from now on (NULL: nobody's),
 * until lcore_for_over() is called with the same @lq, and what lcore_for() has returned. */
struct mem_account *lcore_for(const struct lcore_queue *lq);
void lcore_for_over(const struct lcore_queue *lq, struct mem_account *was);

void lcore_queue_add(struct lcore *lc, struct lcore_queue *lq);
/* On return nothing refers to @lq. */
void lcore_queue_remove(struct lcore *lc, struct lcore_queue *lq);

/* Work deferred to the end of the current half of the round, or to the next round. */
struct lcore_work {
	void (*run)(struct lcore_work *w);
	const struct lcore_queue *lq; /* it is for; NULL: for none, or for several */
	bool queued;
	TAILQ_ENTRY(lcore_work) link;
};
void lcore_defer(struct lcore *lc, struct lcore_work *w);
/* Runs it now. It must not be deferred. */
void lcore_run(struct lcore_work *w);
void lcore_defer_cancel(struct lcore *lc, struct lcore_work *w);

/* Timers: wheel.h. */
void lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);

/*
 * A pointer for the relays of the lcore: their stock of batches (relay.c), freed before lcore_stop.
 */
void **lcore_local(struct lcore *lc);

#endif
