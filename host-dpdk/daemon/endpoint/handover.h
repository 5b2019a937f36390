/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket that a program has passed to zvsockd over the control socket, to be joined with a port
 * of a guest: "zvsockctl connect".
 *
 * We send the first line on it: "OK PORT\n" with our port of the connection, or "NO WHY\n" followed
 * by the end. Whether a connection has ended in order cannot be seen on a Unix socket, so it is
 * reported on another descriptor.
 */
#ifndef ZVD_HANDOVER_H
#define ZVD_HANDOVER_H

#include "core/daemon.h"

/*
 * Joins @fd, a connected AF_UNIX stream socket, with @port of @g. 0: both descriptors are taken
 * over, and told->fd gets one line at the end. -EMFILE (the guest's connections hold all
 * descriptors that they may), -ENOMEM. Main thread.
 */
int handover_join(struct guest *g, uint32_t port, int fd, const struct end_report *report);

#endif
