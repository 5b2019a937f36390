/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second layout of rings, for tests of the driver only: one ring of entries, in which driver and
 * device write in turn, like that of packed rings, and no index. It shares nothing with the split
 * layout but struct vring_desc, so that what the driver does with it, it does by verbs.
 */
#ifndef ZV_TEST_RING_TOY_H
#define ZV_TEST_RING_TOY_H

#include "raw_dev.h"

#define TOY_FEATURE (1ull << 60)

extern const struct vsock_rings toy_rings;

/* It, and the split one. */
extern const struct vsock_rings *const toy_and_split[];

/* The device's side of a fresh toy ring. */
struct raw_ring raw_toy(const struct virtq *vq, bool event_idx);

#endif
