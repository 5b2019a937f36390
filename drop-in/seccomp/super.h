/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mode seccomp: AF_VSOCK for programs that make their own system calls.
 *
 * Theory of operation
 * -------------------
 * A seccomp filter (filter.h) stops the few system calls that name a socket or an address and
 * reports them to the supervisor, a process of ours; all others, including read(2) and write(2),
 * run as usual. The supervisor creates the descriptors of socket(2) and accept(2) itself and has
 * the kernel install them in the program (ADDFD). bind(2) and connect(2) are applied to the
 * program's own open file, for which pidfd_getfd(2) returns a descriptor. The state of a socket is
 * kept in the socket (drop-in/common/di.h), so the supervisor has no table of the program's
 * descriptors that would have to follow dup(2), close(2), fork(2), execve(2) or descriptor passing.
 * Calls on other sockets continue in the kernel.
 *
 * This is a convenience, not a sandbox. Continuing a call is safe because it can do no more than
 * the program may do by itself. The supervisor acts on its own copy of an address, read once; and
 * before it acts it checks that the call still waits, so that the thread it examined is the one
 * that called.
 *
 * The program keeps the process that was started as zvsock-run; the supervisor is neither its
 * parent nor its child. So exit status, signals, job control, the terminal, a service manager's
 * main process and prctl(PR_SET_PDEATHSIG) are exactly as without the supervisor, and the program
 * never sees a child that it did not start. The supervisor serves all processes that descend from
 * the program, and ends when the last one has ended: the kernel then hangs up the filter's
 * descriptor. If the supervisor is killed, the calls that would be reported to it fail with ENOSYS,
 * for sockets of any family.
 *
 * Signals: with WAIT_KILLABLE_RECV (Linux 5.19) only death can interrupt a call that the supervisor
 * has received, so no call is done twice or halfway. But a blocking connect(2) or accept(2) must be
 * interruptible: while such calls are in progress the supervisor checks the pending signals of the
 * calling thread (blocked.h).
 *
 * Threads: each receives a notification, answers it, and receives the next one. One thread is
 * always idle, so a call that blocks delays no others.
 */
#ifndef ZV_DROPIN_SUPER_H
#define ZV_DROPIN_SUPER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/di.h"

struct di_blocked;
struct di_parked;
struct di_outbound;

struct di_super {
	int notify; /* the filter's descriptor */
	struct di di;
	unsigned tcp; /* the host port for TCP connections; 0: the kernel makes them */

	pthread_mutex_t lock; /* protects everything below */
	unsigned idle, threads;
	struct di_blocked *blocked;
	struct di_parked *parked;
	struct di_gift *gifts;	      /* files that programs have got, and we not closed yet */
	pthread_cond_t given;	      /* one of these is closed */
	struct di_outbound *outbound; /* NULL: without tcp */
	_Atomic unsigned n_outbound;
	int dns;   /* epoll of the sockets of the name server; -1: none yet */
	int bell;  /* eventfd: there is something to check repeatedly */
	int epoll; /* main thread: notify, bell, pidfds of blocked callers */
};

struct di_super_opts {
	const char *dir;
	bool verbose; /* one line on standard error for each failed request */
	bool opens;   /* answer open(2) of /dev/vsock */
	unsigned tcp; /* TCP connections go through this host port; 0: no */
	bool dgrams;  /* SOCK_DGRAM: messages.c handles the calls for it */
};

/*
 * Starts a supervisor and installs the filter in the calling process, which must have one thread
 * and call execve(2) next. 0; -errno: nothing has happened, and @why says in one line what is
 * wrong. Unless the caller is root, execve(2) gives no privileges any more (no_new_privs).
 */
int di_super_start(const struct di_super_opts *o, char *why, size_t size);

/* Serves @notify until no process has the filter any more. */
void di_super_serve(int notify, const struct di_super_opts *o);

#endif
