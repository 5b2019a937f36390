/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps_cred.h"

#include "core/log.h"

#include <stdlib.h>

bool app_cred(int fd, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, &len) == 0;
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

bool app_admitted(const struct cfg_apps *c, int fd, const struct ucred *cred)
{
	unsigned n;
	gid_t *gids;
	bool is;

	if (cred->uid == 0 || cfg_app_admits(c, cred->uid, &cred->gid, 1))
		return true;
	gids = groups_of(fd, &n);
	is = cfg_app_admits(c, cred->uid, gids, n);
	free(gids);
	return is;
}
