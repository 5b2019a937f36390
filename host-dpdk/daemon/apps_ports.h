/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests of an application about ports (apps.h): which it may have. */
#ifndef ZVD_APPS_PORTS_H
#define ZVD_APPS_PORTS_H

#include "core/guest.h"
#include "proto/local/client_msg.h"

/* CLIENT_LISTEN and CLIENT_UNLISTEN of @app (NULL: not attached); the answer goes to *m.
 * @client: its socket; @privileged: it may have ports below 1024. */
void app_listen(const struct cfg_apps *c, struct guest *app, int client, bool privileged,
		struct client_msg *m);
void app_unlisten(struct guest *app, struct client_msg *m);

#endif
