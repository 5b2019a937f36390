/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that made a system call: its descriptors, its memory, its signals. It may end at any
 * moment and its number may be reused, so after these calls the user must check that the call still
 * waits (SECCOMP_IOCTL_NOTIF_ID_VALID) before using the result. What is written cannot be checked
 * afterwards: di_caller_hold() comes first.
 */
#ifndef ZV_DROPIN_CALLER_H
#define ZV_DROPIN_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct di_caller {
	pid_t tid;
	int pidfd;
	int mem; /* its memory, whoever gets the number later; -1: not held */
};

/* Sets *t. 0 or -errno; -ESRCH: the thread is gone. */
int di_caller_open(struct di_caller *t, pid_t tid);
void di_caller_close(struct di_caller *t);

/* A new descriptor of ours, CLOEXEC, for the open file of its descriptor @fd. -EBADF: it has none;
 * -EPERM. */
int di_caller_fd(const struct di_caller *t, int fd);

/* Is its descriptor @fd close-on-exec? */
bool di_caller_cloexec(const struct di_caller *t, int fd);

/* Copies @len bytes of its memory at @at. 0; -EFAULT: not all of it can be read; -EPERM. */
int di_caller_read(const struct di_caller *t, uint64_t at, void *to, size_t len);

/* Opens its memory for di_caller_write() and di_caller_scatter(). If the call still waits after
 * that, all that is written from then on goes to the program or nowhere. 0 or -errno. */
int di_caller_hold(struct di_caller *t);
int di_caller_write(const struct di_caller *t, uint64_t at, const void *from, size_t len);

/* The same with @len bytes in the @n pieces @at of its memory, which may be longer in all. */
int di_caller_gather(const struct di_caller *t, const struct iovec *at, size_t n, void *to,
		     size_t len);
int di_caller_scatter(const struct di_caller *t, const struct iovec *at, size_t n, const void *from,
		      size_t len);

/* Copies a string of less than @size bytes. -ENAMETOOLONG, -EFAULT. */
int di_caller_string(const struct di_caller *t, uint64_t at, char *to, size_t size);

/* Its effective user. -errno. */
int di_caller_user(const struct di_caller *t, uid_t *user);

/* Is a signal pending for the thread? It cannot get it while it waits for us. SURE: the kernel has
 * chosen this thread for it. PERHAPS: it, or another thread of the process. */
enum di_signal { DI_SIGNAL_NONE, DI_SIGNAL_POSSIBLE, DI_SIGNAL_CERTAIN };
enum di_signal di_caller_signal(pid_t tid);

#endif
