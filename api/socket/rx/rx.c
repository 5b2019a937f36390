/* SPDX-License-Identifier: BSD-3-Clause */
#include "rx.h"

#include "hello_conn.h"
#include "socket/chan/grant.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/credit.h"
#include "socket/core/listener.h"
#include "socket/core/tap.h"
#include "socket/core/timer.h"
#include "socket/tx/tx.h"
#include "socket/tx/tx_wait.h"

#include <errno.h>

/* ---- no connection ---- */

/* @g: its grant, or NULL. */
static void refuse(struct zv_queue *q, const struct vsock_hdr *h, struct grant *g)
{
	if (g)
		grant_give_up(g);
	stats_add(&q->tq->stats.conns_refused, 1);
	tx_rst_reply(q, h);
}

/* The packet is for a sibling of the guest, not for the host. */
static bool for_sibling(const struct zv_queue *q, const struct conn_key *key)
{
	return q->host && key->cid != VSOCK_CID_HOST;
}

/*
 * A broker grants no credit on a connection with a channel. So a connection without channel and
 * without credit was granted a channel for which there was no memory (grant.c): nothing could ever
 * be sent on it.
 */
static bool grant_is_lost(const struct zv_queue *q, const struct vsock_hdr *h)
{
	return !h->buf_alloc && !q->host && q->peer.hello.caps & ZV_CAP_CHANNEL &&
	       !q->dev->ops->kernel_sockets;
}

/* REQUEST for no existing connection: section 5.10.6.5, "Connection establishment". */
static void request(struct zv_queue *q, const struct vsock_hdr *h, const struct conn_key *key)
{
	bool sibling = for_sibling(q, key);
	struct grant *g = NULL;
	struct listener *l;
	struct zv_conn *c;
	int err;

	if (h->dst_port == ZV_CTRL_PORT) {
		if (sibling || !hello_accept(q, h))
			refuse(q, h, NULL);
		return;
	}
	if (__builtin_expect(q->grants.npending, 0))
		g = grant_take(q, key, h->type);
	if (!g && __builtin_expect(grant_is_lost(q, h), 0)) {
		refuse(q, h, NULL);
		return;
	}
	l = sibling ? NULL : listener_find(q->dev, PORTS_CONN, h->dst_port);
	if (!l)
		l = listener_catch_all(q->dev, PORTS_CONN);
	if (!l || (l->type && l->type != h->type) || l->q[q->index].count >= l->backlog) {
		refuse(q, h, g);
		return;
	}
	c = conn_new(q, key, sock_type_find(h->type),
		     l->port == ZV_PORT_ANY ? VC_REQUESTED : VC_CONNECTED, 0, &err);
	if (!c) {
		refuse(q, h, g);
		return;
	}
	(void)credit_peer_update(&c->credit, h->buf_alloc, h->fwd_cnt);
	c->flags |= CF_INCOMING;
	if (g && grant_use(g, c)) {
		c->flags |= CF_ORPHAN; /* nobody has the handle */
		conn_abort(c, -ECONNRESET);
		return;
	}
	accept_put(l, c);
	if (c->state == VC_REQUESTED) {
		conn_timer_start(c, TIMER_CONNECT, q->dev->opts.connect_timeout_ns);
		return;
	}
	stats_add(&q->tq->stats.conns_accepted, 1);
	tx_ctrl(c, CP_RESPONSE);
}

void rx_unconnected(struct zv_queue *q, struct rx_pkt *p, const struct conn_key *key)
{
	const struct vsock_hdr *h = &p->hdr;
	struct vc_step s = vc_step(VC_NONE, h->op);

	rx_drop(q, p);
	if (for_sibling(q, key)) {
		const struct listener *l = listener_catch_all(q->dev, PORTS_CONN);

		if (!l || !(l->flags & ZV_LISTEN_ANY_CID)) {
			stats_add(&q->tq->stats.rx_bad_cid, 1);
			tx_rst_reply(q, h);
			return;
		}
	}
	if (s.action == VC_ACT_ACCEPT) {
		request(q, h, key);
		return;
	}
	/*
	 * A RST needs no answer, whoever sends it: Linux may send another one when a program
	 * closes.
	 */
	if (h->op == VSOCK_OP_RST || conn_ended_recently(q, key))
		stats_add(&q->tq->stats.rx_late, 1);
	else
		stats_add(&q->tq->stats.rx_no_conn, 1);
	if (s.action == VC_ACT_RST)
		tx_rst_reply(q, h);
}

