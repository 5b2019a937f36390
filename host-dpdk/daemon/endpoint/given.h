/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket that a program has handed to zvsockd, over the control socket, to be joined with a port
 * of a guest: "zvsockctl connect".
 *
 * The first line on it is ours: "OK PORT\n" with our port of the connection, or "NO WHY\n", and
 * the end. Whether a connection has ended whole, which a Unix socket does not tell, is said on
 * another one.
 */
#ifndef ZVD_GIVEN_H
#define ZVD_GIVEN_H

#include "core/daemon.h"

/*
 * Joins @fd, a connected AF_UNIX stream socket, with @port of @g. 0: both descriptors are taken,
 * and told->fd gets one line in the end. -EMFILE (the guest's connections have all that they may),
 * -ENOMEM. Main thread.
 */
int given_join(struct guest *g, uint32_t port, int fd, const struct end_told *told);

#endif
