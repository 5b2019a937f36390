/* SPDX-License-Identifier: BSD-3-Clause */
/* Public calls of zvsock_broker.h, except zv_connect_granted (connect.c). */
#include "broker.h"

#include "calls.h"
#include "socket/conn/conn.h"
#include "socket/rx/hello_conn.h"
#include "socket/tx/tx.h"
#include "socket/type/granted.h"

#include <errno.h>

/* ---- messages of the driver ---- */

static void fill_msg(struct zv_broker_msg *to, const struct ctrl_msg *m)
{
	switch (m->type) {
	case CTRL_OFFER:
		to->what = ZV_BROKER_OFFER;
		to->gpa = m->offer.gpa;
		to->size = m->offer.size;
		break;
	case CTRL_REGION_ACK:
		to->what = ZV_BROKER_REGION;
		to->id = m->region_ack.id;
		to->result = m->region_ack.result;
		break;
	default:
		to->what = m->type == CTRL_HOLDS ? ZV_BROKER_HOLDS : ZV_BROKER_RELEASE;
		to->id = m->release.region;
		to->offset = m->release.offset;
		to->generation = m->release.generation;
		to->left = m->release.left;
	}
}

static int next_msg(struct zv_queue *q, struct zv_broker_msg *to)
{
	struct ctrl_msg m;

	memset(to, 0, sizeof(*to));
	if (q->hello.events & HELLO_EV_GONE) {
		q->hello.events &= (uint8_t)~HELLO_EV_GONE;
		to->what = ZV_BROKER_GONE;
		return 1;
	}
	if (q->hello.events & HELLO_EV_PEER) {
		q->hello.events &= (uint8_t)~HELLO_EV_PEER;
		to->what = ZV_BROKER_HELLO;
		to->nonce = q->peer.hello.nonce;
		return 1;
	}
	if (q->hello.events & HELLO_EV_NONE) {
		q->hello.events &= (uint8_t)~HELLO_EV_NONE;
		to->what = ZV_BROKER_NONE;
		return 1;
	}
	if (!hello_next(q, &m))
		return 0;
	fill_msg(to, &m);
	return 1;
}

int zv_broker_recv(struct zv_queue *q, struct zv_broker_msg *m)
{
	int ret;

	if (!q || !m)
		return zv_err(-EINVAL, "zv_broker_recv: queue and m must be set");
	if (!q->host || !(q->dev->opts.flags & ZV_OPT_BROKER))
		return zv_err(-EOPNOTSUPP, "zv_broker_recv: the device is not of the host, or was "
					   "opened without ZV_OPT_BROKER");
	queue_enter(q);
	session_sync(q);
	ret = q->session.leaving ? 0 : next_msg(q, m);
	call_leave(q); /* credit of the control connection */
	return ret;
}

/* ---- messages to the driver ---- */

static int send_result(int ret, const char *call)
{
	if (ret == -EAGAIN)
		return zv_err(ret, "%s: there is no room on the control connection now", call);
	if (ret)
		return zv_err(ret, "%s: the driver of the queue has no channels", call);
	return 0;
}

static int send_region(struct zv_queue *q, const struct zv_region *r, uint32_t flags,
		       const char *call)
{
	struct ctrl_msg m = {
		.type = CTRL_REGION,
		.region = {.id = r->id, .size = r->size, .gpa = r->gpa, .flags = flags}};
	int ret;

	queue_enter(q);
	session_sync(q);
	ret = q->session.leaving ? -EAGAIN : hello_send(q, &m);
	call_leave(q);
	return send_result(ret, call);
}

int zv_region_announce(struct zv_queue *q, const struct zv_region *r)
{
	if (!q || !r || !r->size || (r->gpa != ZV_REGION_BY_FD && r->gpa + r->size <= r->gpa))
		return zv_err(-EINVAL, "zv_region_announce: queue and region must be set, and the "
				       "region has a size");
	return send_region(q, r, 0, "zv_region_announce");
}

int zv_region_forget(struct zv_queue *q, uint64_t id)
{
	const struct zv_region r = {.id = id};

	if (!q)
		return zv_err(-EINVAL, "zv_region_forget: queue must be set");
	return send_region(q, &r, CTRL_REGION_GONE, "zv_region_forget");
}

int broker_grant(struct zv_conn *c, const struct zv_grant *g)
{
	struct ctrl_msg m = {.type = CTRL_GRANT,
			     .grant = {.region = g->region,
				       .peer_cid = conn_local_cid(c),
				       .peer_port = c->node.key.local_port,
				       .local_port = c->node.key.peer_port,
				       .type = c->type,
				       .role = (uint16_t)g->role,
				       .desc = g->desc,
				       .bells = {g->bell, g->ring_page, g->ring_bell}}};
	int ret;

	if (!granted_can(c))
		return zv_err(-EINVAL, "grant of a channel: the connection has one, or has begun");
	ret = send_result(hello_send(c->q, &m), "grant of a channel");
	if (ret == 0)
		granted_make(c);
	return ret;
}

int zv_conn_grant(struct zv_conn *conn, const struct zv_grant *g)
{
	struct zv_queue *q;
	int ret;

	if (!conn || !g || (g->role != SHM_ROLE_A && g->role != SHM_ROLE_B))
		return zv_err(-EINVAL, "zv_conn_grant: conn and grant must be set");
	q = call_enter(conn);
	if (conn->state != VC_REQUESTED)
		ret = zv_err(-EINVAL,
			     "zv_conn_grant: no request of it waits for an answer: it is %s",
			     vc_state_name(conn->state));
	else
		ret = broker_grant(conn, g);
	call_leave(q);
	return ret;
}

int zv_conn_wake(struct zv_conn *conn)
{
	struct zv_queue *q;
	int ret = 0;

	if (!conn)
		return zv_err(-EINVAL, "zv_conn_wake: conn must not be NULL");
	q = call_enter(conn);
	if (!granted_is(conn))
		ret = zv_err(-EINVAL, "zv_conn_wake: the connection has no grant");
	else if (conn->state == VC_CONNECTED)
		tx_ctrl(conn, CP_CREDIT_UPDATE);
	call_leave(q);
	return ret;
}
