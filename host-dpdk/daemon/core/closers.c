/* SPDX-License-Identifier: BSD-3-Clause */
#include "closers.h"

#include "fd_closer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define OWN  0u			  /* root and the user of this process */
#define REST (CLOSERS_USERS + 1u) /* users for whom there is no entry */
#define ALL  (CLOSERS_USERS + 2u)

struct closers {
	pthread_mutex_t lock;
	uid_t uid[ALL]; /* of an entry with descriptors; under the lock */
	struct fd_closer *closer[ALL];
};

struct closers *closers_new(void (*closed)(void))
{
	struct closers *c = calloc(1, sizeof(*c));
	bool whole = c;

	for (unsigned i = 0; whole && i < ALL; i++) {
		c->closer[i] = fd_closer_new(closed);
		whole = c->closer[i];
	}
	if (c)
		(void)pthread_mutex_init(&c->lock, NULL);
	if (!whole) {
		closers_free(c);
		return NULL;
	}
	return c;
}

void closers_free(struct closers *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < ALL; i++)
		fd_closer_free(c->closer[i]);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

/* Under the lock. The entry of @uid; *idle: one that it can have. REST: neither. */
static unsigned find(const struct closers *c, uid_t uid, unsigned *idle)
{
	*idle = REST;
	if (uid == 0 || uid == geteuid())
		return OWN;
	for (unsigned i = OWN + 1; uid != CLOSERS_NOBODY && i < REST; i++) {
		if (fd_closer_count(c->closer[i]) == 0)
			*idle = i;
		else if (c->uid[i] == uid)
			return i;
	}
	return REST;
}

void closers_put(struct closers *c, uid_t uid, const int *fd, unsigned n)
{
	unsigned i, idle;

	if (!n)
		return;
	pthread_mutex_lock(&c->lock);
	i = find(c, uid, &idle);
	if (i == REST && idle != REST) {
		i = idle;
		c->uid[i] = uid;
	}
	fd_closer_put_all(c->closer[i], fd, n);
	pthread_mutex_unlock(&c->lock);
}

unsigned closers_count(struct closers *c, uid_t uid)
{
	unsigned i, idle, n;

	pthread_mutex_lock(&c->lock);
	i = find(c, uid, &idle);
	n = i == REST && idle != REST ? 0 : fd_closer_count(c->closer[i]);
	pthread_mutex_unlock(&c->lock);
	return n;
}

unsigned closers_all(struct closers *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ALL; i++)
		n += fd_closer_count(c->closer[i]);
	return n;
}
