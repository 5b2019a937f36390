/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of a channel of a given size.
 *
 * Both directions are alike, and get half of it each. What the rings leave is divided into slots of
 * 4 KiB (16 KiB in channels larger than 256 MiB), which the sender combines into slots of 64 KiB
 * and 1 MiB as its messages need them (SHM_CHANNEL_NESTED), so messages of any size can use all of
 * the memory. Messages of up to 128 bytes are stored in the ring entries, of which there are enough
 * for some batches of 32 such messages in transit.
 */
#ifndef ZVD_SHAPE_H
#define ZVD_SHAPE_H

#include <shm_ring.h>

#define CHANNEL_MIN (256u << 10)
#define CHANNEL_MAX (1u << 30)

/* Sets version, length and directions of *d for a channel of @bytes, CHANNEL_MIN to CHANNEL_MAX.
 * @bytes is the length; the channel fits in it. */
void channel_shape(struct shm_channel_desc *d, uint64_t bytes);

/*
 * The size of a channel in a region of @region bytes: a power of two. @wanted: from the
 * configuration; 0: a 32nd of the region, at most 8 MiB and at least CHANNEL_MIN. Never more than
 * half of the region, because a member may have half of it (region.h). 0: the region is too small.
 */
uint64_t channel_bytes(uint64_t region, uint64_t wanted);

#endif
