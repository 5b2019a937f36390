/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_SOCK_CLAIM_H
#define ZV_SOCK_CLAIM_H

/*
 * Claims a Unix socket path for as long as the claim is held: takes a lock on "PATH.lock", so that
 * two processes cannot both find the socket stale, and removes a socket file that nobody listens
 * on any more. Returns the descriptor of the claim, or with zv_err() text -EADDRINUSE (somebody
 * listens, or the file is no socket), -EACCES, -ENOENT or what else the file system says.
 */
int sock_claim(const char *path);

/* Ends the claim and removes the lock file. */
void sock_unclaim(const char *path, int claim);

#endif
