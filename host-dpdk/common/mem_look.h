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
 * Whoever sleeps may keep a lock of the process that another thread needs, who sleeps too: mostly
 * that of the address space, which a call that maps keeps (mem_map_begin()), and so may a page
 * fault; others need it for a map, for malloc(), and before Linux 6.7 for each page fault in a
 * shared file. So a sleep is not charged for as long as another thread did something in which it
 * may sleep, and had begun before; or, if it was in a page fault, as another one mapped. What
 * zvsockd and libzvsock-host know of each other's threads is in mem_others_by(): the library does
 * not know what lcores do.
 *
 * mem_for() costs a reading of the clock; what the kernel counts for the thread is read only once
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

/* For how long between @since and @now (CLOCK_MONOTONIC, ns) other threads mapped peers' memory, or
 * had begun before to work with it: those that still do, and the last ones that have slept. */
uint64_t mem_others_took(uint64_t since, uint64_t now);

/* Another mem_others_took(), which is asked as well: libzvsock-host, which maps, has a copy of this
 * file, and zvsockd another one. */
void mem_others_by(uint64_t (*fn)(uint64_t since, uint64_t now));

#endif
