/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many connections of a queue (max_conns) siblings and host applications may have.
 *
 * Theory of operation
 * -------------------
 * A guest that connects to another guest takes a place in that guest's connection table, where host
 * programs and other guests need places too. So all siblings together get half of the table, and
 * each of them may take only as many places as are still free in that half: one alone gets half of
 * it, two get a third each, and there is always something left for one that has none yet. A guest
 * counts as one, and so do all applications of a user.
 *
 * All functions run on the lcore of the queue.
 */
#ifndef ZVD_SHARE_H
#define ZVD_SHARE_H

#include "core/guest.h"

struct share;

/* Who asks: a guest, or a user with its applications. */
struct share_asker {
	const struct guest *guest; /* only compared, never dereferenced: it may be gone; NULL: */
	uid_t uid;
};

/* Of a guest, or of an application. */
struct share_asker share_asker(const struct guest *g);

/* Takes a place in @gq's table for a connection requested by @asker. NULL: it already has its
 * share, or no memory. */
struct share *share_get(struct guest_queue *gq, const struct share_asker *asker);

/* Returns the place. NULL is allowed. */
void share_put(struct guest_queue *gq, struct share *s);

#endif
