/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread, and the sockets that listen or connect. */
#include "vu_server_priv.h"

#include "sock_claim.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 16
#define EVENTS	32

/* Work that another thread hands over, and waits for. */
struct task {
	int (*fn)(struct vu_endpoint *ep);
	struct vu_endpoint *ep;
	int ret;
	bool done;
	STAILQ_ENTRY(task) next;
};

static struct {
	/* users, start and end of the thread. Held over a whole call, unlike `lock`, because an
	 * endpoint must not be added while the removal of the last one ends the thread. */
	pthread_mutex_t life;
	pthread_mutex_t lock; /* tasks, their results */
	pthread_cond_t done;
	STAILQ_HEAD(, task) tasks;
	unsigned users; /* endpoints: the thread runs while there are any */
	bool running;
	pthread_t thread;
	int epfd;
	int wake; /* eventfd: there are tasks */
	/* control thread only */
	bool stop;
	TAILQ_HEAD(, vu_endpoint) endpoints;
	struct vu_conns dead;
} server = {
	.life = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER,
	.tasks = STAILQ_HEAD_INITIALIZER(server.tasks),
	.endpoints = TAILQ_HEAD_INITIALIZER(server.endpoints),
	.dead = TAILQ_HEAD_INITIALIZER(server.dead),
	.epfd = -1,
	.wake = -1,
};

uint64_t vu_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int vu_watch(struct vu_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	return epoll_ctl(server.epfd, EPOLL_CTL_ADD, s->fd, &ev) < 0 ? -errno : 0;
}

void vu_rewatch(struct vu_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	(void)epoll_ctl(server.epfd, EPOLL_CTL_MOD, s->fd, &ev);
}

void vu_unwatch_close(struct vu_source *s)
{
	if (s->fd < 0)
		return;
	(void)epoll_ctl(server.epfd, EPOLL_CTL_DEL, s->fd, NULL);
	(void)close(s->fd);
	s->fd = -1;
}

void vu_bury(struct vu_conn *c)
{
	c->dead = true;
	TAILQ_INSERT_TAIL(&server.dead, c, next);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void free_dead(void)
{
	struct vu_conn *c;

	while ((c = TAILQ_FIRST(&server.dead))) {
		TAILQ_REMOVE(&server.dead, c, next);
		free(c);
	}
}

/* ---- sockets ---- */

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	memcpy(sa.sun_path, path, strlen(path) + 1); /* host_uri.c has checked its length */
	return sa;
}

static void on_accept(struct vu_source *s, uint32_t events)
{
	struct vu_endpoint *ep =
		(struct vu_endpoint *)(void *)((uint8_t *)s - offsetof(struct vu_endpoint, listen));
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		vu_conn_new(ep, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		zv_log_limited(ep->c.log, ZV_LOG_ERR, "%s: a frontend has to wait: %s", ep->c.path,
			       zv_strerror(errno));
		vu_rewatch(s, 0); /* it stays readable: do not spin on it */
		ep->retry = vu_now() + VU_FULL_NS;
	}
}

static int listen_on(struct vu_endpoint *ep)
{
	struct sockaddr_un sa = address(ep->c.path);
	const char *path = ep->c.path;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret;

	if (fd < 0)
		return zv_err(-errno, "host:%s: cannot make a socket: %s", path,
			      zv_strerror(errno));
	ep->listen.fd = fd;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return zv_err(-errno, "host:%s: cannot make the socket: %s%s", path,
			      zv_strerror(errno),
			      errno == EACCES ? "; may this process write to its directory?" : "");
	ep->bound = true;
	/* Its rights first: nobody can connect before listen(). */
	if (ep->c.sockmode >= 0 &&
	    (ret = sock_set_rights(path, (mode_t)ep->c.sockmode, (uid_t)-1, (gid_t)-1)) < 0)
		return zv_err(ret, "host:%s: cannot set mode 0%o: %s", path,
			      (unsigned)ep->c.sockmode, zv_strerror(ret));
	if (listen(fd, BACKLOG) < 0)
		return zv_err(-errno, "host:%s: cannot listen: %s", path, zv_strerror(errno));
	return 0;
}

