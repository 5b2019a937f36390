/* SPDX-License-Identifier: BSD-3-Clause */
#include "cred.h"

#include "base/acl.h"

#include <stdlib.h>
#include <string.h>

bool cred_of(int fd, struct ucred *cred)
{
	socklen_t len = sizeof(*cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, &len) == 0;
}

/* Supplementary groups of the peer of @fd: *gids, to be freed. False: they are not known. */
static bool groups_of(int fd, gid_t **gids, unsigned *n)
{
	socklen_t len = 0;

	*n = 0;
	*gids = NULL;
	/* Fails and says how many bytes there are, unless there are none. They do not change. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0)
		return true;
	if (!len)
		return false;
	*gids = malloc(len);
	if (!*gids || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, *gids, &len) < 0)
		return false;
	*n = (unsigned)(len / sizeof(**gids));
	return true;
}

bool cred_admitted(const struct cfg_apps *c, int fd, const struct ucred *cred)
{
	unsigned n;
	gid_t *gids;
	bool is;

	if (cred->uid == 0 || cfg_app_admits(c, cred->uid, &cred->gid, 1))
		return true;
	is = groups_of(fd, &gids, &n) && cfg_app_admits(c, cred->uid, gids, n);
	free(gids);
	return is;
}

/* All directories on the way to @path can be searched. */
static bool leads_there(char *path, const struct acl_user *u)
{
	bool may = acl_allows("/", ACL_MAY_SEARCH, u);

	for (size_t i = 1; may && path[i]; i++) {
		if (path[i] != '/')
			continue;
		path[i] = 0;
		may = acl_allows(path, ACL_MAY_SEARCH, u);
		path[i] = '/';
	}
	return may;
}

bool cred_may_connect(const char *path, int fd, const struct ucred *cred)
{
	struct acl_user u = {.uid = cred->uid, .gid = cred->gid};
	char *written, *real;
	gid_t *gids;
	bool may;

	if (cred->uid == 0)
		return true;
	may = groups_of(fd, &gids, &u.n_gids); /* a group may have less than others */
	u.gids = gids;
	written = strdup(path);
	real = realpath(path, NULL); /* symbolic links may lead through other directories */
	may = may && written && real && leads_there(written, &u) && leads_there(real, &u) &&
	      acl_allows(real, ACL_MAY_WRITE, &u);
	free(real);
	free(written);
	free(gids);
	return may;
}
