/* SPDX-License-Identifier: BSD-3-Clause */
/* Identity of an application according to the kernel (SO_PEERCRED, SO_PEERGROUPS): the user and
 * groups that it had when it connected. */
#ifndef ZVD_APPS_CRED_H
#define ZVD_APPS_CRED_H

#include "config/config.h"

/* Sets *cred to the peer of the client socket @fd. False: the kernel does not report it. */
bool app_cred(int fd, struct ucred *cred);

/* May the peer of @fd, with credentials @cred, attach? */
bool app_admitted(const struct cfg_apps *c, int fd, const struct ucred *cred);

#endif
