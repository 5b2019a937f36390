/* SPDX-License-Identifier: BSD-3-Clause */
/* Identity of the peer of a Unix socket according to the kernel (SO_PEERCRED, SO_PEERGROUPS): the
 * user and groups that it had when it connected. */
#ifndef ZVD_CRED_H
#define ZVD_CRED_H

#include "config/config.h"

#include <sys/socket.h>

/* Sets *cred to the peer of the socket @fd. False: the kernel does not report it. */
bool cred_of(int fd, struct ucred *cred);

/* May the peer of @fd, with credentials @cred, attach as an application? */
bool cred_admitted(const struct cfg_apps *c, int fd, const struct ucred *cred);

/* Do the permissions of the socket at @path, and of the directories above it, ACLs included, allow
 * the peer of @fd to connect to it? */
bool cred_may_connect(const char *path, int fd, const struct ucred *cred);

#endif
