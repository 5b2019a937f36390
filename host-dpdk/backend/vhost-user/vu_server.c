/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread, and the sockets that listen or connect. */
#include "vu_server_priv.h"

#include "fd_closer.h"
#include "mem_look.h"
#include "sock_claim.h"

#include <errno.h>
#include <fcntl.h>
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

/* Work handed over by another thread, which waits for it. */
struct task {
	int (*fn)(struct vu_socket *sk); /* NULL: @call */
	void (*call)(void *ctx);
	struct vu_socket *sk;
	int ret;
	bool done;
	STAILQ_ENTRY(task) next;
};

static struct {
	/* users, start and end of the thread. Held over a whole call, unlike `lock`, because a
	 * socket must not be added while the removal of the last one ends the thread. */
	pthread_mutex_t life;
	pthread_mutex_t lock; /* tasks, their results */
	pthread_cond_t done;
	STAILQ_HEAD(, task) tasks;
	unsigned users; /* sockets: the thread runs while there are any */
	bool running;
	pthread_t thread;
	int epfd;
	int wake; /* eventfd: there are tasks */
	/* control thread only */
	bool stop;
	uint64_t due; /* no deadline or retry is due before; UINT64_MAX: none */
	TAILQ_HEAD(, vu_socket) sockets;
	struct vu_conns dead;
} server = {
	.life = PTHREAD_MUTEX_INITIALIZER,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.done = PTHREAD_COND_INITIALIZER,
	.tasks = STAILQ_HEAD_INITIALIZER(server.tasks),
	.sockets = TAILQ_HEAD_INITIALIZER(server.sockets),
	.dead = TAILQ_HEAD_INITIALIZER(server.dead),
	.epfd = -1,
	.wake = -1,
	.due = UINT64_MAX,
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t vu_in(uint64_t ns)
{
	uint64_t at = now_ns() + ns;

	server.due = at < server.due ? at : server.due;
	return at;
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

void vu_unwatch_drop(struct vu_source *s)
{
	if (s->fd < 0)
		return;
	(void)epoll_ctl(server.epfd, EPOLL_CTL_DEL, s->fd, NULL);
	fd_closer_put(s->sk->closer, s->fd);
	s->fd = -1;
}

void vu_conn_discard(struct vu_conn *c)
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
	struct vu_socket *sk =
		(struct vu_socket *)(void *)((uint8_t *)s - offsetof(struct vu_socket, listen));
	int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		vu_conn_new(sk, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		zv_log_limited(sk->c.log, ZV_LOG_ERR, "%s: a frontend has to wait: %s", sk->c.path,
			       zv_strerror(errno));
		vu_rewatch(s, 0); /* it stays readable: do not spin on it */
		sk->retry = vu_in(VU_FULL_NS);
	}
}

static int listen_on(struct vu_socket *sk)
{
	struct sockaddr_un sa = address(sk->c.path);
	const char *path = sk->c.path;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret;

	if (fd < 0)
		return zv_err(-errno, "host:%s: cannot make a socket: %s", path,
			      zv_strerror(errno));
	sk->listen.fd = fd;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return zv_err(-errno, "host:%s: cannot make the socket: %s%s", path,
			      zv_strerror(errno),
			      errno == EACCES ? "; may this process write to its directory?" : "");
	sk->bound = true;
	/* Permissions first: nobody can connect before listen(). */
	if (sk->c.sockmode >= 0 &&
	    (ret = sock_set_rights(path, (mode_t)sk->c.sockmode, (uid_t)-1, (gid_t)-1)) < 0)
		return zv_err(ret, "host:%s: cannot set mode 0%o: %s", path,
			      (unsigned)sk->c.sockmode, sock_rights_error(ret));
	if (listen(fd, BACKLOG) < 0)
		return zv_err(-errno, "host:%s: cannot listen: %s", path, zv_strerror(errno));
	return 0;
}

/* A duplicate of the connected socket @fd, non-blocking. Or -errno with text. */
static int adopt(const char *name, int fd)
{
	struct sockaddr_un sa = {0};
	socklen_t len = sizeof(sa);
	int type = 0, copy;

	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0 || sa.sun_family != AF_UNIX)
		return zv_err(-EINVAL, "host:%s: this is no connected Unix socket", name);
	len = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return zv_err(-EINVAL, "host:%s: the socket is not of type SOCK_STREAM", name);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0 || fcntl(copy, F_SETFL, O_NONBLOCK) < 0) {
		int err = -errno;

		close_fd(&copy);
		return zv_err(err, "host:%s: cannot duplicate the socket: %s", name,
			      zv_strerror(err));
	}
	return copy;
}

