/* SPDX-License-Identifier: BSD-3-Clause */
#include "unmapper.h"

#include "charge.h"
#include "thread_start.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#define RETRY_NS 10000000 /* until a thread that could not be made is tried again */

struct unmapper {
	uint32_t refs;
	struct charge *charge;	/* a reference; NULL: no user's */
	uint32_t count;		/* tables that are not unmapped yet; atomic */
	uint32_t running;	/* it has a thread, or waits for one; atomic */
	struct guest_mem *maps; /* the newest first; atomic */
	struct unmapper *next;	/* in `waiting` */
};

/* Those that need a thread, the newest first; each has a reference. Atomic. */
static struct unmapper *waiting;
static sem_t waits; /* counts them */

/* ---- lists: anyone pushes, and whoever takes takes all ---- */

static void push_map(struct unmapper *u, struct guest_mem *m)
{
	m->next = __atomic_load_n(&u->maps, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&u->maps, &m->next, m, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED))
		;
}

static void push_waiting(struct unmapper *u)
{
	u->next = __atomic_load_n(&waiting, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&waiting, &u->next, u, true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

/* ---- the thread of an unmapper ---- */

static bool take(struct unmapper *u)
{
	struct guest_mem *next;
	int n;

	for (struct guest_mem *m = __atomic_exchange_n(&u->maps, NULL, __ATOMIC_SEQ_CST); m;
	     m = next) {
		next = m->next;
		n = (int)m->nregions;
		guest_mem_unmap(m);
		charge_maps(u->charge, -n);
		__atomic_sub_fetch(&u->count, 1, __ATOMIC_RELEASE);
	}
	/* Whoever pushes from here on sees that there is no thread, or this thread sees the map. */
	__atomic_store_n(&u->running, 0, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&u->maps, __ATOMIC_SEQ_CST) &&
	       !__atomic_exchange_n(&u->running, 1, __ATOMIC_SEQ_CST);
}

static void *unmap_them(void *arg)
{
	struct unmapper *u = arg;

	while (take(u))
		;
	unmapper_put(u);
	return NULL;
}

/* ---- the thread of the process ---- */

static void *make_threads(void *arg)
{
	const struct timespec retry = {.tv_nsec = RETRY_NS};
	struct unmapper *u, *next;

	for (;;) {
		while (sem_wait(&waits) < 0 && errno == EINTR)
			;
		u = __atomic_exchange_n(&waiting, NULL, __ATOMIC_ACQUIRE);
		for (; u; u = next) {
			next = u->next;
			while (thread_start("zvsock-unmap", unmap_them, u) < 0)
				(void)nanosleep(&retry, NULL);
		}
	}
	return arg;
}

static bool have_maker(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool made, inited;
	bool good;

	pthread_mutex_lock(&lock);
	if (!inited)
		inited = sem_init(&waits, 0, 0) == 0;
	made = made || (inited && thread_start("zvsock-unmaps", make_threads, NULL) == 0);
	good = made;
	pthread_mutex_unlock(&lock);
	return good;
}

/* ---- for others ---- */

struct unmapper *unmapper_new(struct charge *c)
{
	struct unmapper *u = have_maker() ? calloc(1, sizeof(*u)) : NULL;

	if (u) {
		u->refs = 1;
		u->charge = charge_get(c);
	}
	return u;
}

struct unmapper *unmapper_get(struct unmapper *u)
{
	__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
	return u;
}

void unmapper_put(struct unmapper *u)
{
	if (!u || __atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL))
		return;
	charge_put(u->charge);
	free(u);
}

void unmapper_add(struct unmapper *u, struct guest_mem *m)
{
	__atomic_add_fetch(&u->count, 1, __ATOMIC_RELAXED);
	charge_maps(u->charge, (int)m->nregions);
	push_map(u, m);
	if (__atomic_exchange_n(&u->running, 1, __ATOMIC_SEQ_CST))
		return;
	push_waiting(unmapper_get(u));
	(void)sem_post(&waits);
}

void unmapper_drop(struct unmapper *u, struct guest_mem *m)
{
	if (!u) {
		guest_mem_put(m);
	} else if (m) {
		if (guest_mem_leave(m))
			unmapper_add(u, m);
		guest_mem_forget(m);
	}
}

uint32_t unmapper_count(const struct unmapper *u)
{
	return u ? __atomic_load_n(&u->count, __ATOMIC_ACQUIRE) : 0;
}
