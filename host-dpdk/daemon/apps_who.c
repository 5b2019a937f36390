/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps_who.h"

#include "core/log.h"

#include <stdlib.h>

bool app_who(int fd, struct ucred *who)
{
	socklen_t len = sizeof(*who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &len) == 0;
}

/* Supplementary groups of the peer of @fd. NULL: it has none, or there is no memory for them. */
static gid_t *groups_of(int fd, unsigned *n)
{
	socklen_t len = 0;
	gid_t *gids;

	*n = 0;
	/* Fails and says how many bytes there are, unless there are none. They do not change. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || !len)
		return NULL;
	gids = malloc(len);
	if (gids && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) == 0)
		*n = (unsigned)(len / sizeof(*gids));
	return gids;
}

bool app_admitted(const struct cfg_apps *c, int fd, const struct ucred *who)
{
	unsigned n;
	gid_t *gids;
	bool is;

	if (who->uid == 0 || cfg_app_admits(c, who->uid, &who->gid, 1))
		return true;
	gids = groups_of(fd, &n);
	is = cfg_app_admits(c, who->uid, gids, n);
	free(gids);
	return is;
}
