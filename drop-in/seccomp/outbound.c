/* SPDX-License-Identifier: BSD-3-Clause */
#include "outbound.h"

#include <stdlib.h>
#include <string.h>

#define OUTBOUND_MAX 4096u /* of these the oldest is forgotten */

bool di_outbound_init(struct di_super *s)
{
	s->dns = -1;
	s->outbound = s->tcp ? calloc(OUTBOUND_MAX, sizeof(*s->outbound)) : NULL;
	return s->outbound || !s->tcp;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

void di_outbound_add(struct di_super *s, int fd, const void *addr, socklen_t len)
{
	uint64_t cookie = cookie_of(fd);
	struct di_outbound *l;

	pthread_mutex_lock(&s->lock);
	l = &s->outbound[s->n_outbound++ % OUTBOUND_MAX];
	memset(l, 0, sizeof(*l));
	l->cookie = cookie;
	memcpy(&l->remote, addr, len < sizeof(l->remote) ? len : sizeof(l->remote));
	pthread_mutex_unlock(&s->lock);
}

bool di_outbound_find(struct di_super *s, int fd, struct sockaddr_storage *remote)
{
	uint64_t cookie = s->outbound && s->n_outbound ? cookie_of(fd) : 0;
	bool found = false;

	if (!cookie)
		return false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < OUTBOUND_MAX && i < s->n_outbound && !found; i++) {
		found = s->outbound[i].cookie == cookie;
		if (found)
			*remote = s->outbound[i].remote;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}
