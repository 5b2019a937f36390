/* SPDX-License-Identifier: BSD-3-Clause */
/* The public calls zv_connect, zv_connect_from and zv_connect_granted. */
#include "broker.h"
#include "calls.h"
#include "socket/conn/conn.h"
#include "socket/core/timer.h"
#include "socket/tx/tx.h"

#include <errno.h>

#define PORT_TRIES 1000u /* local ports to try; others on this machine may use some */

/* Destination and source of a connection. CID 0: the host, or the only CID there is. */
struct route {
	uint64_t src_cid, cid;
	uint32_t src_port, port; /* src_port ZV_PORT_ANY: any free one */
};

/* The key of a new connection; 0 or -errno. */
static int route_key(struct zv_queue *q, const struct route *r, struct conn_key *key)
{
	uint64_t cid = r->cid ? r->cid : q->session.peer_cid;
	int ret;

	if (!q->tq->up)
		return zv_err(-ENETDOWN, "zv_connect: queue %u is down: %s; try again later",
			      q->index,
			      q->host ? "no guest is attached yet, or it uses fewer queues"
				      : "no backend is attached");
	if (cid != q->session.peer_cid && (q->host || !cid_is_sibling(q, cid)))
		return zv_err(-EHOSTUNREACH,
			      "zv_connect: CID %llu cannot be reached from here: this device "
			      "leads to CID %llu",
			      (unsigned long long)cid, (unsigned long long)q->session.peer_cid);
	if (r->src_cid && r->src_cid != q->session.own_cid && !cid_is_sibling(q, r->src_cid))
		return zv_err(-EINVAL,
			      "zv_connect_from: CID %llu cannot be a sibling of guest %llu: it is "
			      "reserved, or its own",
			      (unsigned long long)r->src_cid,
			      (unsigned long long)q->session.peer_cid);
	*key = (struct conn_key){q->host ? (r->src_cid ? r->src_cid : q->session.own_cid) : cid,
				 r->port, r->src_port};
	if (r->src_port != ZV_PORT_ANY)
		return conn_table_find(&q->conns, key)
			       ? zv_err(-EADDRINUSE,
					"zv_connect_from: port %u is in use for port %u of CID "
					"%llu",
					r->src_port, r->port, (unsigned long long)cid)
			       : 0;
	ret = conn_table_port(&q->conns, key->cid, r->port, &key->local_port);
	return ret ? zv_err(ret, "zv_connect: all local ports for port %u of CID %llu are in use",
			    r->port, (unsigned long long)cid)
		   : 0;
}

/*
 * Makes a connection that the transport accepts, or NULL; *@err -EADDRINUSE: the local port is
 * taken.
 */
static struct zv_conn *new_conn(struct zv_queue *q, const struct conn_key *key, unsigned type,
				int *err)
{
	struct zv_conn *c = conn_new(q, key, sock_type_find(type), VC_CONNECTING, 0, err);

	if (!c) {
		zv_err(*err, "zv_connect: %s",
		       *err == -ENOSPC
			       ? "the queue has as many connections as option max_conns allows"
			       : zv_strerror(*err));
		return NULL;
	}
	*err = q->tq->ops->connect ? tx_announce(c) : 0;
	if (!*err)
		return c;
	conn_free(c);
	return NULL;
}

/* @g: grant sent to the driver before the REQUEST; NULL: none. */
static int start_connect(struct zv_queue *q, const struct route *r, unsigned type,
			 const struct zv_grant *g, struct zv_conn **conn)
{
	unsigned tries = PORT_TRIES;
	struct conn_key key;
	struct zv_conn *c;
	int ret = q->session.leaving
			  ? zv_err(-ENETDOWN,
				   "zv_connect: queue %u still resets the connections of its "
				   "last session: try again",
				   q->index)
			  : route_key(q, r, &key);

	if (ret)
		return ret;
	do
		c = new_conn(q, &key, type, &ret);
	while (!c && ret == -EADDRINUSE && r->src_port == ZV_PORT_ANY && tries-- &&
	       !(ret = route_key(q, r, &key)));
	if (!c)
		return ret == -EADDRINUSE
			       ? zv_err(-EADDRNOTAVAIL,
					"zv_connect: port %u, and %u before it, are taken by other "
					"programs of this machine",
					key.local_port, PORT_TRIES - tries - 1)
			       : ret;
	if (g && (ret = broker_grant(c, g))) {
		conn_free(c);
		return ret;
	}
	conn_timer_start(c, TIMER_CONNECT, q->dev->opts.connect_timeout_ns);
	tx_ctrl(c, CP_REQUEST);
	*conn = c;
	return 0;
}

static int connect_route(struct zv_queue *q, const struct route *r, enum zv_type type,
			 const struct zv_grant *g, struct zv_conn **conn)
{
	int ret;

	if (!q || !conn || !sock_type_of_conns(type) || r->port == ZV_PORT_ANY ||
	    r->port == ZV_CTRL_PORT || r->src_port == ZV_CTRL_PORT)
		return zv_err(-EINVAL,
			      "zv_connect: queue, conn, a type and a port other than %u and %u are "
			      "needed",
			      ZV_PORT_ANY, ZV_CTRL_PORT);
	queue_enter(q);
	session_sync(q);
	ret = start_connect(q, r, type, g, conn);
	call_leave(q);
	return ret;
}

int zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
	       struct zv_conn **conn)
{
	const struct route r = {.cid = cid, .port = port, .src_port = ZV_PORT_ANY};

	return connect_route(q, &r, type, NULL, conn);
}

int zv_connect_from(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
		    uint32_t port, enum zv_type type, struct zv_conn **conn)
{
	const struct route r = {src_cid, cid, src_port, port};

	if (q && !q->host && src_cid)
		return zv_err(-EOPNOTSUPP, "zv_connect_from: only the host speaks for others; a "
					   "guest's src_cid is 0");
	return connect_route(q, &r, type, NULL, conn);
}

int zv_connect_port(struct zv_queue *q, uint64_t src_cid, uint32_t *src_port, uint64_t cid,
		    uint32_t port)
{
	struct conn_key key = {0};
	int ret;

	if (!q || !q->host || !src_port)
		return zv_err(-EINVAL, "zv_connect_port: a queue of the host and src_port are "
				       "needed");
	queue_enter(q);
	session_sync(q);
	if (q->session.leaving || q->pool.live >= q->dev->opts.max_conns)
		ret = q->session.leaving ? zv_err(-ENETDOWN, "zv_connect_port: the last session "
							     "is still being ended: try again")
					 : zv_err(-ENOSPC, "zv_connect_port: the queue has as "
							   "many connections as max_conns allows");
	else
		ret = route_key(q, &(struct route){src_cid, cid, *src_port, port}, &key);
	if (ret == 0)
		*src_port = key.local_port;
	call_leave(q);
	return ret;
}

int zv_connect_granted(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
		       uint32_t port, enum zv_type type, const struct zv_grant *g,
		       struct zv_conn **conn)
{
	const struct route r = {src_cid, cid, src_port, port};

	if ((q && !q->host) || !g || (g->role != SHM_ROLE_A && g->role != SHM_ROLE_B))
		return zv_err(-EINVAL, "zv_connect_granted: a queue of the host and a grant are "
				       "needed");
	return connect_route(q, &r, type, g, conn);
}
