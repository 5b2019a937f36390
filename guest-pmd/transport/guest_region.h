/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of shared memory that the backend of a device has announced (docs/protocol.md,
 * "Channels").
 *
 * A queue's owner requests a region and must not block, but obtaining it may block (a request to
 * zvsockd, a mapping). So the owner leaves an entry here, the control thread does the work
 * (guest_link_ops.region) and wakes the queues, and the owner calls again. A region that several
 * queues use is mapped once.
 *
 * A mapping stays as long as somebody has a reference; the entry here is dropped when the
 * connection to the backend is lost, or when each queue that has asked for the region has forgotten
 * it: the backend has withdrawn it from that queue, or has ended its session.
 */
#ifndef ZV_GUEST_REGION_H
#define ZV_GUEST_REGION_H

#include "transport.h"

#include <pthread.h>

struct guest_dev;
struct guest_region;

struct guest_regions {
	pthread_mutex_t lock;
	struct guest_region *list;
	int fd; /* readable: there is something to map; -1: the device has no regions */
};

/* 0 or -errno. Before the control thread starts. */
int guest_regions_init(struct guest_dev *dev);
void guest_regions_fini(struct guest_dev *dev);

/* Maps what was requested, on the control thread. True: queues have to be woken. */
bool guest_regions_serve(struct guest_dev *dev);
/* The backend is gone, and with it all regions that it has announced. */
void guest_regions_lost(struct guest_dev *dev);

/* For struct transport_ops, where link->region is set. */
int guest_region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
		     struct region_map **out);
void guest_region_forget(struct transport_dev *d, unsigned queue, uint64_t id);
extern const struct transport_region_ops guest_region_ops;

#endif
