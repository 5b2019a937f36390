/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket whose other end a program gets over the control socket, to be joined with a port of a
 * guest: "zvsockctl connect".
 *
 * We send the first line on it: "OK PORT\n" with our port of the connection, or "NO WHY\n" followed
 * by the end. Whether a connection has ended in order cannot be seen on a Unix socket, so it is
 * reported on another descriptor.
 */
#ifndef ZVD_HANDOVER_H
#define ZVD_HANDOVER_H

#include "core/daemon.h"

/*
 * Joins @fd, one end of a pair of AF_UNIX stream sockets that no other process has or has had, with
 * @port of @g. Called before a program gets the other end. 0: both descriptors are taken over, and
 * report->fd gets one line at the end. -EMFILE (the guest's connections hold all
 * descriptors that they may), -ENOMEM. Main thread.
 */
int handover_join(struct guest *g, uint32_t port, int fd, const struct end_report *report);

#endif
