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

uint64_t mem_sleep_charge(struct mem_sleep *s, uint64_t now, uint64_t ns)
{
	uint64_t was = __atomic_load_n(&s->settled, __ATOMIC_RELAXED), is;

	if (ns > MEM_SLEEP_MOST_NS)
		ns = MEM_SLEEP_MOST_NS;
	do
		is = (was > now ? was : now) + (ns < MEM_SLEEP_NS ? 0 : ns * MEM_SLEEP_PART);
	while (!__atomic_compare_exchange_n(&s->settled, &was, is, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
	return rest_of(is, now);
}

uint64_t mem_sleep_rest(const struct mem_sleep *s, uint64_t now)
{
	return rest_of(__atomic_load_n(&s->settled, __ATOMIC_RELAXED), now);
}

/* ---- accounts ---- */

static struct {
	pthread_mutex_t lock; /* also of refs */
	struct mem_account *first;
} users = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* With the lock: frees those that nobody needs any more. */
static void sweep(void)
{
	uint64_t now = now_ns();
	struct mem_account *a;

	for (struct mem_account **p = &users.first; (a = *p);) {
		if (a->refs || __atomic_load_n(&a->sleep.settled, __ATOMIC_RELAXED) > now) {
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
	struct mem_account *a = NULL;
	bool own = uid == MEM_ACCOUNT_OWN || uid == 0 || uid == geteuid();

	pthread_mutex_lock(&users.lock);
	sweep();
	if (!own)
		a = find(uid);
	if (!a && (a = calloc(1, sizeof(*a)))) {
		a->uid = own ? MEM_ACCOUNT_OWN : uid;
		if (!own) {
			a->next = users.first;
			users.first = a;
		}
	}
	if (a)
		a->refs++;
	pthread_mutex_unlock(&users.lock);
	return a;
}

struct mem_account *mem_account_hold(struct mem_account *a)
{
	if (!a)
		return NULL;
	pthread_mutex_lock(&users.lock);
	a->refs++;
	pthread_mutex_unlock(&users.lock);
	return a;
}

void mem_account_put(struct mem_account *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&users.lock);
	a->refs--;
	if (!a->refs && a->uid == MEM_ACCOUNT_OWN)
		free(a);
	else
		sweep();
	pthread_mutex_unlock(&users.lock);
}
