/* SPDX-License-Identifier: BSD-3-Clause */
/* The control connection to the driver of a queue. */
#include "broker_conn.h"

static int announce(struct guest_queue *gq, void *arg, const struct zv_region *r)
{
	(void)arg;
	return zv_region_announce(gq->q, r);
}

static int forget(struct guest_queue *gq, void *arg, uint64_t id)
{
	(void)arg;
	return zv_region_forget(gq->q, id);
}

static int connect_granted(struct guest_queue *gq, void *arg, const struct broker_route *to,
			   const struct zv_grant *g, struct zv_conn **conn)
{
	(void)arg;
	return zv_connect_granted(gq->q, to->src_cid, to->src_port, 0, to->port, to->type, g, conn);
}

static int grant(void *arg, struct zv_conn *conn, const struct zv_grant *g)
{
	(void)arg;
	return zv_conn_grant(conn, g);
}

const struct broker_conn_ops broker_conn_driver = {
	.who = "its driver",
	.fetches = true,
	.announce = announce,
	.forget = forget,
	.connect = connect_granted,
	.grant = grant,
	.wake = zv_conn_wake,
};
