/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a channel of a given size looks like.
 *
 * Both directions are alike, and get half of it. What the rings leave is slots of 4 KiB, which the
 * sender joins to slots of 64 KiB and 1 MiB as its messages need them (SHM_CHANNEL_NESTED):
 * messages of any size can use all of the memory. What is up to 128 bytes long rides in the ring,
 * whose entries are enough for some batches of 32 such messages on their way.
 */
#ifndef ZVD_SHAPE_H
#define ZVD_SHAPE_H

#include <shm_ring.h>

#define CHANNEL_MIN (256u << 10)
#define CHANNEL_MAX (1u << 30)

/* @bytes: a channel's, CHANNEL_MIN to CHANNEL_MAX. Sets version, length and directions of *d;
 * length is @bytes, of which the channel does not need more. */
void channel_shape(struct shm_channel_desc *d, uint64_t bytes);

/*
 * Bytes of a channel in a region of @region bytes: a power of two. @wanted: of the configuration;
 * 0: a 32nd of the region, but no more than 8 MiB. Less than @wanted when the region has not room
 * for two of them, of which its users get one (region.h); 0: the region is too small altogether.
 */
uint64_t channel_bytes(uint64_t region, uint64_t wanted);

#endif
