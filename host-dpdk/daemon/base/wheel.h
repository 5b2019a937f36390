/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers of one thread with a resolution of WHEEL_NS: a ring of slots, by deadline. A timer whose
 * deadline is a lap or more away stays in its slot when the wheel passes it. */
#ifndef ZVD_WHEEL_H
#define ZVD_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define WHEEL_SLOTS 256u
#define WHEEL_NS    (8u * 1000000u)

/* Zeroed memory is a stopped timer. */
struct lcore_timer {
	void (*expired)(struct lcore_timer *t);
	uint64_t deadline;
	bool running;
	TAILQ_ENTRY(lcore_timer) link;
};

TAILQ_HEAD(timer_list, lcore_timer);

struct wheel {
	struct timer_list slot[WHEEL_SLOTS];
	uint64_t tick; /* slots up to this one have run */
	unsigned n_timers;
	struct lcore_timer *next; /* next for wheel_run(); wheel_stop() may remove it */
};

void wheel_init(struct wheel *w);

/* @now: nanoseconds of one clock. Calls expired() @ns later, or slightly after that. Restarts a
 * running timer. */
void wheel_start(struct wheel *w, struct lcore_timer *t, uint64_t now, uint64_t ns);
void wheel_stop(struct wheel *w, struct lcore_timer *t);

/* Calls expired() of timers that are due; it may start and stop any timer. True: some were due. */
bool wheel_run(struct wheel *w, uint64_t now);

/* Nanoseconds from @now until wheel_run() may have something to do; some timer must be running. */
uint64_t wheel_next(const struct wheel *w, uint64_t now);

#endif
