/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU time for system calls that are cheap as a rule, and that others can make expensive: a stock
 * that grows by a share of the time, from which is taken what a call needs beyond what is usual.
 * When it is used up, the call is not made. Zeroed memory is a full stock. One thread at a time.
 */
#ifndef ZVD_STOCK_H
#define ZVD_STOCK_H

#include "clock.h"

#include <stdbool.h>

struct cpu_limit {
	uint64_t usual_ns; /* of a call: free of charge */
	uint64_t most_ns;
	uint64_t share; /* it grows by 1/share of the time */
};

struct cpu_stock {
	uint64_t at_ns; /* when `left` was true */
	int64_t left;	/* < 0: overdrawn */
};

/*
 * For calls that look for an AF_UNIX socket by its name. The kernel goes through all sockets whose
 * names, or inode numbers, have the same hash, and local users choose those: with 20,000 such
 * sockets of one program a call takes 0.4 ms, and 3 ms while others look at the same time.
 */
static const struct cpu_limit socket_names_limit = {50000, 100000000, 100};

/* The part of one of @n queues. */
static inline struct cpu_limit cpu_limit_part(const struct cpu_limit *l, unsigned n)
{
	return (struct cpu_limit){l->usual_ns, l->most_ns / n, l->share * n};
}

/* False: it is used up. */
static inline bool cpu_stock_may(struct cpu_stock *s, const struct cpu_limit *l)
{
	const uint64_t now = now_ns();

	s->left += (int64_t)((now - s->at_ns) / l->share);
	if (!s->at_ns || s->left > (int64_t)l->most_ns)
		s->left = (int64_t)l->most_ns;
	s->at_ns = now;
	return s->left > 0;
}

/* Of this thread. CPU time, because an lcore may lose its CPU during a call. */
static inline uint64_t cpu_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline void cpu_stock_took(struct cpu_stock *s, const struct cpu_limit *l, uint64_t ns)
{
	if (ns > l->usual_ns)
		s->left -= (int64_t)(ns - l->usual_ns);
}

#endif
