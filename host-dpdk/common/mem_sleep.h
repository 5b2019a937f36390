/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long threads of this process have slept because of a peer's memory, and how long that peer
 * has to wait for it.
 *
 * Theory of operation
 * -------------------
 * A peer's memory is a file that the peer has open too. While it takes pages out of the file, or
 * the kernel reads them from swap, whoever touches the memory sleeps in a page fault, and whoever
 * maps it in mmap(2): as long as the peer's threads need for that, be it because they hardly ever
 * get the CPU. A thread that serves others too cannot prevent the first time. But what it has
 * slept (mem_look.h) is charged to the peer, and beyond MEM_SLEEP_FREE_NS the peer rests: it is not
 * served for MEM_SLEEP_PART times as long, but no longer than ten minutes. So a peer makes a thread
 * sleep for 1 / MEM_SLEEP_PART of the time, or for a few single sleeps in ten minutes. Nothing of
 * it ends: a peer whose memory is swapped out is slow.
 *
 * A single sleep proves nothing: the thread may have waited for a lock of this process that another
 * one held, who slept. So it is only noted, as are others at the same time, and charged is what
 * begins later, before MEM_SLEEP_PART times as long have passed.
 *
 * Users other than root and the process's own have one account for all their peers, because an
 * application may come again, and bring others. It is kept until nothing is charged any more.
 */
#ifndef ZV_MEM_SLEEP_H
#define ZV_MEM_SLEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MEM_SLEEP_NS	  100000u	/* a sleep that is shorter is not charged */
#define MEM_SLEEP_FREE_NS 1000000000ull /* charged without consequences; used up, ... */
#define MEM_SLEEP_PART	  100u		/* ... 1 / MEM_SLEEP_PART of the time refills it */
#define MEM_SLEEP_MOST_NS                                                                          \
	6000000000ull /* a sleep counts as no longer; no rest is more than 10 minutes */

/* Any thread. Zeroed memory has nothing charged. Times are CLOCK_MONOTONIC, ns. */
struct mem_sleep {
	uint64_t first;	  /* when the first sleep was noted; atomic */
	uint64_t noted;	  /* until then another one is charged; atomic */
	uint64_t settled; /* from then on nothing is charged any more; atomic */
};

/* A thread has slept for @ns until @now. */
void mem_sleep_charge(struct mem_sleep *s, uint64_t now, uint64_t ns);
/* It may have to rest: something has been charged. */
static inline bool mem_sleep_charged(const struct mem_sleep *s)
{
	return __atomic_load_n(&s->settled, __ATOMIC_RELAXED);
}
/* For how long it has to rest from @now on; 0: it is served. */
uint64_t mem_sleep_rest(const struct mem_sleep *s, uint64_t now);

/* ---- accounts ---- */

#define MEM_ACCOUNT_OWN ((uid_t)-1)

struct mem_account {
	struct mem_sleep sleep;
	/* the rest is mem_sleep.c's */
	uid_t uid;     /* MEM_ACCOUNT_OWN: one peer's own */
	unsigned refs; /* atomic */
	struct mem_account *next;
};

/* The account of user @uid; for MEM_ACCOUNT_OWN, root and the user of this process, a new one. The
 * caller owns a reference. NULL: no memory. Any thread. */
struct mem_account *mem_account_get(uid_t uid);
/* Another reference. NULL is allowed. */
struct mem_account *mem_account_hold(struct mem_account *a);
/* NULL is allowed. */
void mem_account_put(struct mem_account *a);

#endif
