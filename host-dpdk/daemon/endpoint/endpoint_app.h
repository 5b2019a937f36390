/* SPDX-License-Identifier: BSD-3-Clause */
/* Host applications attached by `daemon:PATH` (apps.h): the ports that they listen on. Main
 * thread, except where it says otherwise. */
#ifndef ZVD_ENDPOINT_APP_H
#define ZVD_ENDPOINT_APP_H

#include "core/guest.h"
#include "endpoint/sibling/sibling_dgram.h"

#include <sys/socket.h>

/* Per application. Each port costs memory, and time during which lcores wait for the directory. */
#define APP_PORTS_MAX 1024u

#define APP_DGRAM                                                                                  \
	3u /* type of a port for datagrams, which has nothing to do with that for connections */

/*
 * From now on connections to @port of the host, of socket type @type, or its datagrams
 * (APP_DGRAM), go to @app, an application that has been started. @client: its socket, which stays
 * open while it has ports: once the other end is closed they are free. 0; -EADDRINUSE: another
 * application has the port; -EALREADY: this one has it; -ENOSPC: it has APP_PORTS_MAX others;
 * -ENOMEM.
 */
int app_port_take(struct guest *app, int client, uint32_t port, unsigned type);

/* Ends that. 0; -ENOENT: the port is not @app's. */
int app_port_release(struct guest *app, uint32_t port, unsigned type);

/* The @n-th port that @app has taken, from the last one on, and its type in a word. NULL: it has no
 * more than @n. */
const char *app_port_of(const struct guest *app, unsigned n, uint32_t *port);

/* The application that has @port; NULL: none. */
const struct guest *app_port_owner(uint32_t port, unsigned type);

/* Who may attach applications is what @c says, from now on. */
void app_ports_admit(const struct cfg_apps *c);

/* True: an application other than @except (NULL: any) listens on @port. Any thread. */
bool app_port_listened(uint32_t port, bool dgram, const struct guest *except);

/*
 * Calls fn(arg, app) for the application that listens on @port, for a program of this machine: the
 * peer of the socket @fd, with credentials @cred, who must be one who may attach applications
 * itself. During the call the application is not removed. 0; -ECONNREFUSED: none listens; -EACCES:
 * the program may not reach it, which has been counted; -ENOMEM: fn() returned false. Any thread.
 */
int app_port_call(uint32_t port, unsigned type, int fd, const struct ucred *cred,
		  bool (*fn)(void *arg, struct guest *app), void *arg);

/* May the peer of the socket @fd, with credentials @cred, reach applications? Any thread. */
bool app_ports_admit_program(int fd, const struct ucred *cred);

/*
 * Calls fn(arg, app, in_transit) for the application that has bound @port for datagrams, which is
 * not removed during the call; in_transit: of programs to it. False: none has. Any thread.
 */
bool app_port_datagram(uint32_t port,
		       void (*fn)(void *arg, struct guest *app, struct dgram_shared *in_transit),
		       void *arg);

/* An application sends datagrams only from ports that it has bound: is @port one of those of @app?
 * Any thread. */
bool app_may_send(const struct guest *app, uint32_t port);

#endif
