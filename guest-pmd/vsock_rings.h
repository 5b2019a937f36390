/* SPDX-License-Identifier: BSD-3-Clause */
/* The layouts of rings that the driver knows, and how one is chosen. */
#ifndef ZV_VSOCK_RINGS_H
#define ZV_VSOCK_RINGS_H

#include "transport.h"
#include "virtqueue.h"

/* A layout with its data path: made by VSOCK_RINGS() (vsock_burst.h) in virtqueue_NAME.c. */
struct vsock_rings {
	const struct virtq_layout *layout;
	struct transport_queue_ops queue;
};

extern const struct vsock_rings vsock_rings_packed, vsock_rings_split;

/* All of them, those that are preferred first; ends with NULL. The last one needs no feature. */
extern const struct vsock_rings *const vsock_rings[];

/* Feature bits that a driver with these layouts asks for, opened with @flags (ZV_OPT_*). */
uint64_t vsock_rings_features(const struct vsock_rings *const *all, uint32_t flags);

/* The first of @all that negotiated @features allow. */
const struct vsock_rings *vsock_rings_choose(const struct vsock_rings *const *all,
					     uint64_t features);

/* Bytes of memory in which a ring of @size entries fits, whatever its layout will be. */
size_t vsock_rings_bytes(const struct vsock_rings *const *all, uint32_t size);

#endif
