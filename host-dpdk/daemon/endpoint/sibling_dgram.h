/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between guests that share a group (endpoint_sibling.c).
 *
 * Theory of operation
 * -------------------
 * What is for a sibling is sent to it, as from the guest's own CID and port: at once where the
 * sibling's queue is of the same lcore, else in a parcel that is posted to the other one. Nobody
 * waits for anybody: no more than DGRAM_PARCELS of a guest are on their way, and what finds no room
 * there, or in the sibling's ring, is lost and counted, as is what is for a guest that is not there
 * or has no datagrams.
 */
#ifndef ZVD_SIBLING_DGRAM_H
#define ZVD_SIBLING_DGRAM_H

#include "core/guest.h"

#include <zvsock_dgram.h>

#define DGRAM_PARCELS 64u

/* What a guest has on its way to other lcores. Zeroed memory is a fresh one. */
struct dgram_parcels {
	unsigned n; /* atomic */
};

/*
 * A datagram that the guest of @gq has sent to *from's local address. @with calls fn(arg, to) for
 * the guest that has @cid, which is kept from being taken off its lcores meanwhile; false: there is
 * none, and so returns this.
 */
bool sibling_dgram(struct guest_queue *gq, struct dgram_parcels *parcels,
		   const struct zv_dgram_addr *from, const void *data, uint32_t len,
		   bool (*with)(struct guest *g, uint64_t cid,
				void (*fn)(void *arg, struct guest *to), void *arg));

/* Waits until nothing of the guest is on its way; it sends no more. */
void dgram_parcels_end(struct dgram_parcels *parcels);

#endif
