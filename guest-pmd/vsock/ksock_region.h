/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region of `vsock:`, and payload in it that is on loan from before zvsockd was restarted.
 *
 * Theory of operation
 * -------------------
 * A zvsockd that has been started anew knows nothing of the channels that the one before has made.
 * It makes new ones in the same memory when a program has acknowledged the region (REGION_ACK), and
 * would overwrite what a program of this guest still has on loan there. Programs know nothing of
 * each other, but the kernel that they share does:
 *
 *  - each queue that has the region locks a byte of its file, whose place is the region's id
 *    (F_OFD_SETLK, shared). Another zvsockd has another id. The lock belongs to the map, which all
 *    ends of channels and all loans refer to, and goes with the last of them, or with the process;
 *  - a queue maps the region, and so acknowledges it, when no other byte is locked. Until then it
 *    looks again every 100 ms, for which a timer wakes it, and connections have no channels.
 *
 * A queue first locks its own byte and then looks for others, so that of two queues with different
 * ids at least one sees the other. A program that can open the region can keep a lock for ever; but
 * such a program can overwrite all channels anyway.
 */
#ifndef ZV_KSOCK_REGION_H
#define ZV_KSOCK_REGION_H

#include "ksock.h"

/* transport_region_ops.map */
int ksock_region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *at,
		     struct region_map **out);

#endif
