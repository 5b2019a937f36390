/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_SOCK_CLAIM_H
#define ZV_SOCK_CLAIM_H

#include <sys/types.h>

/*
 * Claims a Unix socket path as long as the claim is held: takes a lock on "PATH.lock", so that two
 * processes cannot both find the socket stale, and removes a socket file on which nobody listens
 * any more. Returns the descriptor of the claim, or with zv_err() text -EADDRINUSE (somebody
 * listens, or the file is no socket), -EACCES, -ENOENT or another error of the file system.
 */
int sock_claim(const char *path);

/*
 * Sets mode ((mode_t)-1: unchanged) and owner ((uid_t)-1, (gid_t)-1: unchanged) of the Unix socket
 * at @path. A link or another kind of file that somebody has put there meanwhile is not touched:
 * -EADDRINUSE. 0 or -errno, without zv_err() text.
 */
int sock_set_rights(const char *path, mode_t mode, uid_t uid, gid_t gid);
/* What to say of its @err: the reason, and how to mend it. */
const char *sock_rights_error(int err);

/* Ends the claim and removes the lock file. */
void sock_unclaim(const char *path, int claim);

#endif
