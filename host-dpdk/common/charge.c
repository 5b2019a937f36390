/* SPDX-License-Identifier: BSD-3-Clause */
#include "charge.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

struct charge {
	uid_t uid;
	unsigned refs, fds, maps; /* atomic */
	bool ended;		  /* under charges.lock */
	TAILQ_ENTRY(charge) next;
};

static struct {
	pthread_mutex_t lock;
	TAILQ_HEAD(, charge) head;
} charges = {.lock = PTHREAD_MUTEX_INITIALIZER, .head = TAILQ_HEAD_INITIALIZER(charges.head)};

struct charge *charge_new(uid_t uid)
{
	struct charge *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->uid = uid;
	c->refs = 1;
	pthread_mutex_lock(&charges.lock);
	TAILQ_INSERT_TAIL(&charges.head, c, next);
	pthread_mutex_unlock(&charges.lock);
	return c;
}

struct charge *charge_get(struct charge *c)
{
	if (c)
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void charge_put(struct charge *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_lock(&charges.lock);
	TAILQ_REMOVE(&charges.head, c, next);
	pthread_mutex_unlock(&charges.lock);
	free(c);
}

void charge_end(struct charge *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&charges.lock);
	c->ended = true;
	pthread_mutex_unlock(&charges.lock);
	charge_put(c);
}

void charge_fds(struct charge *c, int n)
{
	if (c)
		__atomic_add_fetch(&c->fds, (unsigned)n, __ATOMIC_RELAXED);
}

void charge_maps(struct charge *c, int n)
{
	if (c)
		__atomic_add_fetch(&c->maps, (unsigned)n, __ATOMIC_RELAXED);
}

struct charged charged_to(uid_t uid)
{
	struct charged all = {0};
	const struct charge *c;

	pthread_mutex_lock(&charges.lock);
	TAILQ_FOREACH(c, &charges.head, next) {
		if (uid != CHARGE_ALL && c->uid != uid)
			continue;
		all.left += c->ended;
		all.fds += __atomic_load_n(&c->fds, __ATOMIC_RELAXED);
		all.maps += __atomic_load_n(&c->maps, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&charges.lock);
	return all;
}
