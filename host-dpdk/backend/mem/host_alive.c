/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_alive.h"

#include "proto/ctrl/alive.h"
#include "thread_start.h"

#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(ALIVE_DIED == FUTEX_OWNER_DIED, "what the kernel writes");

/* A node of the robust list. Nodes are as far apart as the words. */
struct node {
	struct robust_list list;
} SHM_CACHE_ALIGNED;
_Static_assert(sizeof(struct node) == sizeof(struct alive_slot), "one distance for all");

struct host_alive {
	struct node node[ALIVE_SLOTS];
	struct robust_list_head head;
	struct alive_slot *slots;
	pthread_mutex_t lock; /* protects these: */
	uint64_t maintained;  /* bit i: slot i */
	uint32_t tid;	      /* 0: the thread does not run yet */
	sem_t end;
};

/* Under the lock. */
static void put(const struct host_alive *a, unsigned slot)
{
	uint32_t *host = &a->slots[slot].host;

	if (!a->tid) /* the thread stores its number when it runs */
		(void)shm_swap32(host, ALIVE_DIED, 0);
	else if (shm_load32(host) != a->tid)
		shm_store_release32(host, a->tid);
}

static void *sleep_until_end(void *arg)
{
	struct robust_list_head *was = NULL;
	struct host_alive *a = arg;
	size_t len;

	if (syscall(SYS_get_robust_list, 0, &was, &len) == 0 &&
	    syscall(SYS_set_robust_list, &a->head, sizeof(a->head)) == 0) {
		pthread_mutex_lock(&a->lock);
		a->tid = (uint32_t)gettid();
		for (uint64_t maintained = a->maintained; maintained; maintained &= maintained - 1)
			put(a, (unsigned)__builtin_ctzll(maintained));
		pthread_mutex_unlock(&a->lock);
	}
	while (sem_wait(&a->end) < 0)
		;
	(void)syscall(SYS_set_robust_list, was, sizeof(*was));
	(void)sem_destroy(&a->end);
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
	return NULL;
}

struct host_alive *host_alive_new(struct alive_slot *slots)
{
	struct host_alive *a = aligned_alloc(SHM_CACHE_LINE, sizeof(*a));

	if (!a)
		return NULL;
	memset(a, 0, sizeof(*a));
	a->slots = slots;
	a->head.list.next = &a->head.list; /* empty */
	a->head.futex_offset = (long)((uintptr_t)&slots[0].host - (uintptr_t)&a->node[0].list);
	pthread_mutex_init(&a->lock, NULL);
	(void)sem_init(&a->end, 0, 0);
	if (thread_start("zvsock-alive", sleep_until_end, a) < 0) {
		(void)sem_destroy(&a->end);
		(void)pthread_mutex_destroy(&a->lock);
		free(a);
		return NULL;
	}
	return a;
}

void host_alive_maintain(struct host_alive *a, struct alive_slot *s)
{
	unsigned slot = (unsigned)(s - a->slots);
	struct robust_list *n = &a->node[slot].list;

	pthread_mutex_lock(&a->lock);
	if (!(a->maintained & 1ull << slot)) {
		a->maintained |= 1ull << slot;
		n->next = a->head.list.next;
		__atomic_store_n(&a->head.list.next, n, __ATOMIC_RELEASE); /* read by the kernel */
	}
	put(a, slot);
	pthread_mutex_unlock(&a->lock);
}

void host_alive_take_over(struct host_alive *a, struct host_alive *before)
{
	uint64_t maintained;

	pthread_mutex_lock(&before->lock);
	maintained = before->maintained;
	pthread_mutex_unlock(&before->lock);
	for (; maintained; maintained &= maintained - 1)
		host_alive_maintain(a, &a->slots[__builtin_ctzll(maintained)]);
}

void host_alive_end(struct host_alive *a, bool died)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	__atomic_store_n(&a->head.list.next, &a->head.list, __ATOMIC_RELEASE);
	for (uint64_t maintained = a->tid ? a->maintained : 0; maintained;
	     maintained &= maintained - 1)
		(void)shm_swap32(&a->slots[__builtin_ctzll(maintained)].host, a->tid,
				 died ? ALIVE_DIED : 0);
	a->maintained = 0;
	pthread_mutex_unlock(&a->lock);
	(void)sem_post(&a->end); /* the thread frees it */
}
