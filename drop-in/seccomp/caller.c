/* SPDX-License-Identifier: BSD-3-Clause */
#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIDFD_OF_THREAD O_EXCL /* PIDFD_THREAD, Linux 6.9 */
#define STATUS_BYTES	4096
#define PAGE		4096u

static bool read_file(const char *path, char text[static STATUS_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, text, STATUS_BYTES - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

/* /proc/TID/status. False: the thread is gone. */
static bool read_status(pid_t tid, char text[static STATUS_BYTES])
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	return read_file(path, text);
}

/* The number behind "@name", which begins with a newline. 0: there is none. */
static uint64_t status_number(const char *text, const char *name, int base)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, base) : 0;
}

int di_caller_open(struct di_caller *t, pid_t tid)
{
	char status[STATUS_BYTES];

	t->tid = tid;
	t->mem = -1;
	t->pidfd = (int)syscall(SYS_pidfd_open, tid, PIDFD_OF_THREAD);
	if (t->pidfd < 0 && errno == EINVAL) { /* a kernel that has pidfds of processes only */
		if (!read_status(tid, status))
			return -ESRCH;
		t->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)status_number(status, "\nTgid:", 10),
					0);
	}
	return t->pidfd < 0 ? -errno : 0;
}

void di_caller_close(struct di_caller *t)
{
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->mem >= 0)
		close(t->mem);
	t->pidfd = t->mem = -1;
}

int di_caller_fd(const struct di_caller *t, int fd)
{
	int ours = (int)syscall(SYS_pidfd_getfd, t->pidfd, fd, 0);

	return ours < 0 ? -errno : ours;
}

bool di_caller_cloexec(const struct di_caller *t, int fd)
{
	char path[60], text[STATUS_BYTES];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)t->tid, fd);
	return read_file(path, text) && status_number(text, "\nflags:", 8) & O_CLOEXEC;
}

int di_caller_gather(const struct di_caller *t, const struct iovec *at, size_t n, void *to,
		     size_t len)
{
	const struct iovec mine = {to, len};
	ssize_t got = len ? process_vm_readv(t->tid, &mine, 1, at, n, 0) : 0;

	if (got < 0)
		return -errno;
	return (size_t)got == len ? 0 : -EFAULT;
}

int di_caller_hold(struct di_caller *t)
{
	char path[40];

	if (t->mem >= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)t->tid);
	t->mem = open(path, O_WRONLY | O_CLOEXEC);
	return t->mem < 0 ? -errno : 0;
}

int di_caller_write(const struct di_caller *t, uint64_t at, const void *from, size_t len)
{
	ssize_t n = len ? pwrite(t->mem, from, len, (off_t)at) : 0;

	return n == (ssize_t)len ? 0 : -EFAULT;
}

int di_caller_scatter(const struct di_caller *t, const struct iovec *at, size_t n, const void *from,
		      size_t len)
{
	const char *next = from;
	int r = 0;

	for (size_t i = 0; i < n && len && !r; i++) {
		size_t part = at[i].iov_len < len ? at[i].iov_len : len;

		r = di_caller_write(t, (uintptr_t)at[i].iov_base, next, part);
		next += part;
		len -= part;
	}
	return r ? r : len ? -EFAULT : 0;
}

int di_caller_read(const struct di_caller *t, uint64_t at, void *to, size_t len)
{
	const struct iovec theirs = {(void *)(uintptr_t)at, len};

	return di_caller_gather(t, &theirs, 1, to, len);
}

int di_caller_string(const struct di_caller *t, uint64_t at, char *to, size_t size)
{
	size_t got = 0;

	while (got < size) { /* page by page: the one behind the string may not be there */
		size_t part = PAGE - (size_t)((at + got) % PAGE);
		int r;

		if (part > size - got)
			part = size - got;
		r = di_caller_read(t, at + got, to + got, part);
		if (r < 0)
			return r;
		if (memchr(to + got, '\0', part))
			return 0;
		got += part;
	}
	return -ENAMETOOLONG;
}

int di_caller_user(const struct di_caller *t, uid_t *user)
{
	char status[STATUS_BYTES], *end;
	const char *uid;

	if (!read_status(t->tid, status))
		return -ESRCH;
	uid = strstr(status, "\nUid:");
	if (!uid)
		return -ESRCH;
	(void)strtoull(uid + strlen("\nUid:"), &end, 10); /* the real one */
	*user = (uid_t)strtoull(end, NULL, 10);
	return 0;
}

/*
 * A signal to the process is given to its first thread if that does not block it (signal(7) leaves
 * it open; the kernel does that), else to any that does not.
 */
enum di_signal di_caller_signal(pid_t tid)
{
	char status[STATUS_BYTES];
	uint64_t open, shared;
	pid_t group;

	if (!read_status(tid, status))
		return DI_SIGNAL_NONE;
	open = ~status_number(status, "\nSigBlk:", 16);
	shared = status_number(status, "\nShdPnd:", 16) & open;
	if (status_number(status, "\nSigPnd:", 16) & open)
		return DI_SIGNAL_CERTAIN;
	if (!shared)
		return DI_SIGNAL_NONE;
	group = (pid_t)status_number(status, "\nTgid:", 10);
	if (group == tid || status_number(status, "\nThreads:", 10) == 1)
		return DI_SIGNAL_CERTAIN;
	if (read_status(group, status) && (shared & ~status_number(status, "\nSigBlk:", 16)))
		return DI_SIGNAL_NONE; /* the first thread's */
	return DI_SIGNAL_POSSIBLE;
}
