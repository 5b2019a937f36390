/* SPDX-License-Identifier: BSD-3-Clause */
#include "fd_closer.h"

#include "fd_check.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fd_closer {
	pthread_mutex_t lock;
	int *fd; /* from the end: the last one is closed first */
	unsigned n, size;
	unsigned count; /* n, and the one that is being closed; read by any thread */
	void (*closed)(void);
	bool running; /* the thread; it is closing one even when n is 0 */
	bool ownerless;
};

struct fd_closer *fd_closer_new(void (*closed)(void))
{
	struct fd_closer *b = calloc(1, sizeof(*b));

	if (b) {
		(void)pthread_mutex_init(&b->lock, NULL);
		b->closed = closed;
	}
	return b;
}

static void destroy(struct fd_closer *b)
{
	(void)pthread_mutex_destroy(&b->lock);
	free(b->fd);
	free(b);
}

void fd_closer_free(struct fd_closer *b)
{
	bool last;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->ownerless = true;
	last = !b->running;
	pthread_mutex_unlock(&b->lock);
	if (last)
		destroy(b);
}

static void close_one(struct fd_closer *b, int fd)
{
	(void)close(fd);
	if (b->closed)
		b->closed();
}

static void *close_them(void *arg)
{
	struct fd_closer *b = arg;
	bool last;
	int fd;

	(void)pthread_setname_np(pthread_self(), "zvsock-close");
	pthread_mutex_lock(&b->lock);
	while (b->n) {
		fd = b->fd[--b->n];
		pthread_mutex_unlock(&b->lock);
		close_one(b, fd);
		pthread_mutex_lock(&b->lock);
		__atomic_store_n(&b->count, b->n, __ATOMIC_RELAXED);
	}
	b->running = false;
	last = b->ownerless;
	pthread_mutex_unlock(&b->lock);
	if (last)
		destroy(b);
	return NULL;
}

/* Signals are for the application's threads. */
static bool start_thread(struct fd_closer *b)
{
	sigset_t all, old;
	pthread_t t;
	int err;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&t, NULL, close_them, b);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return false;
	(void)pthread_detach(t);
	return true;
}

/* With the lock held. */
static bool push(struct fd_closer *b, const int *fd, unsigned n)
{
	unsigned size = b->size ? b->size : 16;

	while (size < b->n + n)
		size *= 2;
	if (size > b->size) {
		int *p = realloc(b->fd, size * sizeof(*p));

		if (!p)
			return false;
		b->fd = p;
		b->size = size;
	}
	memcpy(b->fd + b->n, fd, n * sizeof(*fd));
	b->n += n;
	__atomic_fetch_add(&b->count, n, __ATOMIC_RELAXED);
	return true;
}

void fd_closer_put(struct fd_closer *b, int fd)
{
	if (fd_is_harmless(fd))
		close_one(b, fd);
	else
		fd_closer_put_all(b, &fd, 1);
}

void fd_closer_put_all(struct fd_closer *b, const int *fd, unsigned n)
{
	bool taken;

	pthread_mutex_lock(&b->lock);
	taken = push(b, fd, n);
	if (taken && !b->running && !(b->running = start_thread(b))) {
		b->n -= n;
		__atomic_fetch_sub(&b->count, n, __ATOMIC_RELAXED);
		taken = false;
	}
	pthread_mutex_unlock(&b->lock);
	for (unsigned i = 0; !taken && i < n; i++)
		close_one(b, fd[i]);
}

unsigned fd_closer_count(const struct fd_closer *b)
{
	return __atomic_load_n(&b->count, __ATOMIC_RELAXED);
}
