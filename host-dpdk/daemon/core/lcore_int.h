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
	struct lcore_queues queues;
	unsigned n_queues;
	struct work_list work;
	struct lcore_work work_end; /* marks where the present round ends */
	struct wheel wheel;
	void *local;
	bool busy_poll, stopping;
	struct idle idle;
	uint64_t spin_ns;
	uint64_t checked;		     /* lcore_mem.c; CLOCK_MONOTONIC */
	uint64_t watches_until, looks_until; /* 0: it does not */
	struct lcore_counters counters;	     /* read by any thread */
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

/* It is @now, and the lcore has worked since lc->checked: has it slept in a page fault? Does little
 * more than once in a millisecond. */
void lcore_mem_check(struct lcore *lc, uint64_t now);
/* After a sleep of its own. */
void lcore_mem_woken(struct lcore *lc);
void lcore_mem_added(struct lcore_queue *lq);
void lcore_mem_removed(struct lcore_queue *lq);
/* True: @lq rests. */
bool lcore_mem_rests(struct lcore_queue *lq);

#endif
