/* SPDX-License-Identifier: BSD-3-Clause */
#include "proc.h"

#include "cpu.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int proc_interrupted;

static void on_signal(int sig)
{
	(void)sig;
	proc_interrupted = 1;
}

void proc_catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: waits must end */

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void *proc_shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void proc_unshare(void *p, size_t len)
{
	if (p)
		munmap(p, len);
}

int proc_spawn(struct proc *p, const char *name, int (*fn)(int fd, void *arg), void *arg)
{
	pid_t parent = getpid();
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	fflush(NULL);
	p->name = name;
	p->pid = fork();
	if (p->pid < 0) {
		int err = -errno;

		p->pid = 0;
		close(sv[0]);
		close(sv[1]);
		return err;
	}
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		/* Ctrl-C reaches the whole group: only the parent decides when to stop. */
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		close(sv[0]);
		_exit(fn(sv[1], arg));
	}
	close(sv[1]);
	p->fd = sv[0];
	return 0;
}

int proc_send(struct proc *p, const void *msg, size_t len)
{
	ssize_t n = send(p->fd, msg, len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

ssize_t proc_recv(struct proc *p, void *msg, size_t len, uint64_t deadline_ns)
{
	struct pollfd pfd = {.fd = p->fd, .events = POLLIN};

	for (;;) {
		uint64_t now = cpu_now_ns();
		ssize_t n;
		int rc;

		if (proc_interrupted)
			return -EINTR;
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		rc = poll(&pfd, 1, (int)((deadline_ns - now) / 1000000u % INT_MAX) + 1);
		if (rc <= 0)
			continue;
		n = recv(p->fd, msg, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == ECONNRESET ? -EPIPE : -errno;
		return n == 0 ? -EPIPE : n;
	}
}

void proc_kill(struct proc *p)
{
	if (p->pid <= 0)
		return;
	kill(p->pid, SIGKILL);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
	close(p->fd);
}

int proc_finish(struct proc *p, uint64_t deadline_ns)
{
	struct timespec nap = {.tv_nsec = 200000};
	int status;

	if (p->pid <= 0)
		return 0;
	shutdown(p->fd, SHUT_WR);
	for (;;) {
		pid_t rc = waitpid(p->pid, &status, WNOHANG);

		if (rc == p->pid)
			break;
		if (rc < 0 && errno != EINTR)
			return -errno;
		if (cpu_now_ns() >= deadline_ns) {
			proc_kill(p);
			return -ETIMEDOUT;
		}
		nanosleep(&nap, NULL);
	}
	p->pid = 0;
	close(p->fd);
	if (WIFSIGNALED(status))
		return -ECHILD;
	return WEXITSTATUS(status);
}

int proc_child_send(int fd, char c)
{
	return send(fd, &c, 1, MSG_NOSIGNAL) == 1 ? 0 : -EPIPE;
}

int proc_child_wait(int fd, char *c)
{
	ssize_t n;

	do
		n = recv(fd, c, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -EPIPE;
}

/* A side that did not say what it should. */
static int pair_fails(const struct proc *p, ssize_t n, struct proc_err *err)
{
	if (!err->text[0])
		snprintf(err->text, sizeof(err->text), "the %s side %s", p->name,
			 n == -ETIMEDOUT ? "did not finish in time" : "ended early");
	return n < 0 ? (int)n : -EIO;
}

/*
 * Waits for the byte @want from both; anything else is that side's failure. Of both at once: a side
 * that has failed may be what the other waits for.
 */
static int pair_expect(struct proc p[2], char want, uint64_t deadline_ns, struct proc_err *err)
{
	struct pollfd pfd[2] = {{.fd = p[0].fd, .events = POLLIN},
				{.fd = p[1].fd, .events = POLLIN}};

	while (pfd[0].fd >= 0 || pfd[1].fd >= 0) {
		uint64_t now = cpu_now_ns();

		if (proc_interrupted)
			return -EINTR;
		if (now >= deadline_ns)
			return pair_fails(&p[pfd[0].fd < 0], -ETIMEDOUT, err);
		if (poll(pfd, 2, (int)((deadline_ns - now) / 1000000u % INT_MAX) + 1) <= 0)
			continue;
		for (int i = 0; i < 2; i++) {
			char c = 0;
			ssize_t n;

			if (pfd[i].fd < 0 || !pfd[i].revents)
				continue;
			n = proc_recv(&p[i], &c, 1, deadline_ns);
			if (n == -EINTR)
				return -EINTR;
			if (n != 1 || c != want)
				return pair_fails(&p[i], n, err);
			pfd[i].fd = -1;
		}
	}
	return 0;
}

int proc_pair(int (*guest)(int fd, void *arg), int (*host)(int fd, void *arg), void *arg,
	      uint64_t timeout_ns, struct proc_err *err)
{
	uint64_t deadline = cpu_now_ns() + timeout_ns;
	struct proc p[2] = {{0}, {0}};
	int rc;

	err->text[0] = '\0';
	rc = proc_spawn(&p[0], "guest", guest, arg);
	if (rc == 0)
		rc = proc_spawn(&p[1], "host", host, arg);
	if (rc < 0)
		snprintf(err->text, sizeof(err->text), "cannot start a process: %s", strerror(-rc));
	if (rc == 0)
		rc = pair_expect(p, 'r', deadline, err);
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = proc_send(&p[i], "g", 1);
	if (rc == 0)
		rc = pair_expect(p, 'd', deadline, err);
	for (int i = 0; i < 2; i++) {
		if (rc < 0)
			proc_kill(&p[i]);
		else
			proc_finish(&p[i], cpu_now_ns() + 2000000000ull);
	}
	return rc;
}

void proc_futex_wait(uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

void proc_futex_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
