/* SPDX-License-Identifier: BSD-3-Clause */
#include "left.h"

#include <stdlib.h>
#include <string.h>

#define LEFT_MAX 4096u /* of these the oldest is forgotten */

bool di_left_init(struct di_super *s)
{
	s->dns = -1;
	s->left = s->tcp ? calloc(LEFT_MAX, sizeof(*s->left)) : NULL;
	return s->left || !s->tcp;
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

void di_left_add(struct di_super *s, int fd, const void *addr, socklen_t len)
{
	uint64_t cookie = cookie_of(fd);
	struct di_left *l;

	pthread_mutex_lock(&s->lock);
	l = &s->left[s->n_left++ % LEFT_MAX];
	memset(l, 0, sizeof(*l));
	l->cookie = cookie;
	memcpy(&l->remote, addr, len < sizeof(l->remote) ? len : sizeof(l->remote));
	pthread_mutex_unlock(&s->lock);
}

bool di_left_find(struct di_super *s, int fd, struct sockaddr_storage *remote)
{
	uint64_t cookie = s->left && s->n_left ? cookie_of(fd) : 0;
	bool found = false;

	if (!cookie)
		return false;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < LEFT_MAX && i < s->n_left && !found; i++) {
		found = s->left[i].cookie == cookie;
		if (found)
			*remote = s->left[i].remote;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}
