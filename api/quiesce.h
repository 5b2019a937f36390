/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stopping a queue without waiting for its application.
 *
 * Theory of operation
 * -------------------
 * A queue belongs to one thread, its owner; rings and memory maps belong to a control thread, which
 * the transport has for what its peer or its device says. The control thread may change them only
 * while the owner is outside the library. So every public call marks its queue busy on entry and
 * idle on exit, and quiesce_stop() raises a flag and waits for the mark: it waits for the remainder
 * of one bounded call, never for the application. A call that finds the flag raised turns back at
 * once.
 *
 * The mark is a Dekker pair: owner [store busy; load stop], control [store stop; load busy]. Both
 * sides need a full barrier between the two; the owner's would cost on every call, so the control
 * thread pays for both with membarrier(PRIVATE_EXPEDITED), which runs a barrier on every CPU that
 * runs a thread of the process (barrier pair [Q]). Where membarrier is refused (old kernels,
 * seccomp; tried at start, and its result looked at each time) or a tool cannot see it (TSan), the
 * owner runs the barrier itself.
 */
#ifndef ZV_QUIESCE_H
#define ZV_QUIESCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct quiesce {
	uint32_t busy; /* 1 while the owner is inside a call; written by the owner */
	uint32_t stop; /* 1 while the control thread wants or has the queue stopped */
	/* The owner's: runs when it has entered, and when it leaves. NULL: nobody wants to know. */
	void (*watch)(void *arg, bool enters);
	void *watch_arg;
};

/*
 * 1 when the owner must run the barrier itself. Set by quiesce_init(), and again when membarrier is
 * refused later.
 */
extern int quiesce_owner_fence;

/* Registers the process for membarrier. Call before the first queue is used; idempotent. */
void quiesce_init(void);

/*
 * Control thread: stops the queue and waits until its owner is outside. Not recursive. On return
 * the owner's earlier stores are visible here. Must not be called by the owner inside a call.
 */
void quiesce_stop(struct quiesce *q);

/*
 * Any thread: a barrier, after which quiesce_outside() says whether the owner is outside now. Then
 * its later calls see what was stored before, and what it stored in earlier ones is visible here.
 */
void quiesce_barrier(void);
bool quiesce_outside(const struct quiesce *q);

/* Control thread: lets the owner in again; stores made meanwhile are visible to it. */
void quiesce_resume(struct quiesce *q);

#if defined(__SANITIZE_THREAD__)
#define QUIESCE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUIESCE_TSAN 1
#endif
#endif

/* Owner: enters the library. False: the queue is being stopped; do nothing, do not leave. */
static inline bool quiesce_enter(struct quiesce *q)
{
#ifdef QUIESCE_TSAN
	__atomic_exchange_n(&q->busy, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_store_n(&q->busy, 1, __ATOMIC_RELAXED);
	if (__builtin_expect(quiesce_owner_fence, 0))
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__asm__ __volatile__(
			"" ::
				: "memory"); /* barrier pair [Q], paid for by the other side */
#endif
	if (__builtin_expect(__atomic_load_n(&q->stop, __ATOMIC_ACQUIRE), 0)) {
		__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE);
		return false;
	}
	if (__builtin_expect(q->watch != NULL, 0))
		q->watch(q->watch_arg, true);
	return true;
}

/* Owner: leaves the library. */
static inline void quiesce_leave(struct quiesce *q)
{
	if (__builtin_expect(q->watch != NULL, 0))
		q->watch(q->watch_arg, false);
	__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE);
}

#endif
