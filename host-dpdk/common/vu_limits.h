/* SPDX-License-Identifier: BSD-3-Clause */
/* Limits of one vhost-user socket and of one process, and the descriptors they need. Plain numbers,
 * no code. */
#ifndef ZV_VU_LIMITS_H
#define ZV_VU_LIMITS_H

#define VU_NEWCOMERS	  2u /* connections of a socket that have not spoken */
#define VU_MSG_FDS	  8u /* maximum descriptors with one message: one per memory region */
#define GUEST_MEM_REGIONS 8u /* in a memory table; equal to VHOST_MEMORY_MAX_NREGIONS */

/*
 * The maximum number of descriptors that a vhost-user socket with @pairs queue pairs, and the VMM
 * behind it, make this process hold: listener and lock file; the frontend's connection and those
 * that wait, each with the descriptors of half a message; both ends and the name of the private
 * socket to rte_vhost; the backend channel; each memory region; kick and call of each ring; the
 * epoll set, the eventfd and the pause timer of each queue; call of the event ring.
 */
#define VU_FDS_SOCKET(pairs)                                                                       \
	(2u + (1u + VU_NEWCOMERS) * (1u + VU_MSG_FDS) + 4u + GUEST_MEM_REGIONS + 1u +              \
	 4u * (pairs) + 3u * (pairs) + 1u)

/* Temporarily, for one socket at a time: the regions of a new memory table beside those of the old
 * one. */
#define VU_FDS_PROCESS GUEST_MEM_REGIONS

/*
 * Memory mappings of the queue pairs of a device, of one whose frontend is a VMM and of an
 * application. A pair maps each region of its memory table, and keeps the maps of former tables
 * while payload in them is on loan; VU_MAPS_PAIR is the maximum of both together. The device maps
 * its table once more, for the rings. While the pages of former tables are being unmapped
 * (guest_mem_strip()), they are mappings beyond that, as many as a table has for each pair.
 */
#define VU_MAPS_VMM	 384u
#define VU_MAPS_APP	 256u
#define VU_MAPS_PAIR_MAX 64u
#define VU_MAPS_PAIR(device, pairs)                                                                \
	((device) / (pairs) < VU_MAPS_PAIR_MAX ? (device) / (pairs) : VU_MAPS_PAIR_MAX)
/* All of a device on @sockets, with its eight regions for channels: each has a thread and tables.
 */
#define VU_MAPS_REGIONS 40u
#define VU_MAPS(device, pairs, sockets)                                                            \
	(VU_MAPS_PAIR(device, pairs) * (pairs) + GUEST_MEM_REGIONS * (sockets) + VU_MAPS_REGIONS)

/* Maximum VMMs at a time: what rte_vhost's one thread polls (1024), minus its pipe. */
#define VU_RTE_FRONTENDS 1023u

#endif
