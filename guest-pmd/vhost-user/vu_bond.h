/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_VU_BOND_H
#define ZV_VU_BOND_H

#include "transport.h"

/*
 * Opens the sockets of the list @paths ("PATH,PATH...") by @one's open as one device of one queue
 * each. 0 and *out, which has its own table of functions; or -errno with zv_err() text: that of
 * the socket that failed, or -EINVAL (number of queues, an empty path, different CIDs).
 */
int vu_bond_open(struct transport_dev **out, const char *paths, const struct zv_opts *opts,
		 const struct transport_ops *one);

#endif
