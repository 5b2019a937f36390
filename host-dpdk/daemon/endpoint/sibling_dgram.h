/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between guests that share a group (endpoint_sibling.c).
 *
 * Theory of operation
 * -------------------
 * A device of a guest that is in groups takes the datagrams to all ports of all CIDs
 * (zv_dgram_bind_all). What is for a sibling is sent to it, as from the guest's own CID and port:
 * at once where the sibling's queue is of the same lcore, else in a parcel that is posted to the
 * other one. Nobody waits for anybody: no more than DGRAM_PARCELS of a guest are on their way, and
 * what finds no room there, or in the sibling's ring, is lost and counted, as is what is for the
 * host or for a guest that has no datagrams. What is left in the device's queue is taken in the
 * next poll, DGRAM_TURN_BYTES at a time.
 */
#ifndef ZVD_SIBLING_DGRAM_H
#define ZVD_SIBLING_DGRAM_H

#include "core/guest.h"

#define DGRAM_PARCELS	 64u
#define DGRAM_TURN_BYTES 262144u
#define DGRAM_CHARGE	 4096u /* least that one counts of it */

/* What a guest has on its way to other lcores. Zeroed memory is a fresh one. */
struct dgram_parcels {
	unsigned n; /* atomic */
};

/*
 * ZV_EV_DGRAM of @gq: takes what waits. @with calls fn(arg, to) for the guest that has @cid, which
 * is kept from being taken off its lcores meanwhile; false: there is none.
 */
void sibling_dgrams(struct guest_queue *gq, struct dgram_parcels *parcels,
		    bool (*with)(struct guest *g, uint64_t cid,
				 void (*fn)(void *arg, struct guest *to), void *arg));

/* Waits until nothing of the guest is on its way; it sends no more. */
void dgram_parcels_end(struct dgram_parcels *parcels);

#endif
