/* SPDX-License-Identifier: BSD-3-Clause */
/* What one vhost-user socket may take, what one process can serve, and what that takes. Plain
 * numbers, no code. */
#ifndef ZV_VU_LIMITS_H
#define ZV_VU_LIMITS_H

#define VU_NEWCOMERS	  2u /* connections of a socket that have not spoken */
#define VU_MSG_FDS	  8u /* descriptors that come with one message at most: one a memory region */
#define GUEST_MEM_REGIONS 8u /* of a memory table; the same as VHOST_MEMORY_MAX_NREGIONS */

/*
 * The most descriptors that a vhost-user socket with @pairs queue pairs, and the VMM behind it,
 * make this process hold: listener and lock file; the frontend's connection and those that wait,
 * each with the descriptors of half a message; both ends and the name of the private socket to
 * rte_vhost; the backend channel; each memory region; kick and call of each ring; the epoll set and
 * eventfd of each queue, and the timer of its pause; call of the event ring.
 */
#define VU_FDS_SOCKET(pairs)                                                                       \
	(2u + (1u + VU_NEWCOMERS) * (1u + VU_MSG_FDS) + 4u + GUEST_MEM_REGIONS + 1u +              \
	 4u * (pairs) + 3u * (pairs) + 1u)

/* For a moment, of one socket at a time: the regions of a new memory table beside the old one's. */
#define VU_FDS_PROCESS GUEST_MEM_REGIONS

/* VMMs at a time: what rte_vhost's one thread polls (1024), but for its pipe. */
#define VU_RTE_FRONTENDS 1023u

#endif
