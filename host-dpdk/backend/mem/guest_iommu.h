/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands between the addresses in descriptors and guest memory when the guest has an IOMMU
 * (VIRTIO_F_ACCESS_PLATFORM). iotlb.h has the table.
 *
 * Theory of operation
 * -------------------
 * A device address can be unknown for a while: the translation has to be asked for (vhost-user:
 * IOTLB_MISS on the backend channel), and the answer takes as long as the frontend likes. Nobody
 * waits for it. A ring that meets such an address stops before that chain, which stays in the ring,
 * and remembers the number of changes that the table had seen (`changes`); until that number is
 * another one the ring has nothing to take (vhost_ring_waits), its owner may sleep, and a sender is
 * told that there is no buffer.
 *
 * The owner of a queue calls translate() while it is inside the library. So the control thread
 * changes the table in three steps: it stops the owners (quiesce_stop), changes the table and adds
 * to `changes`, lets the owners go on and wakes each by vhost_pair_wake(). An answer that permits
 * nothing is a change as well.
 *
 * Pages that follow each other in device addresses need not do so in memory: a buffer is translated
 * piece by piece.
 */
#ifndef ZV_GUEST_IOMMU_H
#define ZV_GUEST_IOMMU_H

#include "proto/vm_addr.h"

#include <stdbool.h>
#include <stdint.h>

#define GUEST_IOMMU_PAGE 4096u /* bytes: no IOMMU has smaller pages */

struct guest_iommu;
struct vu_iotlb; /* proto/vhost_user.h */

/* What the control thread does with one. */
struct guest_iommu_ops {
	/* Takes a duplicate of @fd (-1: none) as the channel to ask on. 0 or -errno. */
	int (*set_channel)(struct guest_iommu *io, int fd);
	/* Asks again what could not be sent. */
	void (*ask_again)(struct guest_iommu *io);
	/*
	 * IOTLB_MSG, checked: a translation comes (UPDATE) or goes (INVALIDATE). 0 or -errno. The
	 * owners are stopped.
	 */
	int (*message)(struct guest_iommu *io, const struct vu_iotlb *m);
	/* There is neither a translation nor a question: nothing to flush. */
	bool (*is_empty)(struct guest_iommu *io);
	/* Forgets what the frontend has told, and what was asked. The owners are stopped. */
	void (*flush)(struct guest_iommu *io);
	void (*free)(struct guest_iommu *io);
};

struct guest_iommu {
	/*
	 * Where in the frontend's memory the @*len (>= 1) bytes at @a begin; *len: how many of them
	 * follow each other there, >= 1. @write: they will be written. 0; -EAGAIN: not known yet,
	 * and asked for (once, however often this is called); -EFAULT: the guest does not permit
	 * it, or there is nothing.
	 */
	int (*translate)(struct guest_iommu *io, struct iova a, bool write, uint64_t *len,
			 struct uva *to);
	uint64_t changes; /* of the table, so far; see above */
	const struct guest_iommu_ops *ops;
};

#endif
