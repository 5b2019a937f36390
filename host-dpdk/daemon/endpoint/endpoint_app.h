/* SPDX-License-Identifier: BSD-3-Clause */
/* Host applications attached by `daemon:PATH` (apps.h): the ports that they listen on. Main
 * thread. */
#ifndef ZVD_ENDPOINT_APP_H
#define ZVD_ENDPOINT_APP_H

#include "core/guest.h"

/* Per application. Each port costs memory, and time during which lcores wait for the directory. */
#define APP_PORTS_MAX 1024u

#define APP_DGRAM                                                                                  \
	3u /* type of a port for datagrams, which has nothing to do with that for connections */

/*
 * From now on connections to @port of the host, of socket type @type, or its datagrams
 * (APP_DGRAM), go to @app, an application that has been started. 0; -EADDRINUSE: another
 * application has the port; -EALREADY: this one has it; -ENOSPC: it has APP_PORTS_MAX others;
 * -ENOMEM.
 */
int app_port_take(struct guest *app, uint32_t port, unsigned type);

/* Ends that. 0; -ENOENT: the port is not @app's. */
int app_port_release(struct guest *app, uint32_t port, unsigned type);

#endif
