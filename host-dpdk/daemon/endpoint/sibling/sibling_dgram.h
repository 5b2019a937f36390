/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between guests that share a group (endpoint_sibling.c), and between guests and
 * applications, to which the same applies (endpoint_app.c).
 *
 * Theory of operation
 * -------------------
 * A datagram for a sibling is sent to it from the guest's own CID and port: directly if the
 * sibling's queue is on the same lcore, otherwise in a message posted to the other lcore. Nobody
 * waits: at most DGRAM_IN_TRANSIT_MAX of a guest are in transit. Datagrams that find no room there
 * or in the sibling's ring are dropped and counted, as are those for a guest that does not exist or
 * does not take datagrams.
 */
#ifndef ZVD_SIBLING_DGRAM_H
#define ZVD_SIBLING_DGRAM_H

#include "core/guest.h"

#include <zvsock_dgram.h>

#define DGRAM_IN_TRANSIT_MAX 64u

/* Datagrams of a guest in transit to other lcores. Zeroed memory is initialised. */
struct dgram_in_transit {
	unsigned n; /* atomic */
};

/* Those of programs of several users to one guest. None has more than it leaves for others: one
 * alone has DGRAM_IN_TRANSIT_MAX. */
#define DGRAM_SHARED_MAX     (2 * DGRAM_IN_TRANSIT_MAX)
#define DGRAM_SHARED_SENDERS 64u

struct dgram_shared {
	struct dgram_in_transit all;
	uint8_t of[DGRAM_SHARED_SENDERS]; /* atomic */
};

/*
 * Delivers a datagram that the guest of @gq has sent to *from's local address. @with calls fn(arg,
 * to) for the guest at that address, which stays on its lcores meanwhile; it returns false if there
 * is none, and then so does this function.
 */
bool sibling_dgram(struct guest_queue *gq, struct dgram_in_transit *in_transit,
		   const struct zv_dgram_addr *from, const void *data, uint32_t len,
		   bool (*with)(struct guest *g, const struct zv_dgram_addr *to,
				void (*fn)(void *arg, struct guest *to), void *arg));

/* Waits until no datagram of the guest is in transit; it must send no more. */
void dgram_in_transit_end(struct dgram_in_transit *in_transit);

#endif
