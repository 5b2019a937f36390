/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A watch on the eventfds used to call guests, so that no write to one blocks for long.
 *
 * Theory of operation
 * -------------------
 * An eventfd is made non-blocking when it is received. But the flag belongs to the open file, which
 * its frontend has as well: it can clear the flag and fill the counter, and whoever calls the guest
 * then waits until somebody reads. A poll before each call would cost as much as the call and would
 * not cover the moment after it; no kernel writes to an eventfd with RWF_NOWAIT.
 *
 * So the caller counts: an odd number means that it is inside a call. A thread checks all counts
 * every WATCH_MIN_NS, and less and less often while nobody calls. A caller is blocked if it is
 * inside while the counter is full (no honest guest lets 2^64 - 2 calls accumulate) and the flag is
 * cleared, or if it is still in the same call as at the last check. The frontend may have set the
 * flag again, just before it lets the caller continue, so a caller that is seen inside with a full
 * counter too often counts as blocked too. The thread then reads the counter, which is also ours to
 * read, until the caller is outside, even if the frontend fills it again each time. The descriptor
 * is not used for calls any more (call_watch_blocks()).
 *
 * The counts are hints and are read without ordering.
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
	uint32_t suspect; /* times the caller was inside with a full counter */
	TAILQ_ENTRY(call_watch) next;
};

/* Watches calls on @fd, an eventfd that must stay open until call_watch_end(). 0; -errno: no
 * memory, no thread. */
int call_watch_begin(struct call_watch **out, int fd);
/* Nobody may call on it any more. NULL is allowed. */
void call_watch_end(struct call_watch *w);

static inline bool call_watch_blocks(const struct call_watch *w)
{
	return __atomic_load_n(&w->blocks, __ATOMIC_RELAXED);
}

/* Makes one call. False: it has blocked, now or earlier, and the guest may not have been called. */
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
