/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring layouts that the driver supports, and how one is chosen. */
#ifndef ZV_VSOCK_RINGS_H
#define ZV_VSOCK_RINGS_H

#include "transport.h"
#include "virtqueue.h"

/* A layout with its data path; defined by VSOCK_RINGS() (vsock_burst.h) in virtqueue_NAME.c. */
struct vsock_rings {
	const struct virtq_layout *layout;
	struct transport_queue_ops queue;
};

extern const struct vsock_rings vsock_rings_packed, vsock_rings_split;

/* All layouts in order of preference; ends with NULL. The last one needs no feature. */
extern const struct vsock_rings *const vsock_rings[];

/* Feature bits of these layouts that a driver opened with @flags (ZV_OPT_*) asks for. */
uint64_t vsock_rings_features(const struct vsock_rings *const *all, uint32_t flags);

/* The first of @all that the negotiated @features allow. */
const struct vsock_rings *vsock_rings_choose(const struct vsock_rings *const *all,
					     uint64_t features);

/* Bytes of memory that hold a ring of @size entries in any of these layouts. */
size_t vsock_rings_bytes(const struct vsock_rings *const *all, uint32_t size);

#endif
