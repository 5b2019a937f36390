/* SPDX-License-Identifier: BSD-3-Clause */
#include "fd_closer.h"

#include "charge.h"
#include "fd_check.h"
#include "thread_start.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS 10000000u /* a thread that cannot be made costs some 20 us */
#define RETRIES	 8u	   /* threads that are made at a time */

struct fd_closer {
	pthread_mutex_t lock;
	int *fd; /* from the end: the last one is closed first */
	unsigned n, size;
	unsigned count; /* n, and the one that is being closed; read by any thread */
	void (*closed)(void);
	bool running; /* it has a thread, which is closing one even when n is 0, or waits for one */
	bool ownerless;
	struct charge *charge;	      /* a reference; NULL: no user's */
	STAILQ_ENTRY(fd_closer) next; /* under waiting.lock */
};

/* Those that no thread could be made for. Whoever takes one out runs it, or puts it back. */
static struct {
	pthread_mutex_t lock;
	STAILQ_HEAD(, fd_closer) head;
	uint64_t retry_ns; /* not before */
	bool any;	   /* also read without the lock */
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER, .head = STAILQ_HEAD_INITIALIZER(waiting.head)};

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
	charge_put(b->charge);
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

/* Closes what is in @b, which may be freed then. */
static void close_all(struct fd_closer *b)
{
	bool last;
	int fd;

	pthread_mutex_lock(&b->lock);
	while (b->n) {
		fd = b->fd[--b->n];
		pthread_mutex_unlock(&b->lock);
		close_one(b, fd);
		pthread_mutex_lock(&b->lock);
		__atomic_store_n(&b->count, b->n, __ATOMIC_RELAXED);
		charge_fds(b->charge, -1);
	}
	b->running = false;
	last = b->ownerless;
	pthread_mutex_unlock(&b->lock);
	if (last)
		destroy(b);
}

static void wait_for_thread(struct fd_closer *b)
{
	pthread_mutex_lock(&waiting.lock);
	STAILQ_INSERT_TAIL(&waiting.head, b, next);
	__atomic_store_n(&waiting.any, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&waiting.lock);
}

/* The one that has waited longest, taken out; NULL: none. */
static struct fd_closer *take_waiting(void)
{
	struct fd_closer *b;

	pthread_mutex_lock(&waiting.lock);
	b = STAILQ_FIRST(&waiting.head);
	if (b)
		STAILQ_REMOVE_HEAD(&waiting.head, next);
	__atomic_store_n(&waiting.any, !STAILQ_EMPTY(&waiting.head), __ATOMIC_RELAXED);
	pthread_mutex_unlock(&waiting.lock);
	return b;
}

static void *close_them(void *arg)
{
	for (struct fd_closer *b = arg; b; b = take_waiting())
		close_all(b);
	return NULL;
}

static bool start_thread(struct fd_closer *b)
{
	return thread_start("zvsock-close", close_them, b) == 0;
}

static bool may_retry(void)
{
	struct timespec t;
	uint64_t now;
	bool may;

	if (!__atomic_load_n(&waiting.any, __ATOMIC_RELAXED))
		return false;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	pthread_mutex_lock(&waiting.lock);
	may = now >= waiting.retry_ns;
	if (may)
		waiting.retry_ns = now + RETRY_NS;
	pthread_mutex_unlock(&waiting.lock);
	return may;
}

void fd_closer_retry(void)
{
	struct fd_closer *b;

	for (unsigned i = may_retry() ? RETRIES : 0; i && (b = take_waiting()); i--) {
		if (start_thread(b))
			continue;
		wait_for_thread(b);
		break;
	}
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
	charge_fds(b->charge, (int)n);
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
	bool taken, start;

	pthread_mutex_lock(&b->lock);
	taken = push(b, fd, n);
	start = taken && !b->running;
	b->running |= start;
	pthread_mutex_unlock(&b->lock);
	for (unsigned i = 0; !taken && i < n; i++)
		close_one(b, fd[i]);
	if (start && !start_thread(b))
		wait_for_thread(b);
	else
		fd_closer_retry();
}

unsigned fd_closer_count(const struct fd_closer *b)
{
	return __atomic_load_n(&b->count, __ATOMIC_RELAXED);
}

void fd_closer_charge(struct fd_closer *b, struct charge *c)
{
	b->charge = charge_get(c);
}
