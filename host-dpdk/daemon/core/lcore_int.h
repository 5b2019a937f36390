/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of an lcore: lcore.c (thread, mail, work), lcore_queue.c (polling) and
 * lcore_mem.c (peers' memory). Its own thread, where nothing else is said. */
#ifndef ZVD_LCORE_INT_H
#define ZVD_LCORE_INT_H

#include "lcore.h"
#include "spin.h"

#include <pthread.h>

struct mail {
	void (*fn)(struct lcore *lc, void *arg);
	void *arg;
	bool *done; /* lcore_call: under mail_lock, signalled by mail_done */
	STAILQ_ENTRY(mail) link;
};

STAILQ_HEAD(mail_list, mail);
TAILQ_HEAD(work_list, lcore_work);
TAILQ_HEAD(lcore_queues, lcore_queue);

struct lcore {
	struct io io;
	struct lcore_queues queues, resting;
	unsigned n_queues; /* of both */
	struct work_list work;
	struct lcore_work work_end; /* marks where the present round ends */
	struct wheel wheel;
	void *local;
	bool busy_poll, stopping;
	struct idle idle;
	uint64_t spin_ns;
	/* lcore_mem.c; 0: it does not: */
	uint64_t watches_until, looks_until, parts_until;
	uint64_t stretch; /* beginning of the work that is not checked yet */
	uint64_t polled;  /* the last look at the clock in the polls of a round; 0: none */
	struct lcore_counters counters; /* read by any thread */
	struct io_op mail_op;
	int mail_fd;
	unsigned number;
	int cpu;
	pthread_t thread;
	pid_t tid;
	/* other threads' */
	pthread_mutex_t mail_lock;
	pthread_cond_t mail_done;
	struct mail_list mail;
	uint32_t has_mail;
	uint32_t asleep; /* a writer of mail must use mail_fd: barrier pair [M] with has_mail */
	int start_err;	 /* 1: not known yet; under mail_lock */
};

/* Its own thread writes them. */
#define LCORE_COUNT(lc, field)                                                                     \
	__atomic_store_n(&(lc)->counters.field, (lc)->counters.field + 1, __ATOMIC_RELAXED)

/* ---- lcore_queue.c ---- */

void lcore_queues_init(struct lcore *lc);
/* Polls all queues that have a turn. True: there was something, or will be in the next round. */
bool lcore_poll_queues(struct lcore *lc);

/* ---- lcore_mem.c ---- */

/* After a sleep of the lcore's own. */
void lcore_mem_woken(struct lcore *lc);
/* Submits the requests of the round. */
void lcore_mem_submit(struct lcore *lc);
/* The lcore has worked since lc->stretch, and it is @now: was there a sleep in a page fault? */
void lcore_mem_check(struct lcore *lc, uint64_t now);
/* True: @lq rests, and is not in lc->queues any more. */
bool lcore_mem_rests(struct lcore *lc, struct lcore_queue *lq);
/* Takes @lq, which rests, out of lc->resting. */
void lcore_mem_forget(struct lcore *lc, struct lcore_queue *lq);

#endif
