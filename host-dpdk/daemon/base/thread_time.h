/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a thread of this process has spent a time, as the kernel counts it: on a CPU, waiting for
 * one, or asleep. So that the log tells whether a thread that does not answer has too much to do,
 * or its machine has.
 */
#ifndef ZVD_THREAD_TIME_H
#define ZVD_THREAD_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct thread_time {
	bool known;	/* false: the kernel does not say (CONFIG_SCHED_INFO), or /proc is absent */
	char state;	/* /proc/PID/stat: R runs or waits for a CPU, S sleeps, D cannot be woken */
	uint64_t at_ns; /* when it was taken: now_ns() */
	uint64_t ran_ns;  /* in its life */
	uint64_t wait_ns; /* runnable, without a CPU; what it waits for now is not in it yet */
};

/* How often the calling thread has waited in the kernel in its life. Being preempted does not
 * count.
 */
uint64_t thread_waits(void);

/* Of thread @tid of this process. */
struct thread_time thread_time_now(pid_t tid);

/* Writes what it did between two of these, and who has to be looked at, to @text. */
void thread_time_text(const struct thread_time *from, const struct thread_time *to, char *text,
		      size_t size);

#endif
