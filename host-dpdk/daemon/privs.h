/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Privileges of the process, and the directories of its sockets.
 *
 * Theory of operation
 * -------------------
 * zvsockd starts as whichever user starts it. privs_prepare() gives up what is never needed, before
 * there are threads: an exec can gain no privileges (no_new_privs), and files are created without
 * permissions for others (umask). The sockets are created as the starting user, with the modes and
 * owners in the configuration. Then privs_drop() switches to the configured user, in all threads,
 * permanently. The lock files beside the sockets are given to that user, so that they can be
 * removed, and locked by the next process after a crash. A reload works with the remaining rights:
 * it can create and remove sockets in directories of that user, and cannot give them to other
 * users.
 */
#ifndef ZVD_PRIVS_H
#define ZVD_PRIVS_H

#include "core/daemon.h"

/* Raises RLIMIT_NOFILE, sets no_new_privs and umask, ignores SIGPIPE; refuses a user to which it
 * cannot switch. 0 or -errno, logged. */
int privs_prepare(const struct cfg *c);

/* Creates missing directories of the sockets (not their parents), owned by the configured user, and
 * closed to others if all sockets in it are. 0, or -errno if one could not be created (logged). */
int privs_make_dirs(const struct cfg *c);

/* Switches to the user and group of @d's configuration, in every thread; gives them the sockets and
 * locks of running guests. 0 or -errno, logged. */
int privs_drop(const struct daemon *d);

#endif
