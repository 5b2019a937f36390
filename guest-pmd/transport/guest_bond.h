/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_GUEST_BOND_H
#define ZV_GUEST_BOND_H

#include "own_region.h"
#include "transport.h"

/*
 * Opens the devices of the list @names ("NAME,NAME...") by @one's open, and combines them into one
 * device with one queue each, as for a guest in a VM that has several PCI devices of one CID. @noun
 * is the word for a device of the list in messages: "socket". 0 and *out, which has its own table
 * of functions; or -errno with zv_err() text: that of the device that failed, or -EINVAL (number of
 * queues, an empty name, a name used twice, different CIDs).
 */
int guest_bond_open(struct transport_dev **out, const char *names, const struct zv_opts *opts,
		    const struct transport_ops *one, const char *noun);

/* The devices of the bond, nqueues of them. */
struct transport_dev *const *guest_bond_members(struct transport_dev *bond);

/*
 * Sets the region @r in each device of the bond, a struct guest_dev; to be called before the socket
 * layer starts. The caller keeps its own reference.
 */
void guest_bond_share_region(struct transport_dev *bond, const struct own_region *r);

#endif
