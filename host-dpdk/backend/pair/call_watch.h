/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A watch on eventfds that guests are called on, so that no write to one lasts.
 *
 * Theory of operation
 * -------------------
 * An eventfd is made non-blocking when it is taken. But the flag belongs to the open file, which
 * its frontend has as well: it can clear the flag and fill the counter, and whoever calls the guest
 * then waits until somebody reads. A poll before each call would cost as much as the call, and say
 * nothing about the moment after it; no kernel writes to an eventfd with RWF_NOWAIT.
 *
 * So the caller counts: an odd number means that it is inside. A thread looks at all counts every
 * WATCH_MIN_NS, and less and less often while nobody calls. Somebody waits who is inside while the
 * counter is full (no honest guest lets 2^64 - 2 calls stand) and the flag is cleared, or who is
 * still in the same call as at the last look; the frontend may have set the flag again, and be
 * about to let him go, so that he is seen inside too often. The thread then reads the counter,
 * which is ours to read too, until the caller is outside, even when the frontend fills it again
 * each time. Nobody is called on such a descriptor any more (call_watch_blocks()).
 *
 * The counts are hints, read without any order.
 */
#ifndef ZV_CALL_WATCH_H
#define ZV_CALL_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <unistd.h>

struct call_watch {
	uint32_t count;	 /* the caller's */
	uint32_t blocks; /* the watching thread's */
	/* the watching thread's own, and under its lock */
	int fd;
	uint32_t seen;
	uint32_t suspect; /* how often the caller was inside, and the counter full */
	TAILQ_ENTRY(call_watch) next;
};

/* Watches calls on @fd, an eventfd that must stay open until call_watch_end(). 0; -errno: no
 * memory, no thread. */
int call_watch_begin(struct call_watch **out, int fd);
/* NULL is allowed. Nobody calls on it any more. */
void call_watch_end(struct call_watch *w);

static inline bool call_watch_blocks(const struct call_watch *w)
{
	return __atomic_load_n(&w->blocks, __ATOMIC_RELAXED);
}

/* One call. False: it has blocked, now or earlier, and the guest may not have been called. */
static inline bool call_watch_write(struct call_watch *w, int fd)
{
	uint64_t one = 1;

	if (__builtin_expect(call_watch_blocks(w), 0))
		return false;
	__atomic_store_n(&w->count, w->count + 1, __ATOMIC_RELAXED);
	(void)!write(fd, &one, sizeof(one));
	__atomic_store_n(&w->count, w->count + 1, __ATOMIC_RELAXED);
	return !call_watch_blocks(w);
}

#endif
