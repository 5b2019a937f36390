/* SPDX-License-Identifier: BSD-3-Clause */
/* Theory in call_watch.h. */
#include "call_watch.h"

#include "thread_start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

#define WATCH_MIN_NS 10000000u	/* between two looks while guests are called */
#define WATCH_MAX_NS 160000000u /* while none is */
#define SUSPECT	     8u		/* checks in which a caller may be inside by chance */
#define FREE_READS   10000u	/* limit for releasing one caller before others get their turn */

static struct {
	pthread_mutex_t lock;
	TAILQ_HEAD(, call_watch) all;
	bool running; /* the thread; it ends when there is nothing to watch */
} watched = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.all = TAILQ_HEAD_INITIALIZER(watched.all),
};

static bool is_full(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) >= 0 && !(p.revents & POLLOUT);
}

static bool inside(const struct call_watch *w)
{
	return __atomic_load_n(&w->count, __ATOMIC_RELAXED) & 1;
}

/* The caller is inside its call number @count. */
static bool waits(struct call_watch *w, uint32_t count)
{
	if (!is_full(w->fd)) {
		w->suspect = 0;
		return false;
	}
	return count == w->seen || !(fcntl(w->fd, F_GETFL) & O_NONBLOCK) || ++w->suspect > SUSPECT;
}

/* The counter may be full again before the caller has run: then the next read may release it. Does
 * not wait, whatever the flags of the file are. */
static void unblock(const struct call_watch *w)
{
	uint64_t n;
	struct iovec iov = {&n, sizeof(n)};

	for (unsigned i = 0; i < FREE_READS && inside(w); i++)
		(void)!preadv2(w->fd, &iov, 1, -1, RWF_NOWAIT);
}

/* With the lock held. True: somebody has called, or is inside. */
static bool check(void)
{
	struct call_watch *w;
	bool calls = false;

	TAILQ_FOREACH(w, &watched.all, next) {
		uint32_t count = __atomic_load_n(&w->count, __ATOMIC_RELAXED);

		calls |= count != w->seen || count & 1;
		if (count & 1 && waits(w, count)) {
			__atomic_store_n(&w->blocks, 1, __ATOMIC_RELAXED);
			unblock(w);
		}
		w->seen = count;
	}
	return calls;
}

static void *watch(void *arg)
{
	struct timespec wait = {0};

	(void)arg;
	wait.tv_nsec = WATCH_MIN_NS;
	for (;;) {
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
		pthread_mutex_lock(&watched.lock);
		if (TAILQ_EMPTY(&watched.all))
			break;
		if (check())
			wait.tv_nsec = WATCH_MIN_NS;
		else if (wait.tv_nsec < WATCH_MAX_NS)
			wait.tv_nsec *= 2;
		pthread_mutex_unlock(&watched.lock);
	}
	watched.running = false;
	pthread_mutex_unlock(&watched.lock);
	return NULL;
}

/* With the lock held. */
static int start_thread(void)
{
	int ret = watched.running ? 0 : thread_start("zvsock-watch", watch, NULL);

	watched.running |= ret == 0;
	return ret;
}

int call_watch_begin(struct call_watch **out, int fd)
{
	struct call_watch *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		return -ENOMEM;
	w->fd = fd;
	pthread_mutex_lock(&watched.lock);
	ret = start_thread();
	if (ret == 0)
		TAILQ_INSERT_TAIL(&watched.all, w, next);
	pthread_mutex_unlock(&watched.lock);
	if (ret < 0)
		free(w);
	else
		*out = w;
	return ret;
}

void call_watch_end(struct call_watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&watched.lock);
	TAILQ_REMOVE(&watched.all, w, next);
	pthread_mutex_unlock(&watched.lock);
	free(w);
}
