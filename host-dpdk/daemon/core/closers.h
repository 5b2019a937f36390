/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that local users have sent, and sockets in which some may be queued: each user's are
 * closed by a thread of its own (fd_closer.h), so that nobody waits for the descriptors of others.
 * Root and the user of this process count as one. Beyond CLOSERS_USERS users at a time, further
 * ones share a thread. Any thread may call these functions.
 */
#ifndef ZVD_CLOSERS_H
#define ZVD_CLOSERS_H

#include <sys/types.h>

#define CLOSERS_USERS  64u
#define CLOSERS_NOBODY ((uid_t)-1) /* the user is not known */

struct closers;

/* @closed, if not NULL, is called after each close, on any thread. NULL: no memory. */
struct closers *closers_new(void (*closed)(void));
/* What is left is still closed; nobody waits for that. NULL is allowed. */
void closers_free(struct closers *c);
/* Takes over @n descriptors that @uid has sent. */
void closers_put(struct closers *c, uid_t uid, const int *fd, unsigned n);
/* Those of @uid that wait to be closed, or are being closed; with those of users that share its
 * thread. */
unsigned closers_count(struct closers *c, uid_t uid);
/* Those of all users. */
unsigned closers_all(struct closers *c);

#endif
