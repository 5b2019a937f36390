/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detached threads, for work that nobody waits for. All signals are blocked in them, because these
 * are for the application's threads.
 */
#ifndef ZV_THREAD_START_H
#define ZV_THREAD_START_H

/* Starts @run(@arg) in a thread called @name (static; at most 15 characters, for ps -L). It has the
 * CPUs and the priority of the caller. 0, or -errno: there is none. */
int thread_start(const char *name, void *(*run)(void *), void *arg);

/* The same on any CPU of the process and without real-time priority: for a caller that may be an
 * lcore, which has a CPU of its own. */
int thread_start_apart(const char *name, void *(*run)(void *), void *arg);

#endif