/* Connects; when nobody listens there or the backlog is full, again after VU_RETRY_NS. */
static void dial(struct vu_endpoint *ep)
{
	struct sockaddr_un sa = address(ep->c.path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ep->retry = vu_now() + VU_RETRY_NS;
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		(void)close(fd);
		return;
	}
	ep->retry = UINT64_MAX;
	vu_conn_new(ep, fd);
	if (!ep->nconns)
		ep->retry = vu_now() + VU_RETRY_NS;
}

static int endpoint_start(struct vu_endpoint *ep)
{
	int ret = ep->c.client ? 0 : vu_watch(&ep->listen, EPOLLIN);

	if (ret < 0)
		return ret;
	TAILQ_INSERT_TAIL(&server.endpoints, ep, next);
	if (ep->c.client)
		dial(ep);
	return 0;
}

static int endpoint_stop(struct vu_endpoint *ep)
{
	struct vu_conn *c;

	ep->c.client = false; /* no further attempt */
	vu_unwatch_close(&ep->listen);
	while ((c = TAILQ_FIRST(&ep->conns)))
		vu_conn_end(c);
	TAILQ_REMOVE(&server.endpoints, ep, next);
	return 0;
}

/* ---- the thread ---- */

static void endpoint_due(struct vu_endpoint *ep, uint64_t now)
{
	struct vu_conn *c, *after;

	if (ep->retry <= now) {
		ep->retry = UINT64_MAX;
		if (ep->c.client)
			dial(ep);
		else
			vu_rewatch(&ep->listen, EPOLLIN);
	}
	for (c = TAILQ_FIRST(&ep->conns); c; c = after) {
		after = TAILQ_NEXT(c, next);
		if (c->deadline > now)
			continue;
		zv_log_limited(ep->c.log, ZV_LOG_WARN,
			       "%s: the frontend stopped in the middle of a message and was "
			       "disconnected",
			       ep->c.path);
		vu_conn_end(c);
	}
}

/* Does what is due; milliseconds until the next is, or -1. */
static int run_timers(void)
{
	uint64_t now = vu_now(), next = UINT64_MAX;
	const struct vu_conn *c;
	struct vu_endpoint *ep;

	TAILQ_FOREACH(ep, &server.endpoints, next) {
		endpoint_due(ep, now);
		next = ep->retry < next ? ep->retry : next;
		TAILQ_FOREACH(c, &ep->conns, next)
			next = c->deadline < next ? c->deadline : next;
	}
	return next == UINT64_MAX ? -1 : next <= now ? 0 : (int)((next - now) / 1000000u) + 1;
}

static int stop_thread(struct vu_endpoint *none)
{
	(void)none;
	server.stop = true;
	return 0;
}

/* What other threads have handed over. After all events at hand, which may be about an endpoint
 * that a task ends. */
static void run_tasks(void)
{
	struct task *t;
	uint64_t n;

	(void)!read(server.wake, &n, sizeof(n));
	pthread_mutex_lock(&server.lock);
	while ((t = STAILQ_FIRST(&server.tasks))) {
		STAILQ_REMOVE_HEAD(&server.tasks, next);
		pthread_mutex_unlock(&server.lock);
		t->ret = t->fn(t->ep);
		pthread_mutex_lock(&server.lock);
		t->done = true;
		pthread_cond_broadcast(&server.done);
	}
	pthread_mutex_unlock(&server.lock);
}

static void *control(void *arg)
{
	struct epoll_event ev[EVENTS];

	(void)arg;
	while (!server.stop) {
		int n = epoll_wait(server.epfd, ev, EVENTS, run_timers());
		bool woken = false;

		for (int i = 0; i < n; i++) {
			struct vu_source *s = ev[i].data.ptr;

			if (!s)
				woken = true;
			else if (s->fd >= 0) /* not closed by one before it */
				s->ready(s, ev[i].events);
		}
		if (woken)
			run_tasks();
		free_dead();
	}
	return NULL;
}

