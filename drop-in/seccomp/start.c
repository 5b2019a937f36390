/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "super.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

/* What of zvsock-run's the supervisor must not hold: others wait for these to be closed. */
static int leave_descriptors(int line, bool verbose)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || line == 3)
		return null < 0 ? -errno : line;
	for (int fd = 0; fd < (verbose ? 2 : 3); fd++)
		if (null != fd && dup2(null, fd) < 0)
			return -errno;
	if (dup3(line, 3, O_CLOEXEC) < 0)
		return -errno;
	(void)syscall(SYS_close_range, 4u, ~0u, 0u);
	return 3;
}

/* A service manager and a terminal signal the program: we end when it has ended. */
static void leave_session(void)
{
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR2, SIGALRM};
	struct rlimit files;
	sigset_t all;

	setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	(void)!chdir("/");
	prctl(PR_SET_NAME, "zvsock-super");
	prctl(PR_SET_PDEATHSIG, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* One byte and perhaps a descriptor. */
static bool send_fd(int line, int fd)
{
	char byte = 0;
	struct iovec v = {&byte, 1};
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = {.h = {.cmsg_len = CMSG_LEN(sizeof(int)),
		     .cmsg_level = SOL_SOCKET,
		     .cmsg_type = SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = &u,
			   .msg_controllen = sizeof(u.room)};

	memcpy(CMSG_DATA(&u.h), &fd, sizeof(fd));
	return sendmsg(line, &m, MSG_NOSIGNAL) == 1;
}

/* Passes on the filter's descriptor, from a thread that is not under the filter, because the filter
 * may stop sendmsg(2) before anybody answers. */
struct courier {
	pthread_t thread;
	sem_t go;
	int line, fd; /* -1: nothing to hand over */
	bool sent;
};

static void *carry(void *arg)
{
	struct courier *c = arg;

	while (sem_wait(&c->go) < 0)
		;
	c->sent = c->fd >= 0 && send_fd(c->line, c->fd);
	return NULL;
}

static bool courier_start(struct courier *c, int line)
{
	*c = (struct courier){.line = line};
	return sem_init(&c->go, 0, 0) == 0 && pthread_create(&c->thread, NULL, carry, c) == 0;
}

/* The thread has ended: execve(2) may follow. */
static bool courier_send(struct courier *c, int fd)
{
	c->fd = fd;
	sem_post(&c->go);
	pthread_join(c->thread, NULL);
	sem_destroy(&c->go);
	return c->sent;
}

static int receive_fd(int line)
{
	char byte;
	struct iovec v = {&byte, 1};
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u;
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = &u,
			   .msg_controllen = sizeof(u.room)};
	int fd;

	if (recvmsg(line, &m, MSG_CMSG_CLOEXEC) != 1 || m.msg_controllen < CMSG_LEN(sizeof(fd)))
		return -1;
	memcpy(&fd, CMSG_DATA(&u.h), sizeof(fd));
	return fd;
}

_Noreturn static void supervisor(int line, const struct di_super_opts *o)
{
	pid_t self = getpid();
	int notify;

	leave_session();
	line = leave_descriptors(line, o->verbose);
	if (line < 0 || write(line, &self, sizeof(self)) != sizeof(self))
		_exit(1);
	notify = receive_fd(line);
	if (notify < 0 || write(line, "", 1) != 1)
		_exit(1);
	close(line);
	di_super_serve(notify, o);
	_exit(1);
}

/* Forks twice: the supervisor must not be a child that the program can find. */
static pid_t fork_supervisor(int line, int theirs, const struct di_super_opts *o)
{
	pid_t middle = fork(), pid = -1;

	if (middle == 0) {
		close(line);
		pid = fork();
		if (pid == 0)
			supervisor(theirs, o);
		_exit(pid < 0);
	}
	close(theirs);
	if (middle < 0)
		return -1;
	while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
		;
	return read(line, &pid, sizeof(pid)) == sizeof(pid) ? pid : -1;
}

static int filter_self(const struct di_super_opts *o)
{
	struct sock_filter code[DI_FILTER_MAX];
	unsigned with = (o->opens ? DI_FILTER_OPENS : 0) | (o->tcp ? DI_FILTER_TCP : 0) |
			(o->dgrams ? DI_FILTER_DGRAM : 0);
	struct sock_fprog prog = {.len = (unsigned short)di_filter(code, with), .filter = code};
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	int fd;

	/* Without no_new_privs this needs CAP_SYS_ADMIN; setuid programs then keep working. */
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			  flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog);
	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (fd < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		return filter_self(o);
	return fd < 0 ? -errno : fd;
}

__attribute__((format(printf, 4, 5))) static int failed(int r, char *why, size_t size,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
	return r;
}

int di_super_start(const struct di_super_opts *o, char *why, size_t size)
{
	struct courier courier;
	int line[2], notify;
	bool ready;
	pid_t pid;
	char byte;

	if (!di_filter_arch())
		return failed(-ENOSYS, why, size,
			      "mode seccomp knows x86-64 and aarch64 only: use --mode preload");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line) < 0)
		return failed(-errno, why, size, "a socket pair: %s", strerror(errno));
	pid = fork_supervisor(line[0], line[1], o);
	if (pid < 0 || !courier_start(&courier, line[0])) {
		close(line[0]);
		return failed(-EAGAIN, why, size, "the supervisor cannot be started: %s",
			      strerror(errno));
	}
	notify = filter_self(o);
	if (notify < 0) {
		courier_send(&courier, -1);
		close(line[0]);
		return failed(notify, why, size,
			      "this kernel or container takes no seccomp filter with user "
			      "notification (%s)%s",
			      strerror(-notify),
			      notify == -EBUSY ? ": this process is under a supervisor already"
					       : ": Linux 5.14 or later is needed");
	}
	/* If Yama lets only ancestors access a process, this lets the supervisor access this
	 * process, but not its children. */
	(void)prctl(PR_SET_PTRACER, pid, 0, 0, 0);
	ready = courier_send(&courier, notify);
	close(notify);
	ready = ready && read(line[0], &byte, 1) == 1;
	close(line[0]);
	if (!ready) /* the filter is installed and nobody serves it: its calls fail with ENOSYS */
		return failed(-ECHILD, why, size, "the supervisor has ended at once");
	return 0;
}
