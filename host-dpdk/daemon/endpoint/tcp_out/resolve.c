/* SPDX-License-Identifier: BSD-3-Clause */
#include "resolve.h"

#include "thread_start.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct resolve {
	struct resolve *next; /* of all */
	uint64_t owner;
	bool unwanted, over; /* over: atomic */
	struct addrinfo *found;
	char name[];
};

static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct resolve *all;

bool resolve_is_over(const struct resolve *r)
{
	return __atomic_load_n(&r->over, __ATOMIC_ACQUIRE);
}

/* A thread of its own. */
static void *look_up(void *arg)
{
	struct resolve *r = arg;
	struct addrinfo *found;

	if (getaddrinfo(r->name, NULL, &hints, &found) == 0)
		r->found = found;
	__atomic_store_n(&r->over, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Frees unwanted look-ups that have finished, and counts the others. Under the lock. */
static unsigned sweep(uint64_t owner, unsigned *owners)
{
	struct resolve **p = &all, *r;
	unsigned n = 0;

	*owners = 0;
	while ((r = *p)) {
		if (!r->unwanted || !resolve_is_over(r)) {
			p = &r->next;
			*owners += r->owner == owner;
			n++;
			continue;
		}
		*p = r->next;
		if (r->found)
			freeaddrinfo(r->found);
		free(r);
	}
	return n;
}

/* Asks. Under the lock. */
static int begin(struct resolve *r)
{
	unsigned owners, n = sweep(r->owner, &owners);

	if (n >= RESOLVE_MAX || owners >= RESOLVE_SHARE || owners >= RESOLVE_MAX - n)
		return -EBUSY;
	if (thread_start_apart("zvsock-resolve", look_up, r) < 0)
		return -ENOMEM;
	r->next = all;
	all = r;
	return 0;
}

int resolve_begin(struct resolve **out, const char *name, uint64_t owner)
{
	size_t len = strlen(name) + 1;
	struct resolve *r = calloc(1, sizeof(*r) + len);
	int ret;

	if (!r)
		return -ENOMEM;
	memcpy(r->name, name, len);
	r->owner = owner;
	pthread_mutex_lock(&lock);
	ret = begin(r);
	pthread_mutex_unlock(&lock);
	if (ret == 0)
		*out = r;
	else
		free(r);
	return ret;
}

const struct addrinfo *resolve_result(const struct resolve *r)
{
	return r->found;
}

void resolve_end(struct resolve *r)
{
	unsigned owners;

	pthread_mutex_lock(&lock);
	r->unwanted = true;
	(void)sweep(0, &owners);
	pthread_mutex_unlock(&lock);
}
