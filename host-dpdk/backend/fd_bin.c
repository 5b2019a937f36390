/* SPDX-License-Identifier: BSD-3-Clause */
#include "fd_bin.h"

#include "fd_check.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct fd_bin {
	pthread_mutex_t lock;
	int *fd; /* from the end: the last one is closed first */
	unsigned n, size;
	bool running; /* the thread; it is closing one even when n is 0 */
	bool ownerless;
};

struct fd_bin *fd_bin_new(void)
{
	struct fd_bin *b = calloc(1, sizeof(*b));

	if (b)
		(void)pthread_mutex_init(&b->lock, NULL);
	return b;
}

static void destroy(struct fd_bin *b)
{
	(void)pthread_mutex_destroy(&b->lock);
	free(b->fd);
	free(b);
}

void fd_bin_free(struct fd_bin *b)
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

static void *close_them(void *arg)
{
	struct fd_bin *b = arg;
	bool last;
	int fd;

	(void)pthread_setname_np(pthread_self(), "zvsock-close");
	pthread_mutex_lock(&b->lock);
	while (b->n) {
		fd = b->fd[--b->n];
		pthread_mutex_unlock(&b->lock);
		(void)close(fd);
		pthread_mutex_lock(&b->lock);
	}
	b->running = false;
	last = b->ownerless;
	pthread_mutex_unlock(&b->lock);
	if (last)
		destroy(b);
	return NULL;
}

/* Signals are for the application's threads. */
static bool start_thread(struct fd_bin *b)
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
static bool push(struct fd_bin *b, int fd)
{
	unsigned size = b->size ? 2 * b->size : 16;
	int *p = b->n < b->size ? b->fd : realloc(b->fd, size * sizeof(*p));

	if (!p)
		return false;
	if (p != b->fd || b->n == b->size)
		b->size = size;
	b->fd = p;
	b->fd[b->n++] = fd;
	return true;
}

void fd_bin_put(struct fd_bin *b, int fd)
{
	bool taken;

	if (fd_is_harmless(fd)) {
		(void)close(fd);
		return;
	}
	pthread_mutex_lock(&b->lock);
	taken = push(b, fd);
	if (taken && !b->running && !(b->running = start_thread(b))) {
		b->n--;
		taken = false;
	}
	pthread_mutex_unlock(&b->lock);
	if (!taken)
		(void)close(fd);
}

bool fd_bin_is_empty(struct fd_bin *b)
{
	bool empty;

	pthread_mutex_lock(&b->lock);
	empty = !b->running;
	pthread_mutex_unlock(&b->lock);
	return empty;
}
