/* SPDX-License-Identifier: BSD-3-Clause */
/* Public calls on ports: listen and accept. Theory in listener.h. */
#include "socket/conn/conn.h"
#include "socket/core/listener.h"
#include "socket/queue/arm.h"
#include "socket/queue/session.h"

#include <errno.h>

/* Links @l before anybody is told, so that no connection sent to it is refused. */
static int listen_here(struct zv_dev *dev, struct listener *l, unsigned type)
{
	int ret = 0;

	listener_link(dev, l);
	if (dev->ops->listen)
		ret = dev->ops->listen(dev->t, l->port, type, l->backlog);
	if (ret)
		listener_unlink(dev, l);
	return ret;
}

int zv_listen(struct zv_dev *dev, uint32_t port, enum zv_type type, unsigned backlog)
{
	struct listener *l;

	if (!dev || port == 0 || port == ZV_PORT_ANY || port == ZV_CTRL_PORT ||
	    !sock_type_of_conns(type))
		return zv_err(-EINVAL,
			      "zv_listen: port %u, type %d: the port must not be 0, %u or %u and "
			      "the type ZV_STREAM or ZV_SEQPACKET",
			      port, (int)type, ZV_PORT_ANY, ZV_CTRL_PORT);
	listeners_reap(dev);
	if (listener_find(dev, PORTS_CONN, port))
		return zv_err(-EADDRINUSE, "zv_listen: this device listens on port %u already",
			      port);
	l = listener_new(dev, port, backlog);
	if (!l)
		return zv_err(-ENOMEM, "zv_listen: out of memory");
	l->type = (uint16_t)type;
	return listen_here(dev, l, type);
}

int zv_listen_all(struct zv_dev *dev, uint32_t flags, unsigned backlog)
{
	struct listener *l;

	if (!dev || (flags & ~ZV_LISTEN_ANY_CID))
		return zv_err(-EINVAL, "zv_listen_all: dev must be set, flags 0 or "
				       "ZV_LISTEN_ANY_CID");
	if ((flags & ZV_LISTEN_ANY_CID) && dev->ops->role != ZV_ROLE_HOST)
		return zv_err(-EOPNOTSUPP, "zv_listen_all: ZV_LISTEN_ANY_CID is for host devices: "
					   "a guest receives for its own CID only");
	listeners_reap(dev);
	if (listener_catch_all(dev, PORTS_CONN))
		return zv_err(-EADDRINUSE,
			      "zv_listen_all: this device has a catch-all listener already");
	l = listener_new(dev, ZV_PORT_ANY, backlog);
	if (!l)
		return zv_err(-ENOMEM, "zv_listen_all: out of memory");
	l->flags = (uint16_t)flags;
	return listen_here(dev, l, 0);
}

int zv_unlisten(struct zv_dev *dev, uint32_t port)
{
	struct listener *l = dev ? listener_of(dev, PORTS_CONN, port) : NULL;

	if (!l && port == ZV_PORT_ANY)
		return zv_err(-ENOENT, "zv_unlisten: there is no catch-all listener");
	if (!l)
		return zv_err(-ENOENT, "zv_unlisten: nothing listens on port %u", port);
	if (dev->ops->unlisten)
		dev->ops->unlisten(dev->t, port, l->type);
	listener_unlink(dev, l);
	listeners_reap(dev);
	return 0;
}

int zv_accept(struct zv_queue *q, uint32_t port, struct zv_conn **conn)
{
	struct zv_conn *c;
	bool found;

	if (!q || !conn)
		return zv_err(-EINVAL, "zv_accept: queue and conn must not be NULL");
	queue_enter(q);
	session_sync(q);
	if (!q->session.leaving && listener_closed(q))
		conns_unaccepted(q); /* connections that waited for a port closed meanwhile */
	while ((c = accept_next(q, port, &found)) && q->session.leaving && c->flags & CF_IN_TABLE)
		conn_leave(c); /* leaves the accept queue, or stays if the peer had closed it */
	if (c) {
		accept_take(c);
		conn_ready(c); /* data may have come before */
		*conn = c;
	}
	queue_leave(q);
	if (!found)
		return zv_err(-ENOENT, "zv_accept: nothing listens on port %u", port);
	return c ? 0 : zv_fail(-EAGAIN, "zv_accept: no connection waits: ZV_EV_ACCEPT tells when");
}

int zv_set_accept(struct zv_queue *q, uint32_t port, bool report)
{
	struct listener *l;

	if (!q)
		return zv_err(-EINVAL, "zv_set_accept: queue must not be NULL");
	queue_enter(q);
	l = listener_of(q->dev, PORTS_CONN, port);
	if (l)
		accept_report(q, l, report);
	queue_leave(q);
	if (l)
		return 0;
	return port == ZV_PORT_ANY
		       ? zv_err(-ENOENT, "zv_set_accept: there is no catch-all listener")
		       : zv_err(-ENOENT, "zv_set_accept: nothing listens on port %u", port);
}