static int socket_start(struct vu_socket *sk)
{
	int ret = sk->listen.fd < 0 ? 0 : vu_watch(&sk->listen, EPOLLIN);

	if (ret < 0)
		return ret;
	TAILQ_INSERT_TAIL(&server.sockets, sk, next);
	if (sk->c.client)
		vu_dial(sk);
	if (sk->c.fd >= 0) {
		vu_conn_new(sk, sk->c.fd);
		sk->c.fd = -1;
	}
	vu_rest_charged(sk); /* its user may have brought others */
	return 0;
}

static int socket_stop(struct vu_socket *sk)
{
	struct vu_conn *c;

	sk->c.client = false; /* no further attempt */
	vu_dial_stop(sk);
	vu_unwatch_drop(&sk->listen);
	while ((c = TAILQ_FIRST(&sk->conns)))
		vu_conn_end(c);
	vu_life_over(sk);
	TAILQ_REMOVE(&server.sockets, sk, next);
	return 0;
}

/* ---- the thread ---- */

static void socket_due(struct vu_socket *sk, uint64_t now)
{
	struct vu_conn *c, *after;

	if (sk->rest <= now)
		vu_rest_over(sk);
	if (vu_rests(sk))
		return;
	if (sk->retry <= now) {
		sk->retry = UINT64_MAX;
		if (sk->c.client)
			vu_dial(sk);
		else
			vu_rewatch(&sk->listen, EPOLLIN);
	}
	for (c = TAILQ_FIRST(&sk->conns); c; c = after) {
		after = TAILQ_NEXT(c, next);
		if (c->deadline > now || vu_dial_silent(c))
			continue;
		zv_log_limited(sk->c.log, ZV_LOG_WARN, "%s: the frontend %s and was disconnected",
			       sk->c.path,
			       c->state == VU_ANSWERING ? "did not read an answer"
							: "stopped in the middle of a message");
		vu_conn_end(c);
	}
}

/* Does what is due, and finds the time of the next task. */
static void run_timers(uint64_t now)
{
	uint64_t next = UINT64_MAX;
	const struct vu_conn *c;
	struct vu_socket *sk;

	server.due = UINT64_MAX;
	TAILQ_FOREACH(sk, &server.sockets, next) {
		(void)mem_for(sk->mem);
		socket_due(sk, now);
		if (sk->again <= now && !vu_rests(sk)) {
			sk->again = UINT64_MAX;
			sk->c.ops->again(sk->c.ctx);
		}
		(void)mem_for(NULL);
		vu_rest_charged(sk);
		if (vu_rests(sk)) {
			next = sk->rest < next ? sk->rest : next;
			continue;
		}
		next = sk->again < next ? sk->again : next;
		next = sk->retry < next ? sk->retry : next;
		TAILQ_FOREACH(c, &sk->conns, next)
			next = c->deadline < next ? c->deadline : next;
	}
	server.due = next;
}

/* Milliseconds that the thread may sleep; -1: forever. With thousands of sockets, checking each
 * would cost more than the message that has woken the thread. */
static int sleep_ms(void)
{
	uint64_t now = now_ns();

	if (server.due <= now)
		run_timers(now);
	if (server.due == UINT64_MAX)
		return -1;
	return server.due <= now ? 0 : (int)((server.due - now) / 1000000u) + 1;
}

static int stop_thread(struct vu_socket *none)
{
	(void)none;
	server.stop = true;
	return 0;
}

/* Runs the tasks of other threads. After all current events, which may be about a socket that a
 * task removes. */