/* ---- a connection ---- */

static void data(struct zv_conn *c, struct rx_pkt *p)
{
	struct zv_queue *q = c->q;
	uint32_t len = p->hdr.len, charge = len, flags = 0;

	if (!vsock_shut_can_recv(&c->shut)) {
		/*
		 * Data after SHUTDOWN of this direction: the peer broke its promise, or had not
		 * seen ours yet.
		 */
		stats_add(&q->tq->stats.rx_bad_state, !!(c->shut.peer & VSOCK_SHUTDOWN_SEND));
		rx_drop(q, p);
		return;
	}
	if (!len && c->sock->frame && q->peer.hello.caps & ZV_CAP_EMPTY_MSG)
		charge = 1;
	if (!credit_rx_take(&c->credit, charge) ||
	    (c->sock->frame && !c->sock->frame(c, &p->hdr, &flags))) {
		stats_add(&q->tq->stats.rx_overrun, 1);
		rx_drop(q, p);
		conn_abort(c, -ECONNRESET);
		return;
	}
	if (!len && !c->sock->frame)
		return;
	c->totals.rx_bytes += len;
	stats_add(&q->tq->stats.rx_bytes, len);
	if (rx_take(c, p, flags, charge - len)) {
		conn_abort(c, -ECONNRESET);
		return;
	}
	if (c->flags & CF_INTERNAL)
		hello_data(c);
	else
		conn_ready(c);
}

static void established(struct zv_conn *c)
{
	conn_timer_stop(c);
	stats_add(&c->q->tq->stats.conns_opened, 1);
	if (c->sock->path)
		c->sock->path->opened(c);
	if (c->flags & CF_INTERNAL) {
		hello_established(c);
		return;
	}
	/* The transport has sockets, and must be told which of them carry no payload. */
	if (c->sock->path && c->q->dev->ops->kernel_sockets)
		tx_ctrl(c, CP_CREDIT_UPDATE);
	c->flags |= CF_NEW;
	conn_ready(c);
}

static void shut_down(struct zv_conn *c, uint32_t flags)
{
	if (c->sock->path && !c->sock->path->shut(c, flags))
		return;
	if (!vsock_shut_peer(&c->shut, flags))
		stats_add(&c->q->tq->stats.rx_bad_state, 1);
	conn_ready(c);
	if (c->flags & CF_INTERNAL) {
		conn_abort(c, -ECONNRESET);
		return;
	}
	if (rx_drained(c))
		conn_end_drained(c);
}

static void reset_by_peer(struct zv_conn *c)
{
	bool clean;

	if (c->sock->path)
		c->sock->path->over(c); /* CHAN_END may be in the ring, and came before the RST */
	clean = c->shut.peer == VSOCK_SHUTDOWN_BOTH || c->shut.local == VSOCK_SHUTDOWN_BOTH ||
		(c->shut.peer & c->shut.local & VSOCK_SHUTDOWN_SEND);

	conn_over(c, clean ? 0 : -ECONNRESET);
}

/* Performs the state machine's action for a packet of an existing connection. */
static void act(struct zv_conn *c, struct rx_pkt *p, struct vc_step s)
{
	struct zv_queue *q = c->q;
	enum vc_state from = c->state;

	if (s.action == VC_ACT_ESTABLISHED && !c->sock->path && grant_is_lost(q, &p->hdr)) {
		rx_drop(q, p);
		conn_abort(c, -ECONNRESET);
		return;
	}
	if (s.next != VC_CLOSED && s.next != VC_NONE) /* conn_over() makes that step itself */
		c->state = s.next;
	if (s.action == VC_ACT_DATA) {
		data(c, p);
		return;
	}
	rx_drop(q, p);
	switch (s.action) {
	case VC_ACT_ESTABLISHED:
		established(c);
		break;
	case VC_ACT_REFUSED:
		stats_add(&q->tq->stats.conns_refused, 1);
		conn_over(c, -ECONNREFUSED);
		break;
	case VC_ACT_RESET:
		reset_by_peer(c);
		break;
	case VC_ACT_SHUTDOWN:
		shut_down(c, p->hdr.flags);
		break;
	case VC_ACT_CREDIT: /* the header's counters were all */
		if (c->sock->path)
			c->sock->path->woken(c);
		break;
	case VC_ACT_REPORT_CREDIT:
		tx_ctrl(c, CP_CREDIT_UPDATE);
		break;
	case VC_ACT_FREE:
		conn_over(c, 0);
		break;
	case VC_ACT_RST_FREE:
		conn_abort(c, 0);
		break;
	case VC_ACT_RST:
		stats_add(&q->tq->stats.rx_bad_state, 1);
		conn_abort(c, -ECONNRESET);
		break;
	case VC_ACT_DROP:
		if (from != VC_CLOSING) /* data in flight to a closed socket is not an error */
			stats_add(&q->tq->stats.rx_bad_state, 1);
		break;
	default: /* VC_ACT_NONE */
		break;
	}
}

