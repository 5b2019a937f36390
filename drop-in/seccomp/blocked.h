/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that block: a thread of the supervisor is in connect(2) or accept(2) on behalf of one of
 * the program, which cannot get a signal meanwhile. The main thread looks after them when a caller
 * has died, and every 20 to 100 ms: then, and when a signal waits for it, the thread is
 * interrupted, and the call is answered so that the kernel delivers the signal and then restarts
 * the call or lets it fail with EINTR, as its rules say.
 *
 * And connections that were accepted for a call that nobody waits for any more: they are kept for
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
	unsigned perhaps; /* how many looks in a row found a signal for some thread */
	bool gone;	  /* the caller does not wait any more */
	bool sure, interrupted;
};

/* Once, before threads are made. */
int di_blocked_init(void);

/*
 * From here on the calling thread's system calls may fail with EINTR; until leave(). @pidfd stands
 * for who made the call, and stays open as long.
 */
void di_blocked_enter(struct di_super *s, struct di_blocked *b, const struct seccomp_notif *n,
		      int pidfd);
void di_blocked_leave(struct di_super *s, struct di_blocked *b);

/*
 * What a call whose system call failed with EINTR is answered, after leave(). @restart: it is one
 * that SA_RESTART restarts. 0: there is no reason: go on. Otherwise -errno or DI_DONE.
 */
long di_blocked_answer(const struct di_blocked *b, bool restart);

/* Looks at all. Returns after how many ms to look again; -1: when the bell rings. */
int di_blocked_look(struct di_super *s);

/* What the listener @fd is known by. 0: it is not known. */
ino_t di_listener(int fd);

/*
 * Takes @conn, a descriptor of ours, accepted from @listener for a process that @pidfd (which is
 * duplicated) stands for: it is closed when that ends, or after a minute.
 */
void di_keep(struct di_super *s, ino_t listener, int pidfd, int conn);

/* The oldest one of @listener. -1: none. */
int di_kept(struct di_super *s, ino_t listener);

#endif
