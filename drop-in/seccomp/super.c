/* SPDX-License-Identifier: BSD-3-Clause */
#include "super.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "blocked.h"
#include "outbound.h"
#include "syscalls.h"

/* Linux 6.6: the one who is woken runs on the caller's CPU, which waits anyway. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS	   SECCOMP_IOW(4, uint64_t)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#define STACK_BYTES (128u << 10)
#define IDLE_MAX    4u	  /* threads that are kept for later */
#define THREADS_MAX 4096u /* calls that block at a time, about */

/* A notification may be larger on this kernel than in our headers. */
union notification {
	struct seccomp_notif n;
	char room[1024];
};

static void report(const char *line)
{
	char text[512];
	int len = snprintf(text, sizeof(text), "zvsock-run: %s\n", line);

	if (len > 0)
		(void)!write(2, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static void *serve(void *arg);

/* With the lock held. */
static bool add_thread(struct di_super *s)
{
	pthread_attr_t attr;
	pthread_t t;
	bool made;

	if (s->threads >= THREADS_MAX || pthread_attr_init(&attr))
		return false;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	made = !pthread_attr_setstacksize(&attr, STACK_BYTES) &&
	       !pthread_create(&t, &attr, serve, s);
	pthread_attr_destroy(&attr);
	s->threads += made;
	s->idle += made;
	return made;
}

static void answer(struct di_super *s, uint64_t id, long r)
{
	struct seccomp_notif_resp resp = {.id = id};

	if (r == DI_DONE)
		return;
	if (r == DI_CONTINUE)
		resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	else if (r < 0)
		resp.error = (int32_t)r;
	else
		resp.val = r;
	(void)ioctl(s->notify, SECCOMP_IOCTL_NOTIF_SEND, &resp); /* ENOENT: nobody waits */
}

static void *serve(void *arg)
{
	struct di_super *s = arg;
	union notification u;
	bool stay = true, others;

	while (stay) {
		memset(&u, 0, sizeof(u));
		if (ioctl(s->notify, SECCOMP_IOCTL_NOTIF_RECV, &u) < 0)
			continue; /* the caller has died; at the end main() ends us */
		pthread_mutex_lock(&s->lock);
		s->idle--;
		others = s->idle > 0 || add_thread(s);
		pthread_mutex_unlock(&s->lock);
		answer(s, u.n.id, di_call(s, &u.n, others));
		pthread_mutex_lock(&s->lock);
		stay = s->idle < IDLE_MAX;
		s->idle += stay;
		s->threads -= !stay;
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

static bool watch(struct di_super *s, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static bool begin(struct di_super *s)
{
	bool made;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	(void)ioctl(s->notify, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	if (s->bell < 0 || s->epoll < 0 || di_blocked_init() < 0 || !di_outbound_init(s) ||
	    !watch(s, s->bell, EPOLLIN) || !watch(s, s->notify, 0))
		return false;
	pthread_mutex_lock(&s->lock);
	made = add_thread(s);
	pthread_mutex_unlock(&s->lock);
	return made;
}

void di_super_serve(int notify, const struct di_super_opts *o)
{
	struct di_super s = {.notify = notify,
			     .tcp = o->tcp,
			     .lock = PTHREAD_MUTEX_INITIALIZER,
			     .given = PTHREAD_COND_INITIALIZER};
	int wait_ms = -1;
	bool go_on;

	di_init(&s.di, o->dir);
	s.di.report = o->verbose ? report : NULL;
	s.di.dgrams = o->dgrams;
	for (go_on = begin(&s); go_on;) {
		struct epoll_event e;
		eventfd_t rings;
		int n = epoll_wait(s.epoll, &e, 1, wait_ms);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 &&
		    e.data.fd == notify) /* EPOLLHUP: nobody is under the filter any more */
			break;
		(void)eventfd_read(s.bell, &rings);
		wait_ms = di_blocked_check(&s);
	}
	_exit(0); /* threads of ours are in system calls */
}
