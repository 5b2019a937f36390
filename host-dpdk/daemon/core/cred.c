/* SPDX-License-Identifier: BSD-3-Clause */
#include "cred.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Permission bits for others, as in st_mode. */
#define MAY_WRITE  02u
#define MAY_SEARCH 01u

bool cred_of(int fd, struct ucred *cred)
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

bool cred_admitted(const struct cfg_apps *c, int fd, const struct ucred *cred)
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

/* As the kernel decides it: the first class that fits, and no other. */
static bool allows(const char *path, mode_t bit, const struct ucred *cred, const gid_t *gids,
		   unsigned n)
{
	struct stat st;
	bool member;

	if (stat(path, &st) < 0)
		return false;
	if (st.st_uid == cred->uid)
		return st.st_mode & bit << 6;
	member = st.st_gid == cred->gid;
	for (unsigned i = 0; i < n && !member; i++)
		member = st.st_gid == gids[i];
	return st.st_mode & (member ? bit << 3 : bit);
}

/* All directories on the way to @path can be searched. */
static bool leads_there(char *path, const struct ucred *cred, const gid_t *gids, unsigned n)
{
	bool may = allows("/", MAY_SEARCH, cred, gids, n);

	for (size_t i = 1; may && path[i]; i++) {
		if (path[i] != '/')
			continue;
		path[i] = 0;
		may = allows(path, MAY_SEARCH, cred, gids, n);
		path[i] = '/';
	}
	return may;
}

bool cred_may_connect(const char *path, int fd, const struct ucred *cred)
{
	char *written, *real;
	unsigned n;
	gid_t *gids;
	bool may;

	if (cred->uid == 0)
		return true;
	gids = groups_of(fd, &n);
	written = strdup(path);
	real = realpath(path, NULL); /* symbolic links may lead through other directories */
	may = written && real && leads_there(written, cred, gids, n) &&
	      leads_there(real, cred, gids, n) && allows(real, MAY_WRITE, cred, gids, n);
	free(real);
	free(written);
	free(gids);
	return may;
}
