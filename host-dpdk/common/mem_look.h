/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whether the calling thread has slept while it used the memory of a peer, and for how long.
 *
 * Time on a CPU is not sleep, nor is time without one: a thread that was preempted, or that has to
 * wait for the CPU after it was woken, loses the time to the machine. What remains is slept. It is
 * the memory's doing if there was a page fault meanwhile, or it was a call that maps memory.
 *
 * mmap(2) and munmap(2) of one peer's memory, when they sleep, keep the lock of the process's
 * address space, and whoever needs that for something else sleeps too: for a fault before Linux
 * 6.4, or for malloc(). That is nobody else's doing: mem_maps_slow() tells.
 *
 * A look costs two readings of the clock. What the kernel counts for the thread is read once in a
 * millisecond, and after what took that long; so it is known to a millisecond.
 *
 * Looks may be nested; what an inner one has found is not found by the outer one again.
 */
#ifndef ZV_MEM_LOOK_H
#define ZV_MEM_LOOK_H

#include "mem_sleep.h"

#include <stdbool.h>

struct mem_look {
	uint64_t at; /* CLOCK_MONOTONIC; 0: it is not looked */
	uint64_t inner;
	bool behind; /* another call that maps was under way */
};

void mem_look_begin(struct mem_look *l);
/* Returns ns, at least MEM_SLEEP_NS; 0: it has not slept, or not in a page fault. *end: now. */
uint64_t mem_look_end(const struct mem_look *l, uint64_t *end);

/* What was slept has other reasons: an outer look does not find it. */
void mem_look_forgive(const struct mem_look *l);

/* Cheaper, for a first suspicion: has the thread slept, and had page faults, since the last call?
 */
bool mem_look_suspects(void);

/* Whose memory the calling thread maps from now on (NULL: nobody's), and who that is. The caller
 * keeps the account. */
void mem_payer_set(struct mem_account *a);
struct mem_account *mem_payer(void);

/* Around each call that maps or unmaps a peer's memory. What it has slept is charged to @a (NULL:
 * nobody), unless another thread was in such a call before, whose lock it may have waited for. */
void mem_map_begin(struct mem_look *l);
void mem_map_end(const struct mem_look *l, struct mem_account *a);
/* When the last such call ended that took MEM_SLEEP_NS or more, on any thread (CLOCK_MONOTONIC,
 * ns); UINT64_MAX: one has taken that long already. */
uint64_t mem_maps_slow(void);

#endif
