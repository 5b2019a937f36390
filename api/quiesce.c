/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

#include "shm_access.h"
#include "transport.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int quiesce_owner_fence = 1;

/* A barrier on every CPU that runs a thread of this process. False: it was refused. */
static bool barrier_everywhere(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void quiesce_init(void)
{
#ifndef QUIESCE_TSAN
	static bool asked;

	/* Tried, not only registered for: a seccomp filter may let the one pass and not the other.
	 */
	if (!__atomic_exchange_n(&asked, true, __ATOMIC_SEQ_CST) &&
	    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
	    barrier_everywhere())
		__atomic_store_n(&quiesce_owner_fence, 0, __ATOMIC_RELAXED);
#endif
}

/*
 * A filter that the application has installed since quiesce_init() refuses the barrier. From here
 * on owners run it themselves; those inside enter() at this moment have not, so their stores are
 * given the time of many context switches, each of which is a barrier, to become visible.
 */
static void barrier_lost(void)
{
	static const struct timespec long_enough = {.tv_nsec = 50000000};

	zv_log(ZV_LOG_ERR, "membarrier(2) is refused (a seccomp filter installed after zv_open?): "
			   "every call now "
			   "costs a memory barrier; allow membarrier");
	__atomic_store_n(&quiesce_owner_fence, 1, __ATOMIC_SEQ_CST);
	(void)nanosleep(&long_enough, NULL);
}

void quiesce_barrier(void)
{
	if (__atomic_load_n(&quiesce_owner_fence, __ATOMIC_RELAXED))
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
	__atomic_store_n(&q->stop, 1, __ATOMIC_SEQ_CST);
	quiesce_barrier();
	while (__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST))
		sched_yield();
}

void quiesce_resume(struct quiesce *q)
{
	__atomic_store_n(&q->stop, 0, __ATOMIC_RELEASE);
}
