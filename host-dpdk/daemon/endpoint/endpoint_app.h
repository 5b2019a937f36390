/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applications of the host, attached by `daemon:PATH` (apps.h): the ports that they listen on.
 * By the main thread.
 */
#ifndef ZVD_ENDPOINT_APP_H
#define ZVD_ENDPOINT_APP_H

#include "core/guest.h"

/* Of an application. Each one costs memory, and time while lcores wait for the directory. */
#define APP_PORTS_MAX 1024u

/*
 * From now on connections to @port of the host, of socket type @type, are @app's, an application
 * that has been started. 0, -EADDRINUSE: another application has it, -EALREADY: this one has,
 * -ENOSPC: it has APP_PORTS_MAX others, -ENOMEM.
 */
int app_port_take(struct guest *app, uint32_t port, enum zv_type type);

/* No longer. 0, -ENOENT: the port is not @app's. */
int app_port_release(struct guest *app, uint32_t port);

#endif
