/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may be done in a round of an lcore.
 *
 * Theory of operation
 * -------------------
 * Work is counted in bytes, and a buffer or a message counts WORK_UNIT at least, however small it
 * is: each costs something. A connection has a quota in each round (RELAY_QUOTA and the like). What
 * is done for host programs without the guest having to make room for it (messages that are looked
 * at, what is read for a guest that reads no more) also has a limit for all connections of a queue:
 * a host program can have thousands. Who finds it used up puts its work off, behind all others.
 *
 * By the lcore of the queue.
 */
#ifndef ZVD_WORK_H
#define ZVD_WORK_H

#include "daemon.h"

#define WORK_UNIT  4096u
#define WORK_ROUND (1u << 20) /* of a queue */

static inline uint32_t work_of(uint32_t bytes)
{
	return bytes > WORK_UNIT ? bytes : WORK_UNIT;
}

/* False: the queue has had its share of this round; lcore_defer(), for the next one. */
bool work_may(struct guest_queue *gq);

/* A buffer or message of @bytes has been dealt with. Returns what it counts. */
uint32_t work_done(struct guest_queue *gq, uint32_t bytes);

#endif