/* ---- any packet ---- */

/*
 * Checks a header. False: it is refused, and the reaction to that is done. @far is the CID of the
 * end that is not this device's guest. It need not be the host's: the connection table and the
 * listeners decide whether somebody speaks for the sibling that it names.
 */
static bool check_hdr(struct zv_queue *q, const struct rx_pkt *p, uint64_t far)
{
	uint64_t own = q->session.own_cid, peer = q->session.peer_cid;

	if (far != VSOCK_CID_HOST && cid_is_sibling(q, far))
		*(q->host ? &own : &peer) = far;
	switch (vsock_hdr_check(&p->hdr, own, peer)) {
	case VSOCK_HDR_OK:
		return true;
	case VSOCK_HDR_BAD_TYPE:
		stats_add(&q->tq->stats.rx_bad_type, 1);
		if (p->hdr.src_cid == peer)
			tx_rst_reply(q, &p->hdr);
		break;
	case VSOCK_HDR_BAD_SRC:
		stats_add(&q->tq->stats.rx_bad_cid,
			  1); /* no answer: it would go to somebody else */
		break;
	case VSOCK_HDR_BAD_DST:
		stats_add(&q->tq->stats.rx_bad_cid, 1);
		tx_rst_reply(q, &p->hdr);
		break;
	default:
		stats_add(&q->tq->stats.rx_bad_hdr, 1);
	}
	return false;
}

static struct zv_conn *find(struct zv_queue *q, const struct conn_key *key)
{
	struct zv_conn *c = q->last;

	if (c && c->node.key.peer_port == key->peer_port &&
	    c->node.key.local_port == key->local_port && c->node.key.cid == key->cid)
		return c;
	c = (struct zv_conn *)conn_table_find(&q->conns, key);
	q->last = c;
	return c;
}

/* A packet with the addresses of a connection of another type. */
static __attribute__((noinline, cold)) void other_type(struct zv_queue *q, struct rx_pkt *p,
						       const struct conn_key *key)
{
	const struct sock_type *t = sock_type_find(p->hdr.type);

	if (t->connectionless) { /* its ports are others */
		t->unconnected(q, p, key);
		return;
	}
	stats_add(&q->tq->stats.rx_bad_type, 1);
	rx_drop(q, p);
	tx_rst_reply(q, &p->hdr);
}

void rx_packet(struct zv_queue *q, struct rx_pkt *p)
{
	struct conn_key key = {q->host ? p->hdr.dst_cid : p->hdr.src_cid, p->hdr.src_port,
			       p->hdr.dst_port};
	struct zv_conn *c;

	stats_add(&q->tq->stats.rx_packets, 1);
	if (!check_hdr(q, p, key.cid)) {
		rx_drop(q, p);
		return;
	}
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_received(q, p);
	c = find(q, &key);
	if (!c) {
		sock_type_find(p->hdr.type)->unconnected(q, p, &key);
		return;
	}
	if (p->hdr.type != c->type) {
		other_type(q, p, &key);
		return;
	}
	if (credit_peer_update(&c->credit, p->hdr.buf_alloc, p->hdr.fwd_cnt)) {
		if (c->flags & CF_CREQ_SENT)
			tx_credit_answer(c);
		if (c->flags & CF_WANT_OUT)
			conn_ready(c);
	} else if (p->hdr.op !=
		   VSOCK_OP_RST) { /* the sender may have no connection and no counters */
		stats_add(&q->tq->stats.rx_bad_credit, 1);
	}
	act(c, p, vc_step(c->state, p->hdr.op));
}
