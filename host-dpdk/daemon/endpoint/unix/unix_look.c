/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects to names that the kernel does not have in its cache. For these it takes the lock of the
 * directory, or reads the disk, and local users can make either take seconds. So a thread of the
 * guest does it, one connection after another: those that wait are the guest's own. It ends when
 * there has been nothing to do for IDLE_S.
 *
 * A look that is cancelled while it is being made is freed by the thread, which uses a descriptor
 * of its own. Nothing ever waits for the thread.
 */
#include "base/clock.h"
#include "endpoint_unix.h"
#include "sock_connect.h"
#include "thread_start.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define IDLE_S 10

struct unix_look {
	struct unix_looker *looker;
	struct unix_look_for what; /* done: NULL: cancelled */
	int err;
	enum { QUEUED, BEGUN, POSTED, LOST } state; /* LOST: no memory to tell the lcore */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
	TAILQ_ENTRY(unix_look) link;
};

struct unix_looker {
	int dir;
	struct cpu_stock stock; /* the thread's */
	pthread_mutex_t lock;	/* protects the rest, and state and done of each look */
	pthread_cond_t more;
	TAILQ_HEAD(, unix_look) queue;
	bool running; /* the thread */
	bool ownerless;
};

int unix_connect_error(int dir, int err)
{
	struct stat st;

	return err == -ENOENT && fstat(dir, &st) == 0 && st.st_nlink == 0 ? -ESTALE : err;
}

struct unix_looker *unix_looker_new(int dir)
{
	struct unix_looker *l = calloc(1, sizeof(*l));
	pthread_condattr_t monotonic;

	if (!l)
		return NULL;
	l->dir = dir;
	TAILQ_INIT(&l->queue);
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&l->more, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	return l;
}

static void destroy(struct unix_looker *l)
{
	(void)close(l->dir);
	(void)pthread_cond_destroy(&l->more);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

void unix_looker_free(struct unix_looker *l)
{
	bool last;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->ownerless = true;
	last = !l->running;
	pthread_cond_signal(&l->more);
	pthread_mutex_unlock(&l->lock);
	if (last)
		destroy(l);
}

/* ---- the thread ---- */

/* On the lcore. */
static void tell(struct lcore *lc, void *arg)
{
	struct unix_look *k = arg;

	(void)lc;
	if (k->what.done) /* the lcore's: no look is cancelled elsewhere */
		k->what.done(k->what.arg, k->err);
	free(k);
}

static int connect_to(struct unix_looker *l, int fd, const char *name)
{
	uint64_t start;
	int ret;

	if (!cpu_stock_may(&l->stock, &socket_names_limit))
		return -EBUSY;
	start = cpu_ns();
	ret = unix_connect_error(l->dir, sock_connect_in(fd, l->dir, name));
	cpu_stock_took(&l->stock, &socket_names_limit, cpu_ns() - start);
	return ret;
}

/* With the lock, which it gives up meanwhile. */
static void make(struct unix_looker *l, struct unix_look *k)
{
	/* Cancelled, the connection closes its own at any time. */
	int fd = fcntl(k->what.fd, F_DUPFD_CLOEXEC, 0), err = -errno;

	k->state = BEGUN;
	pthread_mutex_unlock(&l->lock);
	k->err = fd < 0 ? err : connect_to(l, fd, k->what.name);
	if (fd >= 0)
		(void)close(fd);
	pthread_mutex_lock(&l->lock);
	if (!k->what.done) {
		free(k);
		return;
	}
	k->state = POSTED;
	if (lcore_post(k->what.lc, tell, k) < 0)
		k->state = LOST; /* the guest's connect times out */
}

/* With the lock. NULL: there has been nothing for some time, or the guest has gone. */
static struct unix_look *next(struct unix_looker *l)
{
	const uint64_t end = now_ns() + IDLE_S * UINT64_C(1000000000);
	const struct timespec until = {(time_t)(end / 1000000000u), (long)(end % 1000000000u)};
	struct unix_look *k;
	int err = 0;

	while (!(k = TAILQ_FIRST(&l->queue)) && !l->ownerless && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&l->more, &l->lock, &until);
	if (k)
		TAILQ_REMOVE(&l->queue, k, link);
	return k;
}

static void *looker_main(void *arg)
{
	struct unix_looker *l = arg;
	struct unix_look *k;
	bool last;

	pthread_mutex_lock(&l->lock);
	while ((k = next(l)))
		make(l, k);
	l->running = false;
	last = l->ownerless;
	pthread_mutex_unlock(&l->lock);
	if (last)
		destroy(l);
	return NULL;
}

/* ---- lcores ---- */

struct unix_look *unix_look(struct unix_looker *l, const struct unix_look_for *what)
{
	struct unix_look *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->looker = l;
	k->what = *what;
	(void)snprintf(k->name, sizeof(k->name), "%s", what->name);
	k->what.name = k->name;
	pthread_mutex_lock(&l->lock);
	if (!l->running)
		l->running = thread_start_apart("zvsock-look", looker_main, l) == 0;
	if (!l->running) {
		pthread_mutex_unlock(&l->lock);
		free(k);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&l->queue, k, link);
	pthread_cond_signal(&l->more);
	pthread_mutex_unlock(&l->lock);
	return k;
}

void unix_look_cancel(struct unix_look *k)
{
	struct unix_looker *l = k->looker;
	bool mine;

	pthread_mutex_lock(&l->lock);
	k->what.done = NULL;
	mine = k->state == QUEUED || k->state == LOST;
	if (k->state == QUEUED)
		TAILQ_REMOVE(&l->queue, k, link);
	pthread_mutex_unlock(&l->lock);
	if (mine)
		free(k);
}
