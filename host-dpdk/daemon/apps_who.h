/* SPDX-License-Identifier: BSD-3-Clause */
/* Identity of an application according to the kernel (SO_PEERCRED, SO_PEERGROUPS): the user and
 * groups that it had when it connected. */
#ifndef ZVD_APPS_WHO_H
#define ZVD_APPS_WHO_H

#include "config/config.h"

/* Sets *who to the peer of the client socket @fd. False: the kernel does not report it. */
bool app_who(int fd, struct ucred *who);

/* May the peer of @fd, with credentials @who, attach? */
bool app_admitted(const struct cfg_apps *c, int fd, const struct ucred *who);

#endif
