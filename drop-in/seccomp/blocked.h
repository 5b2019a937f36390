/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that block: a thread of the supervisor is in connect(2) or accept(2) for a thread of the
 * program, which cannot get a signal meanwhile. The main thread checks these calls when a caller
 * has died, and every 20 to 100 ms. If the caller has died, or a signal is pending for it, the
 * supervisor's thread is interrupted, and the call is answered so that the kernel delivers the
 * signal and then restarts the call or lets it fail with EINTR, according to its rules.
 *
 * Also: connections that were accepted for a call whose caller no longer waits. They are kept for
 * the next accept(2) on that listener.
 */
#ifndef ZV_DROPIN_BLOCKED_H
#define ZV_DROPIN_BLOCKED_H

#include <linux/seccomp.h>
#include <sys/types.h>

#include "super.h"

#define DI_BLOCKED_SIGNAL SIGUSR1

struct di_blocked {
	struct di_blocked *next;
	uint64_t id;
	pid_t tid;
	pthread_t thread;
	int pidfd;
	unsigned n_possible; /* consecutive checks that found a signal for some thread */
	bool gone;	     /* the caller no longer waits */
	bool certain, interrupted;
};

/* Call once, before threads are created. */
int di_blocked_init(void);

/* From now on system calls of the calling thread may fail with EINTR, until di_blocked_leave().
 * @pidfd refers to the caller, and must stay open until then. */
void di_blocked_enter(struct di_super *s, struct di_blocked *b, const struct seccomp_notif *n,
		      int pidfd);
void di_blocked_leave(struct di_super *s, struct di_blocked *b);

/* The answer for a call whose system call failed with EINTR, after di_blocked_leave(). @restart:
 * SA_RESTART restarts it. 0: there is no reason: continue. Otherwise -errno or DI_DONE. */
long di_blocked_answer(const struct di_blocked *b, bool restart);

/* Checks all blocked calls. Returns the time to the next check in ms; -1: when the bell rings. */
int di_blocked_check(struct di_super *s);

/* The identity of the listener @fd. 0: not known. */
ino_t di_listener(int fd);

/* Takes over @conn, a descriptor of ours, accepted from @listener for the process of @pidfd (which
 * is duplicated): it is closed when that process ends, or after a minute. */
void di_park(struct di_super *s, ino_t listener, int pidfd, int conn);

/* Returns the oldest kept connection of @listener. -1: none. */
int di_parked(struct di_super *s, ino_t listener);

#endif
