/* SPDX-License-Identifier: BSD-3-Clause */
/* What one process can serve through rte_vhost, and what that takes. Plain numbers, no code. */
#ifndef ZV_VU_LIMITS_H
#define ZV_VU_LIMITS_H

#include "guest_mem.h"

/*
 * The most descriptors that a vhost-user socket with @pairs queue pairs, and the VMM behind it,
 * make this process hold: listener, lock file, connection, that of a successor (vhost_user.c),
 * backend channel; each memory region, rte_vhost's and ours; kick and call of each ring,
 * rte_vhost's and ours; the epoll set and eventfd of each queue.
 */
#define VU_FDS_SOCKET(pairs)                                                                       \
	(5u + 2u * GUEST_MEM_REGIONS + 2u * (1u + 2u * (pairs)) + (1u + 4u * (pairs)) +            \
	 2u * (pairs))

/* For a moment, of one socket at a time: the regions of a new memory table beside the old one's. */
#define VU_FDS_PROCESS (2u * GUEST_MEM_REGIONS)

#endif
