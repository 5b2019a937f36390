/* SPDX-License-Identifier: BSD-3-Clause */
#include "resolve.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct resolve {
	struct resolve *next; /* of all */
	uint64_t owner;
	bool unwanted;
	struct gaicb req;
	char name[];
};

static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct resolve *all;

/* glibc's thread writes it. */
static int state_of(const struct resolve *r)
{
	return gai_error((struct gaicb *)(uintptr_t)&r->req);
}

bool resolve_is_over(const struct resolve *r)
{
	return state_of(r) != EAI_INPROGRESS;
}

/* Frees those that nobody wants and whose answer has come; counts the others. Under the lock. */
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
		if (r->req.ar_result)
			freeaddrinfo(r->req.ar_result);
		free(r);
	}
	return n;
}

/* Asks. Under the lock. */
static int begin(struct resolve *r)
{
	struct gaicb *list[1] = {&r->req};
	unsigned owners, n = sweep(r->owner, &owners);

	if (n >= RESOLVE_MAX || owners >= RESOLVE_SHARE)
		return -EBUSY;
	if (getaddrinfo_a(GAI_NOWAIT, list, 1, NULL))
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
	r->req.ar_name = r->name;
	r->req.ar_request = &hints;
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
	return state_of(r) == 0 ? r->req.ar_result : NULL;
}

void resolve_end(struct resolve *r)
{
	unsigned owners;

	if (!resolve_is_over(r))
		(void)gai_cancel(&r->req);
	pthread_mutex_lock(&lock);
	r->unwanted = true;
	(void)sweep(0, &owners);
	pthread_mutex_unlock(&lock);
}