static void run_tasks(void)
{
	struct task *t;
	uint64_t n;

	(void)!read(server.wake, &n, sizeof(n));
	pthread_mutex_lock(&server.lock);
	while ((t = STAILQ_FIRST(&server.tasks))) {
		STAILQ_REMOVE_HEAD(&server.tasks, next);
		pthread_mutex_unlock(&server.lock);
		(void)mem_for(t->fn == stop_thread ? NULL : t->sk->mem);
		if (t->fn)
			t->ret = t->fn(t->sk);
		else
			t->call(t->sk->c.ctx);
		(void)mem_for(NULL);
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
	mem_thread_begin();
	while (!server.stop) {
		int n = epoll_wait(server.epfd, ev, EVENTS, sleep_ms());
		bool woken = false;

		for (int i = 0; i < n; i++) {
			struct vu_source *s = ev[i].data.ptr;

			if (!s)
				woken = true;
			else if (s->fd >= 0) /* not closed by one before it */
				vu_serve(s, ev[i].events);
		}
		if (woken) {
			run_tasks();
			vu_dial_results();
		}
		free_dead();
	}
	mem_thread_end();
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

void vu_wake(void)
{
	uint64_t one = 1;

	(void)!write(server.wake, &one, sizeof(one));
}

/* Has the control thread do *t and waits for that. */
static void have_done(struct task *t)
{
	pthread_mutex_lock(&server.lock);
	STAILQ_INSERT_TAIL(&server.tasks, t, next);
	vu_wake();
	while (!t->done)
		pthread_cond_wait(&server.done, &server.lock);
	pthread_mutex_unlock(&server.lock);
}

static int in_thread(int (*fn)(struct vu_socket *sk), struct vu_socket *sk)
{
	struct task t = {.fn = fn, .sk = sk};

	have_done(&t);
	return t.ret;
}

void vu_server_do(struct vu_socket *sk, void (*fn)(void *ctx))
{
	struct task t = {.call = fn, .sk = sk};

	have_done(&t);
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

static void socket_free(struct vu_socket *sk)
{
	close_fd(&sk->listen.fd);
	close_fd(&sk->c.fd);
	if (sk->bound)
		(void)unlink(sk->path);
	fd_closer_free(sk->closer);
	mem_account_put(sk->mem);
	free(sk->path);
	free(sk);
}

/* With `life` held. */
static int add_locked(struct vu_socket *sk)
{
	int ret = server.running ? 0 : thread_start();

	if (ret < 0)
		return zv_err(ret, "host:%s: cannot start the control thread: %s", sk->path,
			      zv_strerror(ret));
	server.users++;
	ret = in_thread(socket_start, sk);
	if (ret == 0)
		return 0;
	if (--server.users == 0)
		thread_stop();
	return zv_err(ret, "host:%s: cannot wait for connections: %s", sk->path, zv_strerror(ret));
}

int vu_server_add(struct vu_socket **out, const struct vu_socket_config *c)
{
	struct vu_socket *sk = calloc(1, sizeof(*sk));
	int ret;

	if (!sk || !(sk->path = strdup(c->path)) || !(sk->closer = fd_closer_new(NULL)) ||
	    !(sk->mem = mem_account_get(c->fd >= 0 ? c->user : MEM_ACCOUNT_OWN))) {
		if (sk) {
			fd_closer_free(sk->closer);
			free(sk->path);
		}
		free(sk);
		return zv_err(-ENOMEM, "host:%s: out of memory", c->path);
	}
	fd_closer_charge(sk->closer, c->charge);
	sk->c = *c;
	sk->c.path = sk->path;
	if (!sk->c.stall_ns)
		sk->c.stall_ns = VU_STALL_NS;
	sk->listen = (struct vu_source){on_accept, -1, sk};
	sk->life.fd = -1;
	sk->retry = sk->again = sk->rest = UINT64_MAX;
	TAILQ_INIT(&sk->conns);
	*out = sk;
	if (c->fd >= 0)
		ret = sk->c.fd = adopt(sk->path, c->fd);
	else
		ret = c->client ? 0 : listen_on(sk);
	ret = ret < 0 ? ret : 0;
	if (ret == 0) {
		pthread_mutex_lock(&server.life);
		ret = add_locked(sk);
		pthread_mutex_unlock(&server.life);
	}
	if (ret < 0) {
		socket_free(sk);
		*out = NULL;
		return ret;
	}
	return 0;
}

void vu_server_again(struct vu_socket *sk, uint64_t ns)
{
	sk->again = vu_in(ns);
}

void vu_server_drop(struct vu_socket *sk, int fd)
{
	fd_closer_put(sk->closer, fd);
}

struct fd_closer *vu_server_closer(struct vu_socket *sk)
{
	return sk->closer;
}

void vu_server_remove(struct vu_socket *sk)
{
	pthread_mutex_lock(&server.life);
	(void)in_thread(socket_stop, sk);
	if (--server.users == 0)
		thread_stop();
	pthread_mutex_unlock(&server.life);
	socket_free(sk);
}
