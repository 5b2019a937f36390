/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many connections of a queue (max_conns) siblings and applications of the host may have.
 *
 * Theory of operation
 * -------------------
 * A guest that connects to another one takes a place in that one's table, and its host programs,
 * and other guests, need places too. So all siblings together get half of the table, and each of
 * them only as many places as are still free in that half: one alone gets half of it, two a third
 * each, and there is always something left for one who has none yet. A guest and an application
 * count alike, and each application for itself, although all of them have CID 2.
 *
 * By the lcore of the queue.
 */
#ifndef ZVD_SHARE_H
#define ZVD_SHARE_H

#include "core/guest.h"

struct share;

/*
 * Takes a place in @gq's table for a connection that @asker, a guest or an application, has asked
 * for. NULL: it has its share already, or no memory.
 */
struct share *share_get(struct guest_queue *gq, const struct guest *asker);

/* Gives the place back. NULL: nothing happens. */
void share_put(struct guest_queue *gq, struct share *s);

#endif
