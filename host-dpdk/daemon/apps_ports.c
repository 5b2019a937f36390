/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps_ports.h"

#include "apps_memory.h"
#include "endpoint/af_vsock/endpoint_af_vsock.h"
#include "endpoint/endpoint_app.h"
#include "proto/ctrl/hello.h"

#include <errno.h>

#define LOW_PORTS 1024u
#define EPHEMERAL 49152u /* from here on an application may take any for its datagrams */
_Static_assert(APP_DGRAM == CLIENT_DGRAM, "types of ports are passed on as they are");

/* Of a port that is taken. */
static const char *owner_of(const struct client_msg *m)
{
	const struct guest *owner = app_port_owner(m->port, m->sock_type);

	return owner ? owner->cfg->origin : "it has just gone";
}

void app_listen(const struct cfg_apps *c, struct guest *app, int client, bool privileged,
		struct client_msg *m)
{
	const char *program;
	int ret;

	if (!app)
		app_refuse(m, -ENOTCONN, "not attached");
	else if (m->port == 0 || m->port == ZV_PORT_ANY || m->port == ZV_CTRL_PORT ||
		 m->port == ZV_PROC_PORT ||
		 (m->sock_type != ZV_STREAM && m->sock_type != ZV_SEQPACKET &&
		  m->sock_type != CLIENT_DGRAM))
		app_refuse(m, -EINVAL, "port %u, type %u cannot be listened on", m->port,
			   m->sock_type);
	else if (!cfg_app_port(c, m->port) && (m->sock_type != CLIENT_DGRAM || m->port < EPHEMERAL))
		app_refuse(m, -EACCES, "port %u is not among application_ports", m->port);
	else if (m->port < LOW_PORTS && !privileged)
		app_refuse(m, -EACCES, "port %u: those below %u are for root", m->port, LOW_PORTS);
	if (!app || m->result)
		return;
	ret = app_port_take(app, client, m->port, m->sock_type);
	if (ret == -EADDRINUSE)
		app_refuse(m, ret, "port %u is taken by another application: %s", m->port,
			   owner_of(m));
	else if (ret == -ENOSPC)
		app_refuse(m, ret, "port %u: an application can listen on %u ports", m->port,
			   APP_PORTS_MAX);
	else if (ret)
		app_refuse(m, ret, "port %u: %s", m->port, zv_strerror(ret));
	program = ret ? NULL
		      : av_spaces_port(m->port, m->sock_type == CLIENT_DGRAM, app->cfg->app_uid);
	if (program) { /* it would be cut off from the guests, and not know it */
		(void)app_port_release(app, m->port, m->sock_type);
		app_refuse(m, -EADDRINUSE, "an AF_VSOCK program has bound port %u, by %s", m->port,
			   program);
	}
}

void app_unlisten(struct guest *app, struct client_msg *m)
{
	int ret = app ? app_port_release(app, m->port, m->sock_type) : -ENOTCONN;

	if (ret)
		app_refuse(m, ret, "port %u is not listened on", m->port);
}
