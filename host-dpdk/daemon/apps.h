/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applications of the host that attach to zvsockd: the client socket.
 *
 * Theory of operation
 * -------------------
 * An application opens `daemon:PATH`: it connects to the client socket and asks to be attached
 * (api/proto/local/client_msg.h). It then gets one end of a socket pair, on which it is a
 * vhost-user frontend; the other end becomes a device of this process, with CID 2, that is served
 * like a guest's (struct guest, role CFG_APP). So an application is trusted no more than a guest,
 * and everything that holds for guests holds for it. It announces the ports on which it listens on
 * the client socket; endpoint_app.c joins its connections with those of guests, and
 * endpoint/af_vsock with AF_VSOCK programs, if its user may use their drop-in directory.
 *
 * The lifetime of an application is that of its connection to the client socket: when that closes,
 * its device ends. An invalid message, or an answer that the application does not read, ends it as
 * well.
 *
 * Everything runs in the main thread, between its other tasks: apps_fd() is readable when
 * apps_serve() has something to do, and apps_serve() never waits for an application.
 */
#ifndef ZVD_APPS_H
#define ZVD_APPS_H

#include "core/daemon.h"

#define APPS_MAX 64u /* maximum attached at a time */

/* Number of descriptors that it may need. */
unsigned apps_fds(const struct cfg *c);

/* Listens on cfg->apps.path; "": nothing to do. 0 or -errno, which has been logged. */
int apps_start(struct daemon *d);

/* Ends all applications, removes the socket. */
void apps_stop(struct daemon *d);

/* Descriptor to poll for reading; -1: there is no client socket. */
int apps_fd(const struct daemon *d);
void apps_serve(struct daemon *d);
/*
 * A reload has replaced the configuration. apps_trim() ends the applications whose drop-in
 * directory is no longer that of [daemon]; they attach again. apps_extend() opens the new one.
 * Failures are logged.
 */
void apps_trim(struct daemon *d);
void apps_extend(struct daemon *d);
/* To be called periodically: ends connections that have not attached in time. */
void apps_check(struct daemon *d);

#endif
