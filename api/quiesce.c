/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

#include "shm_access.h"
#include "spin.h"
#include "transport.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int quiesce_owner_fence = 1;

/* 1: whoever is inside a call has run the barrier; trails quiesce_owner_fence when that is raised.
 */
static int fenced = 1;

/* A barrier on every CPU that runs a thread of this process. False: it was refused. */
static bool barrier_everywhere(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

static void init_once(void)
{
#ifndef QUIESCE_TSAN
	/* Tried, not only registered for: a seccomp filter may let the one pass and not the other.
	 */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0 ||
	    !barrier_everywhere())
		return;
	__atomic_store_n(&fenced, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&quiesce_owner_fence, 0, __ATOMIC_RELAXED);
#endif
}

void quiesce_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	/* Who comes second waits: it must not use a queue while this is being settled. */
	(void)pthread_once(&once, init_once);
}

/*
 * A filter that the application has installed since quiesce_init() refuses the barrier. From here
 * on owners run it themselves; those inside enter() at this moment have not, so their stores are
 * given the time of many context switches, each of which is a barrier, to become visible. Until
 * that is over every quiesce_stop() comes here.
 */
static void barrier_lost(void)
{
	static const struct timespec long_enough = {.tv_nsec = 50000000};

	if (!__atomic_exchange_n(&quiesce_owner_fence, 1, __ATOMIC_SEQ_CST))
		zv_log(ZV_LOG_ERR, "membarrier(2) is refused (a seccomp filter installed after "
				   "zv_open?): every call now costs a memory barrier; allow "
				   "membarrier");
	(void)nanosleep(&long_enough, NULL);
	__atomic_store_n(&fenced, 1, __ATOMIC_RELEASE);
}

void quiesce_barrier(void)
{
	if (__atomic_load_n(&fenced, __ATOMIC_ACQUIRE)) /* barrier pair [Q] */
		shm_mb();
	else if (!barrier_everywhere())
		barrier_lost();
}

bool quiesce_outside(const struct quiesce *q)
{
	return !__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST);
}

void quiesce_stop(struct quiesce *q)
{
	unsigned steps = 0;

	__atomic_store_n(&q->stop, 1, __ATOMIC_SEQ_CST);
	quiesce_barrier();
	while (__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST))
		spin_step(&steps);
}

void quiesce_resume(struct quiesce *q)
{
	__atomic_store_n(&q->stop, 0, __ATOMIC_RELEASE);
}
