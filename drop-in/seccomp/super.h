/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mode seccomp: AF_VSOCK for programs that make their own system calls.
 *
 * Theory of operation
 * -------------------
 * A seccomp filter (filter.h) stops the few system calls that name a socket or an address and shows
 * them to the supervisor, a process of ours; all others, read(2) and write(2) among them, run as
 * ever. The supervisor makes socket(2)'s and accept(2)'s descriptors itself and has the kernel put
 * them into the program (ADDFD); bind(2) and connect(2) it applies to the program's own open file,
 * of which pidfd_getfd(2) gives it a descriptor. What a socket is, is kept in the socket
 * (drop-in/common/di.h), so the supervisor has no table of the program's descriptors to keep in
 * step with dup(2), close(2), fork(2), execve(2) or passing. Calls on sockets that are not ours
 * continue in the kernel.
 *
 * This is a convenience, not a sandbox. Continuing a call is safe because it can do no more than
 * the program may do by itself. What the supervisor acts on is its own copy of an address, read
 * once; and before it acts it asks whether the call still waits, so that the thread that it looked
 * at is the one that called.
 *
 * The program keeps the process that was started as zvsock-run; the supervisor is no parent and no
 * child of it. So exit status, signals, job control, the terminal, a service manager's main process
 * and prctl(PR_SET_PDEATHSIG) are exactly what they are without us, and the program never finds a
 * child that it did not start. It serves all processes that descend from the program, and ends when
 * the last one has: the kernel hangs up the filter's descriptor then. If it is killed, the calls
 * that it should see fail with ENOSYS, of sockets of any family.
 *
 * Signals: with WAIT_KILLABLE_RECV (Linux 5.19) a call that the supervisor has taken cannot be
 * interrupted, but by death, so none is done twice or halfway. A blocking connect(2) or accept(2)
 * must be: while such calls are under way the supervisor looks at the thread's pending signals
 * (blocked.h).
 *
 * Threads: each takes a notification, answers it, takes the next one. There is always one that is
 * idle, so a call that blocks holds up nobody.
 */
#ifndef ZV_DROPIN_SUPER_H
#define ZV_DROPIN_SUPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/di.h"

struct di_blocked;
struct di_kept;
struct di_left;

struct di_super {
	int notify; /* the filter's descriptor */
	struct di di;
	unsigned tcp; /* the host's port for connections by TCP; 0: they are the kernel's */

	pthread_mutex_t lock; /* of all below */
	unsigned idle, threads;
	struct di_blocked *blocked;
	struct di_kept *kept;
	struct di_left *left; /* NULL: without tcp */
	_Atomic unsigned n_left;
	int dns;   /* epoll of the name server's ends; -1: none yet */
	int bell;  /* eventfd: there is something to look at again and again */
	int epoll; /* of the main thread: notify, bell, pidfds of callers that block */
};

struct di_super_opts {
	const char *dir;
	bool verbose; /* one line on standard error about each question that failed */
	bool opens;   /* answer open(2) of /dev/vsock */
	unsigned tcp; /* connections by TCP leave by this port of the host; 0: not */
	bool dgrams;  /* SOCK_DGRAM: messages.c sees what it takes */
};

/*
 * Starts a supervisor and puts the calling process, which must have one thread, under the filter;
 * it is to call execve(2) next. 0; -errno: nothing has happened, and @why says in one line what is
 * wrong. Privileges that execve(2) would give are gone (no_new_privs) unless the caller is root.
 */
int di_super_start(const struct di_super_opts *o, char *why, size_t size);

/* Serves @notify until nobody is under the filter. */
void di_super_serve(int notify, const struct di_super_opts *o);

#endif
