/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors that come with a vhost-user message. rte_vhost keeps them behind the message, at
 * a place that is not part of its interface: with a version that is not known to have them there,
 * none are found, and these functions leave everything to rte_vhost.
 */
#ifndef ZV_VU_MSG_FDS_H
#define ZV_VU_MSG_FDS_H

#include "vu_device.h"
#include "vu_msg.h"

/*
 * Closes the descriptors of a message that rte_vhost will not look at: it would neither use nor
 * close them, and a frontend could use up the process' descriptors.
 */
void vu_drop_fds(struct vu_msg *m);

/* SET_MEM_TABLE. False: the table must not get to rte_vhost. */
bool vu_table_fits(const struct vu_msg *m);

/* SET_MEM_TABLE: keeps the regions with dups of their descriptors for vu_take_table(). */
void vu_keep_table(struct vu_dev *d, const struct vu_msg *m);

#endif
