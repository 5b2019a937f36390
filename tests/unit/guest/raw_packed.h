/* SPDX-License-Identifier: BSD-3-Clause */
/* The device side of a packed ring, written by hand for the tests; see raw_dev.h. */
#ifndef ZV_TEST_RAW_PACKED_H
#define ZV_TEST_RAW_PACKED_H

#include "raw_dev.h"

/* The device's side of a fresh ring. It copies descriptors into its `desc` when it pops them. */
struct raw_ring raw_packed(const struct virtq *vq, bool event_idx);

/* The place of the @n-th descriptor of the ring. */
struct vring_packed_desc *raw_packed_at(const struct raw_ring *r, uint16_t n);
/* The same, as index and wrap counter. */
uint32_t raw_packed_place(const struct raw_ring *r, uint16_t n);

#endif
