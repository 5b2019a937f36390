/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CPU time for system calls that are cheap as a rule, and that others can make expensive: a stock
 * that grows by a share of the time, from which is taken what a call needs beyond what is usual.
 * When it is used up, the call is not made. Zeroed memory is a full stock. One thread at a time.
 */
#ifndef ZVD_STOCK_H
#define ZVD_STOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What is usual depends on the machine: emulated CPUs and kernels with checks are many times
 * slower. So it is CPU_USUAL_FASTEST times what the fastest call since the start has taken, but at
 * least usual_ns and at most CPU_USUAL_MOST times that, in case no call has been fast yet.
 */
#define CPU_USUAL_FASTEST 8u
#define CPU_USUAL_MOST	  16u
#define CPU_PAUSE_NS	  UINT64_C(10000000000)

struct cpu_limit {
	uint64_t usual_ns; /* of a call: free of charge */
	uint64_t most_ns;
	uint64_t share;	      /* it grows by 1/share of the time */
	uint64_t *fastest_ns; /* of all calls of this kind, on all threads; atomic; 0: none yet */
};

struct cpu_stock {
	uint64_t at_ns; /* when `left` was true; 0: never used */
	int64_t left;	/* < 0: overdrawn */
	uint64_t pause; /* at_ns of the last call that was taken for a pause; 0: none yet */
};

/*
 * For calls that look for an AF_UNIX socket by its name. The kernel goes through all sockets whose
 * names, or inode numbers, have the same hash, and local users choose those: with 20,000 such
 * sockets of one program a call takes 0.4 ms, and 3 ms while others look at the same time.
 */
extern const struct cpu_limit socket_names_limit;

/* The part of one of @n queues. */
static inline struct cpu_limit cpu_limit_part(const struct cpu_limit *l, unsigned n)
{
	return (struct cpu_limit){l->usual_ns, l->most_ns / n, l->share * n, l->fastest_ns};
}

/* A call has taken @ns of CPU time: how much of that is not free of charge. */
uint64_t cpu_limit_beyond(const struct cpu_limit *l, uint64_t ns);

/* False: it is used up. */
bool cpu_stock_may(struct cpu_stock *s, const struct cpu_limit *l);

/*
 * A call has taken @ns beyond what is free of charge. The CPU time of a thread may contain time
 * that a hypervisor has taken (under emulation and in User-mode Linux it does). So a call that
 * takes more than half of a full stock counts as no more than that, once in CPU_PAUSE_NS.
 */
static inline void cpu_stock_charge(struct cpu_stock *s, const struct cpu_limit *l, uint64_t ns)
{
	if (ns > l->most_ns / 2 && (!s->pause || s->at_ns - s->pause >= CPU_PAUSE_NS)) {
		s->pause = s->at_ns;
		ns = l->most_ns / 2;
	}
	s->left -= (int64_t)ns;
}

/* A call has taken @ns of CPU time. */
static inline void cpu_stock_took(struct cpu_stock *s, const struct cpu_limit *l, uint64_t ns)
{
	cpu_stock_charge(s, l, cpu_limit_beyond(l, ns));
}

#endif
