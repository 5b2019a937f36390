/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread sleeps because of peers' memory, and whose memory it was.
 *
 * Theory of operation
 * -------------------
 * A thread says with whose memory it works from now on (mem_for()), and with nobody's when it is
 * done. When that changes, what the thread has slept since is charged to the account that it had
 * said. So each sleep has one payer, and a peer is not charged for what was slept in another one's
 * memory. Whoever has the memory of two peers in hand says which of them it is using.
 *
 * Time on a CPU is not sleep, nor is time without one: a thread that was preempted, or that has to
 * wait for the CPU after it was woken, loses the time to the machine. What remains is slept. It is
 * the memory's doing if there was a page fault meanwhile, or it was a call that maps memory. The
 * kernel says all this in /proc/thread-self/schedstat and getrusage(2); if it does not, nothing is
 * charged.
 *
 * A call that maps memory (mem_map_begin()) keeps the lock of the process's address space while it
 * sleeps, and whoever needs that lock sleeps too: for a page fault before Linux 6.4, or for another
 * map. For as long as such a call went on, neither is charged, unless it is a map and began before.
 * One that unmaps lets page faults pass, and keeps only maps waiting.
 *
 * A call costs two readings of the clock; what the kernel counts for the thread is read only once
 * MEM_SLEEP_NS / 2 have passed.
 */
#ifndef ZV_MEM_LOOK_H
#define ZV_MEM_LOOK_H

#include "mem_sleep.h"

#include <stdbool.h>

/* For a thread that is asked often: a descriptor stays open, so that one is there when others have
 * used them up. */
void mem_thread_begin(void);
void mem_thread_end(void);

/* The calling thread works with the memory of @a's peer from now on; NULL: with nobody's. Returns
 * what it had said before. The caller keeps the account until that is over. */
struct mem_account *mem_for(struct mem_account *a);
struct mem_account *mem_payer(void);

/* Has the thread slept, and had page faults, since the last call? Cheap; a hint. */
bool mem_look_suspects(void);
/* For how long it has slept, ns, since the last call of this or mem_look_awake(), with whose memory
 * ever it worked. 0 without a page fault. */
uint64_t mem_look_slept(void);
void mem_look_awake(void);

/* Around each call of mmap(2) or mremap(2), or of munmap(2), for a peer's memory; @a pays (NULL:
 * nobody). mem_map_end() gets what the beginning has returned. */
struct mem_account *mem_map_begin(struct mem_account *a);
struct mem_account *mem_unmap_begin(struct mem_account *a);
void mem_map_end(struct mem_account *was);

/* For how long between @since and @now (CLOCK_MONOTONIC, ns) calls that map, of any thread, went
 * on: the longest of those that are under way, and the last ones that have slept. */
uint64_t mem_maps_took(uint64_t since, uint64_t now);

/* The mem_maps_took() that tells of all: libzvsock-host, which maps, has a copy of this file, and
 * zvsockd another one. */
void mem_maps_by(uint64_t (*fn)(uint64_t since, uint64_t now));

#endif
