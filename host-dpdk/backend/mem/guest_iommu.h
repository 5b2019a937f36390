/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Translation between addresses in descriptors and guest memory when the guest has an IOMMU
 * (VIRTIO_F_ACCESS_PLATFORM). The table is in iotlb.h.
 *
 * Theory of operation
 * -------------------
 * The translation of a device address may be unknown for a while: it must be requested (vhost-user:
 * IOTLB_MISS on the backend channel), and the answer takes as long as the frontend likes. Nobody
 * waits for it. A ring that meets such an address stops before that chain, which stays in the ring,
 * and records how many changes the table has had (`changes`). Until that number changes the ring
 * has nothing to take (vhost_ring_waits), its owner may sleep, and a sender is told that there is
 * no buffer.
 *
 * The owner of a queue calls translate() while it is inside the library. So the control thread
 * changes the table in three steps: it stops the owners (quiesce_stop), changes the table and
 * increments `changes`, then lets the owners continue and wakes each with vhost_pair_wake(). An
 * answer that permits nothing is a change as well.
 *
 * Pages that are contiguous in device addresses need not be contiguous in memory, so a buffer is
 * translated piece by piece.
 */
#ifndef ZV_GUEST_IOMMU_H
#define ZV_GUEST_IOMMU_H

#include "proto/vm_addr.h"

#include <stdbool.h>
#include <stdint.h>

#define GUEST_IOMMU_PAGE 4096u /* bytes: no IOMMU has smaller pages */

struct guest_iommu;
struct vu_iotlb; /* proto/vhost_user.h */

/* Operations for the control thread. */
struct guest_iommu_ops {
	/* Sets @fd (-1: none) as the channel for requests. It must stay open until the next call.
	 */
	void (*set_channel)(struct guest_iommu *io, int fd);
	/* Retries requests that could not be sent. */
	void (*ask_again)(struct guest_iommu *io);
	/* A checked IOTLB_MSG: adds (UPDATE) or removes (INVALIDATE) a translation. 0 or -errno.
	 * The owners are stopped. */
	int (*message)(struct guest_iommu *io, const struct vu_iotlb *m);
	/* True: there is no translation and no request, so nothing to flush. */
	bool (*is_empty)(struct guest_iommu *io);
	/* Forgets all translations and requests. The owners are stopped. */
	void (*flush)(struct guest_iommu *io);
	void (*free)(struct guest_iommu *io);
};

struct guest_iommu {
	/*
	 * Translates @a to the frontend's address *to. *len: in, bytes wanted (>= 1); out, how many
	 * of them are contiguous (>= 1). @write: they will be written. 0; -EAGAIN: not known yet,
	 * and requested (once, however often this is called); -EFAULT: not mapped, or the guest
	 * does not permit the access, or it cannot be requested.
	 */
	int (*translate)(struct guest_iommu *io, struct iova a, bool write, uint64_t *len,
			 struct uva *to);
	uint64_t changes; /* number of changes of the table; see above */
	const struct guest_iommu_ops *ops;
};

#endif
