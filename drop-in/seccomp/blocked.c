/* SPDX-License-Identifier: BSD-3-Clause */
#include "blocked.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"
#include "syscalls.h"

#define CHECK_MS      20
#define CHECK_IDLE_MS 100
#define IDLE_AFTER    50 /* checks without a new call */
#define PARK_MS	      60000
#define RESTARTSYS    512 /* the kernel's ERESTARTSYS, which programs never see */

struct di_parked {
	struct di_parked *next;
	ino_t listener;
	int conn, pidfd;
	int64_t until_ms;
};

static _Atomic unsigned checks; /* number of checks since the last call blocked */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nothing(int sig)
{
	(void)sig;
}

static void signal_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, DI_BLOCKED_SIGNAL);
}

int di_blocked_init(void)
{
	struct sigaction a = {.sa_handler = nothing};
	sigset_t set;

	signal_set(&set);
	if (sigaction(DI_BLOCKED_SIGNAL, &a, NULL) < 0)
		return -errno;
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void ring(struct di_super *s)
{
	checks = 0;
	(void)eventfd_write(s->bell, 1);
}

void di_blocked_enter(struct di_super *s, struct di_blocked *b, const struct seccomp_notif *n,
		      int pidfd)
{
	struct epoll_event once = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = pidfd};
	sigset_t set;

	*b = (struct di_blocked){
		.id = n->id, .tid = (pid_t)n->pid, .thread = pthread_self(), .pidfd = pidfd};
	(void)epoll_ctl(s->epoll, EPOLL_CTL_ADD, pidfd, &once);
	pthread_mutex_lock(&s->lock);
	b->next = s->blocked;
	s->blocked = b;
	pthread_mutex_unlock(&s->lock);
	ring(s);
	signal_set(&set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void di_blocked_leave(struct di_super *s, struct di_blocked *b)
{
	const struct timespec now = {0};
	struct di_blocked **at;
	sigset_t set;

	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, b->pidfd, NULL);
	pthread_mutex_lock(&s->lock);
	for (at = &s->blocked; *at != b; at = &(*at)->next)
		;
	*at = b->next;
	pthread_mutex_unlock(&s->lock);
	while (sigtimedwait(&set, NULL, &now) > 0) /* discards signals that are still pending */
		;
}

long di_blocked_answer(const struct di_blocked *b, bool restart)
{
	if (b->gone)
		return DI_DONE;
	if (!b->interrupted)
		return 0;
	/* Only a thread that goes through signal delivery may return ERESTARTSYS. */
	return restart && b->certain ? -RESTARTSYS : -EINTR;
}

static void check_call(struct di_super *s, struct di_blocked *b)
{
	if (!di_call_waits(s, b->id)) {
		b->gone = true;
	} else {
		enum di_signal sig = di_caller_signal(b->tid);

		b->n_possible = sig == DI_SIGNAL_POSSIBLE ? b->n_possible + 1 : 0;
		b->certain |= sig == DI_SIGNAL_CERTAIN;
		b->interrupted |= b->certain || b->n_possible > 1;
	}
	/* Sent at every check, because the thread may not have entered its system call yet. */
	if (b->gone || b->interrupted)
		pthread_kill(b->thread, DI_BLOCKED_SIGNAL);
}

static bool ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static void free_parked(struct di_parked *k)
{
	if (k->conn >= 0)
		close(k->conn);
	if (k->pidfd >= 0)
		close(k->pidfd);
	free(k);
}

int di_blocked_check(struct di_super *s)
{
	int64_t now = now_ms();
	bool any;

	pthread_mutex_lock(&s->lock);
	for (struct di_blocked *b = s->blocked; b; b = b->next)
		check_call(s, b);
	for (struct di_parked **at = &s->parked; *at;) {
		struct di_parked *k = *at;

		if (now < k->until_ms && !ended(k->pidfd)) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		free_parked(k);
	}
	any = s->blocked || s->parked;
	pthread_mutex_unlock(&s->lock);
	if (!any)
		return -1;
	return checks++ < IDLE_AFTER ? CHECK_MS : CHECK_IDLE_MS;
}

ino_t di_listener(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : st.st_ino;
}

void di_park(struct di_super *s, ino_t listener, int pidfd, int conn)
{
	struct di_parked *k = listener ? malloc(sizeof(*k)) : NULL, **at;

	if (!k) {
		close(conn);
		return;
	}
	*k = (struct di_parked){.listener = listener,
				.conn = conn,
				.pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3),
				.until_ms = now_ms() + PARK_MS};
	pthread_mutex_lock(&s->lock);
	for (at = &s->parked; *at; at = &(*at)->next)
		;
	*at = k;
	pthread_mutex_unlock(&s->lock);
	ring(s);
}

int di_parked(struct di_super *s, ino_t listener)
{
	struct di_parked *found = NULL;
	int conn = -1;

	pthread_mutex_lock(&s->lock);
	for (struct di_parked **at = &s->parked; *at; at = &(*at)->next)
		if ((*at)->listener == listener) {
			found = *at;
			*at = found->next;
			break;
		}
	pthread_mutex_unlock(&s->lock);
	if (found) {
		conn = found->conn;
		found->conn = -1;
		free_parked(found);
	}
	return conn;
}
