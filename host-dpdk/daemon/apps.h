/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applications of the host, which attach themselves to zvsockd: the client socket.
 *
 * Theory of operation
 * -------------------
 * An application opens `daemon:PATH`: it connects to the client socket and asks to be attached
 * (api/proto/client_msg.h). It then gets one end of a socket pair, on which it is a vhost-user
 * frontend; the other end becomes a device of this process, with CID 2, that is served as a guest's
 * is (struct guest, role CFG_APP). So an application is no more trusted than a guest, and all that
 * holds for guests holds for it. Which ports it listens on it says on the client socket;
 * endpoint_app.c joins its connections with guests'.
 *
 * The client socket is the application's life: when it closes, its device ends. A message that is
 * not understood ends it as well, and so does an answer that it does not take.
 *
 * All by the main thread, between its other work: apps_fd() is readable when apps_serve() has
 * something to do, and that never waits for an application.
 */
#ifndef ZVD_APPS_H
#define ZVD_APPS_H

#include "core/daemon.h"

#define APPS_MAX 64u /* attached at a time */

/* Descriptors that it may need. */
unsigned apps_fds(const struct cfg *c);

/* Listens on cfg->apps.path; "" is no error. 0 or -errno, and then a line in the log. */
int apps_start(struct daemon *d);

/* Ends all applications, removes the socket. */
void apps_stop(struct daemon *d);

/* To be polled for reading; -1: there is no client socket. */
int apps_fd(const struct daemon *d);
void apps_serve(struct daemon *d);
/* Now and then: ends connections that have not attached in time. */
void apps_look(struct daemon *d);

#endif
