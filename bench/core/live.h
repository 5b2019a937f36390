/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The payload of a cell while it runs, for --intervals. The sides count in shared memory, a batch
 * at a time, and a thread of the parent reads the counters. Without --intervals nothing is
 * counted.
 */
#ifndef BENCH_LIVE_H
#define BENCH_LIVE_H

#include <stddef.h>
#include <stdint.h>

struct bench_live {
	uint64_t sent, received; /* bytes of payload, of the whole run of the program */
};

/* NULL: nobody looks. Set before the first process is forked. */
extern struct bench_live *bench_live;

static inline void live_sent(uint64_t bytes)
{
	if (__builtin_expect(bench_live != NULL, 0))
		__atomic_fetch_add(&bench_live->sent, bytes, __ATOMIC_RELAXED);
}

static inline void live_received(uint64_t bytes)
{
	if (__builtin_expect(bench_live != NULL, 0))
		__atomic_fetch_add(&bench_live->received, bytes, __ATOMIC_RELAXED);
}

struct live_interval {
	double start, end; /* seconds from the first payload on */
	uint64_t bytes;	   /* received; sent, where the receiver is elsewhere */
};

struct live_run {
	struct live_interval *at;
	unsigned n, cap;
	uint64_t sent; /* bytes, in all */
};

/* 0 or -ENOMEM. */
int live_init(void);
/*
 * Looks at the cell that runs next, every @seconds, until live_end(); @print_interval (may be NULL)
 * is called with each interval. 0 or -errno.
 */
int live_begin(double seconds, double longest,
	       void (*print_interval)(const struct live_interval *i));
/* What there was; to be given back by free(at). */
struct live_run live_end(void);

#endif
