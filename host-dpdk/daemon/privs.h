/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process may do, and where its sockets lie.
 *
 * Theory of operation
 * -------------------
 * zvsockd starts as whoever starts it. privs_prepare() gives up what is never needed, before there
 * are threads: an exec could not gain anything any more (no_new_privs), files are born without
 * rights for others (umask). The sockets are made as the starting user, with what modes and owners
 * the configuration says. Then privs_drop() becomes the configured user, in all threads, for good;
 * the lock files beside the sockets become that user's, so that they can be removed, and locked by
 * the next one after a crash. A reload works with the rights that are left: it can make and remove
 * sockets in directories of that user, and cannot give them to other users.
 */
#ifndef ZVD_PRIVS_H
#define ZVD_PRIVS_H

#include "core/daemon.h"

/* Raises RLIMIT_NOFILE, sets no_new_privs, umask, ignores SIGPIPE; refuses a user that cannot be
 * reached from here. 0 or -errno, logged. */
int privs_prepare(const struct cfg *c);

/*
 * Makes the directories of the sockets that are missing (not their parents): the configured user's,
 * closed to others where all sockets in it are. 0, or -errno when one could not be made (logged).
 */
int privs_make_dirs(const struct cfg *c);

/* Becomes the user and group of @d's configuration, in every thread; sockets and locks of the
 * guests that run go with it. 0 or -errno, logged. */
int privs_drop(const struct daemon *d);

#endif
