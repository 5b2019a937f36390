/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_sleep.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FREE_NS ((uint64_t)MEM_SLEEP_PART * MEM_SLEEP_FREE_NS)

static uint64_t rest_of(uint64_t settled, uint64_t now)
{
	return settled > now + FREE_NS ? settled - now - FREE_NS : 0;
}

/* *at is @when or later. Returns what it was. */
static uint64_t put_off(uint64_t *at, uint64_t when)
{
	uint64_t was = __atomic_load_n(at, __ATOMIC_RELAXED);

	while (was < when && !__atomic_compare_exchange_n(at, &was, when, true, __ATOMIC_RELAXED,
							  __ATOMIC_RELAXED))
		;
	return was;
}

void mem_sleep_charge(struct mem_sleep *s, uint64_t now, uint64_t ns)
{
	uint64_t was = __atomic_load_n(&s->settled, __ATOMIC_RELAXED), is;
	const uint64_t began = now > ns ? now - ns : 0;

	if (ns < MEM_SLEEP_NS)
		return;
	ns = MEM_SLEEP_PART * (ns < MEM_SLEEP_MOST_NS ? ns : MEM_SLEEP_MOST_NS);
	if (__atomic_load_n(&s->noted, __ATOMIC_RELAXED) < now)
		__atomic_store_n(&s->first, now, __ATOMIC_RELEASE);
	if (put_off(&s->noted, now + ns) < now)
		return;
	if (began < __atomic_load_n(&s->first, __ATOMIC_RELAXED))
		return;
	do {
		is = (was > now ? was : now) + ns;
		if (is > now + FREE_NS + MEM_SLEEP_PART * MEM_SLEEP_MOST_NS)
			is = now + FREE_NS + MEM_SLEEP_PART * MEM_SLEEP_MOST_NS;
	} while (!__atomic_compare_exchange_n(&s->settled, &was, is, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

uint64_t mem_sleep_rest(const struct mem_sleep *s, uint64_t now)
{
	return rest_of(__atomic_load_n(&s->settled, __ATOMIC_RELAXED), now);
}

/* ---- accounts ---- */

static struct {
	pthread_mutex_t lock; /* of the list; who has no reference takes the first with it */
	struct mem_account *first;
} users = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Something is charged, or noted. */
static bool in_use(const struct mem_sleep *s, uint64_t now)
{
	return __atomic_load_n(&s->settled, __ATOMIC_RELAXED) > now ||
	       __atomic_load_n(&s->noted, __ATOMIC_RELAXED) > now;
}

/* With the lock: frees those that nobody needs any more. */
static void sweep(void)
{
	uint64_t now = now_ns();
	struct mem_account *a;

	for (struct mem_account **p = &users.first; (a = *p);) {
		if (__atomic_load_n(&a->refs, __ATOMIC_ACQUIRE) || in_use(&a->sleep, now)) {
			p = &a->next;
			continue;
		}
		*p = a->next;
		free(a);
	}
}

static struct mem_account *find(uid_t uid)
{
	struct mem_account *a = users.first;

	while (a && a->uid != uid)
		a = a->next;
	return a;
}

struct mem_account *mem_account_get(uid_t uid)
{
	struct mem_account *fresh = calloc(1, sizeof(*fresh)), *a;

	if (!fresh)
		return NULL;
	fresh->uid = uid == 0 || uid == geteuid() ? MEM_ACCOUNT_OWN : uid;
	fresh->refs = 1;
	if (fresh->uid == MEM_ACCOUNT_OWN)
		return fresh;
	pthread_mutex_lock(&users.lock);
	sweep();
	a = find(uid);
	if (a) {
		(void)mem_account_hold(a);
	} else {
		a = fresh;
		fresh = NULL;
		a->next = users.first;
		users.first = a;
	}
	pthread_mutex_unlock(&users.lock);
	free(fresh);
	return a;
}

struct mem_account *mem_account_hold(struct mem_account *a)
{
	if (a)
		(void)__atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
	return a;
}

void mem_account_put(struct mem_account *a)
{
	bool own = a && a->uid == MEM_ACCOUNT_OWN;

	/* A user's is freed by sweep(). */
	if (a && __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) == 0 && own)
		free(a);
}
