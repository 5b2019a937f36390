/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An lcore: one thread, one io_uring, any number of queues, and every connection on them.
 *
 * Theory of operation
 * -------------------
 * Nothing on the data path is shared between lcores, so nothing there has a lock. An lcore goes
 * round: zv_poll its queues and hand the events to the endpoints, take what io_uring has completed,
 * submit what both have queued, all in one system call. When nothing has happened for spin_us it
 * arms its queues (zv_arm), has io_uring poll their descriptors, and sleeps in io_uring until a
 * kick, a completion, a timer or a message from another thread ends it.
 *
 * Other threads reach what an lcore owns through its mailbox only: lcore_call() runs a function
 * between two rounds.
 */
#ifndef ZVD_LCORE_H
#define ZVD_LCORE_H

#include "io.h"

struct lcore;
struct guest;

/* Starts the thread, pinned to @cpu (-1: not). 0 or -errno; -ENOSYS and -EPERM with one log line
 * that says what forbids io_uring and how to allow it. */
int lcore_start(struct lcore **out, int cpu, bool busy_poll, uint32_t spin_us);

/* Ends the thread; every queue must have been removed. */
void lcore_stop(struct lcore *lc);

/*
 * Runs fn(arg) on the lcore's thread, between two rounds, and returns when it has run. Any thread
 * but the lcore's own. @fn must not block.
 */
void lcore_call(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);

/* As lcore_call, but does not wait; @arg belongs to @fn. For the lcores among themselves. 0, -ENOMEM. */
int lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);

/* The io_uring of the lcore; its own thread only. */
struct io *lcore_io(struct lcore *lc);

/* Seconds of CPU that the thread has used, and rounds, sleeps and wake-ups so far. Any thread. */
struct lcore_stats {
	double cpu_s;
	uint64_t rounds, sleeps;
};
void lcore_stats(struct lcore *lc, struct lcore_stats *st);

#endif
