/* SPDX-License-Identifier: BSD-3-Clause */
#include "quiesce.h"

#include "shm_access.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

int quiesce_owner_fence = 1;

void quiesce_init(void)
{
#ifndef QUIESCE_TSAN
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
		__atomic_store_n(&quiesce_owner_fence, 0, __ATOMIC_RELAXED);
#endif
}

void quiesce_stop(struct quiesce *q)
{
	__atomic_store_n(&q->stop, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&quiesce_owner_fence, __ATOMIC_RELAXED))
		(void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	else
		shm_mb();
	while (__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST))
		sched_yield();
}

void quiesce_resume(struct quiesce *q)
{
	__atomic_store_n(&q->stop, 0, __ATOMIC_RELEASE);
}
