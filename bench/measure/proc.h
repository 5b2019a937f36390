/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The processes of the bench.
 *
 * Theory of operation
 * -------------------
 * A child is forked with one end of a SEQPACKET socket pair. Commands go down and answers come up;
 * end of file tells the parent at once that a child has died. Results are too large for that
 * socket: they are in memory shared by proc_shared(). Every wait of the parent has a deadline; a
 * child that misses it is killed by its pid. Children die with their parent (PR_SET_PDEATHSIG).
 */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_ERR_LEN 320

struct proc {
	pid_t pid; /* 0: none */
	int fd;	   /* parent's end */
	const char *name;
};

/* One line for the user: what went wrong last. Written by both sides through proc_shared(). */
struct proc_err {
	char text[BENCH_ERR_LEN];
};

/* Set by SIGINT and SIGTERM: everything winds down. */
extern volatile int proc_interrupted;
void proc_catch_signals(void);

/* Zeroed memory shared with the children forked later; NULL when there is none. */
void *proc_shared(size_t len);
void proc_unshare(void *p, size_t len);

/* Forks a child that runs @fn(fd, arg) and exits with its result. 0 or -errno. */
int proc_spawn(struct proc *p, const char *name, int (*fn)(int fd, void *arg), void *arg);

/* Parent: sends a message; 0 or -errno. */
int proc_send(struct proc *p, const void *msg, size_t len);
/*
 * Parent: waits for one message from @p. Bytes received, or -ETIMEDOUT, -EPIPE (it died), -EINTR
 * (the user stopped the run).
 */
ssize_t proc_recv(struct proc *p, void *msg, size_t len, uint64_t deadline_ns);
/* Parent: closes the socket, waits until @deadline_ns, kills if need be. The exit code or -errno.
 */
int proc_finish(struct proc *p, uint64_t deadline_ns);
/* Parent: kills and reaps. */
void proc_kill(struct proc *p);

/* Child: says one byte; waits for one byte. 0, or -EPIPE when the parent is gone. */
int proc_child_send(int fd, char c);
int proc_child_wait(int fd, char *c);

/*
 * Parent: runs @guest and @host as two children: waits until both said 'r', lets both go, waits
 * until both said 'd'. Both are gone on return. 0 or -errno with a sentence in @err.
 */
int proc_pair(int (*guest)(int fd, void *arg), int (*host)(int fd, void *arg), void *arg,
	      uint64_t timeout_ns, struct proc_err *err);

/* The futex of a process-shared word: sleeps while *word == value; wakes all sleepers. */
void proc_futex_wait(uint32_t *word, uint32_t value);
void proc_futex_wake(uint32_t *word);

#endif