/* With `life` held. */
static int thread_start(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	sigset_t all, old;
	int ret = 0;

	server.stop = false;
	server.epfd = epoll_create1(EPOLL_CLOEXEC);
	server.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server.epfd < 0 || server.wake < 0 ||
	    epoll_ctl(server.epfd, EPOLL_CTL_ADD, server.wake, &ev) < 0)
		ret = -errno;
	if (ret == 0) {
		/* Signals are for the application's threads, except faults of this one. */
		sigfillset(&all);
		sigdelset(&all, SIGBUS);
		sigdelset(&all, SIGSEGV);
		(void)pthread_sigmask(SIG_SETMASK, &all, &old);
		ret = -pthread_create(&server.thread, NULL, control, NULL);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (ret < 0) {
		close_fd(&server.epfd);
		close_fd(&server.wake);
		return ret;
	}
	server.running = true;
	(void)pthread_setname_np(server.thread, "zvsock-control");
	return 0;
}

/* Has the control thread do @fn and waits for the result. */
static int in_thread(int (*fn)(struct vu_endpoint *ep), struct vu_endpoint *ep)
{
	struct task t = {.fn = fn, .ep = ep};
	uint64_t one = 1;

	pthread_mutex_lock(&server.lock);
	STAILQ_INSERT_TAIL(&server.tasks, &t, next);
	(void)!write(server.wake, &one, sizeof(one));
	while (!t.done)
		pthread_cond_wait(&server.done, &server.lock);
	pthread_mutex_unlock(&server.lock);
	return t.ret;
}

/* With `life` held, by the last user. */
static void thread_stop(void)
{
	(void)in_thread(stop_thread, NULL);
	(void)pthread_join(server.thread, NULL);
	close_fd(&server.wake);
	close_fd(&server.epfd);
	server.running = false;
}

static void endpoint_free(struct vu_endpoint *ep)
{
	if (ep->listen.fd >= 0)
		(void)close(ep->listen.fd);
	if (ep->bound)
		(void)unlink(ep->path);
	free(ep->path);
	free(ep);
}

/* With `life` held. */
static int add_locked(struct vu_endpoint *ep)
{
	int ret = server.running ? 0 : thread_start();

	if (ret < 0)
		return zv_err(ret, "host:%s: cannot start the control thread: %s", ep->path,
			      zv_strerror(ret));
	server.users++;
	ret = in_thread(endpoint_start, ep);
	if (ret == 0)
		return 0;
	if (--server.users == 0)
		thread_stop();
	return zv_err(ret, "host:%s: cannot wait for connections: %s", ep->path, zv_strerror(ret));
}

int vu_server_add(struct vu_endpoint **out, const struct vu_endpoint_config *c)
{
	struct vu_endpoint *ep = calloc(1, sizeof(*ep));
	int ret;

	if (!ep || !(ep->path = strdup(c->path))) {
		free(ep);
		return zv_err(-ENOMEM, "host:%s: out of memory", c->path);
	}
	ep->c = *c;
	ep->c.path = ep->path;
	if (!ep->c.stall_ns)
		ep->c.stall_ns = VU_STALL_NS;
	ep->listen = (struct vu_source){on_accept, -1};
	ep->retry = UINT64_MAX;
	TAILQ_INIT(&ep->conns);
	ret = c->client ? 0 : listen_on(ep);
	if (ret == 0) {
		pthread_mutex_lock(&server.life);
		ret = add_locked(ep);
		pthread_mutex_unlock(&server.life);
	}
	if (ret < 0) {
		endpoint_free(ep);
		return ret;
	}
	*out = ep;
	return 0;
}

void vu_server_remove(struct vu_endpoint *ep)
{
	pthread_mutex_lock(&server.life);
	(void)in_thread(endpoint_stop, ep);
	if (--server.users == 0)
		thread_stop();
	pthread_mutex_unlock(&server.life);
	endpoint_free(ep);
}
