/* SPDX-License-Identifier: BSD-3-Clause */
#include "tx.h"

#include "socket/core/credit.h"
#include "socket/core/tap.h"

#include <stdlib.h>

static void fill_hdr(struct zv_conn *c, struct vsock_hdr *h, unsigned op, uint32_t len,
		     uint32_t flags)
{
	h->src_cid = conn_local_cid(c);
	h->dst_cid = conn_peer_cid(c);
	h->src_port = c->node.key.local_port;
	h->dst_port = c->node.key.peer_port;
	h->len = len;
	h->type = c->type;
	h->op = (uint16_t)op;
	h->flags = flags;
	h->buf_alloc = c->credit.buf_alloc;
	h->fwd_cnt = c->credit.fwd_cnt;
	credit_reported(&c->credit);
	c->pending &= (uint8_t)~CP_CREDIT_UPDATE; /* every packet is one */
}

int tx_announce(struct zv_conn *c)
{
	struct vsock_hdr h;

	fill_hdr(c, &h, VSOCK_OP_REQUEST, 0, 0);
	return c->q->tq->ops->connect(c->q->tq, &h);
}

void tx_commit(struct zv_conn *c, const struct tx_slot *s, unsigned op, uint32_t len,
	       uint32_t flags)
{
	struct zv_queue *q = c->q;
	struct vsock_hdr h;

	fill_hdr(c, &h, op, len, flags);
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_sent(q, &h, s->data);
	q->tq->ops->tx_commit(q->tq, s->token, &h);
	stats_add(&q->tq->stats.tx_packets, 1);
	stats_add(&q->tq->stats.tx_bytes, len);
	if (op == VSOCK_OP_RW) {
		/* Empty packets go only to peers that count them: see seqpacket.c. */
		credit_tx_sent(&c->credit, len ? len : 1,
			       c->credit.pkt_limit && tx_joins(c) ? s->capacity : 0);
		c->totals.tx_bytes += len;
	}
}

void tx_commit_mem(struct zv_conn *c, const struct tx_slot *s, const uint8_t *data, struct iova at,
		   uint32_t len, uint32_t flags, uint32_t cookie)
{
	struct zv_queue *q = c->q;
	struct vsock_hdr h;

	fill_hdr(c, &h, VSOCK_OP_RW, len, flags);
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_sent(q, &h, data);
	q->tq->ops->tx_commit_mem(q->tq, s->token, &h, at, cookie);
	stats_add(&q->tq->stats.tx_packets, 1);
	stats_add(&q->tq->stats.tx_bytes, len);
	credit_tx_sent(&c->credit, len, 0);
	c->totals.tx_bytes += len;
}

/* ---- control packets ---- */

static const struct {
	uint8_t bit, op;
} ctrl_ops[] = {
	{CP_REQUEST, VSOCK_OP_REQUEST},
	{CP_RESPONSE, VSOCK_OP_RESPONSE},
	{CP_CREDIT_UPDATE, VSOCK_OP_CREDIT_UPDATE},
	{CP_CREDIT_REQUEST, VSOCK_OP_CREDIT_REQUEST},
	{CP_SHUTDOWN, VSOCK_OP_SHUTDOWN},
	{CP_RST, VSOCK_OP_RST},
};

/* Sends the connection's pending control packets; false: no room for the rest. */
static bool send_pending(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	struct tx_slot s;

	for (unsigned i = 0; i < sizeof(ctrl_ops) / sizeof(ctrl_ops[0]) && c->pending; i++) {
		if (!(c->pending & ctrl_ops[i].bit))
			continue;
		if (q->session.no_tx || !q->tq->ops->tx_reserve(q->tq, &s, 1, 0, TX_CTRL))
			return false;
		c->pending &= (uint8_t)~ctrl_ops[i].bit;
		tx_commit(c, &s, ctrl_ops[i].op, 0,
			  ctrl_ops[i].op == VSOCK_OP_SHUTDOWN ? c->shut.local : 0);
		if (ctrl_ops[i].op == VSOCK_OP_RST)
			stats_add(&q->tq->stats.rst_sent, 1);
	}
	return true;
}

void tx_ctrl(struct zv_conn *c, unsigned pending)
{
	struct zv_queue *q = c->q;

	c->pending |= (uint8_t)pending;
	if (c->flags & CF_CTRL)
		return; /* already waits its turn */
	if (!q->rst.count && send_pending(c))
		return;
	c->flags |= CF_CTRL;
	TAILQ_INSERT_TAIL(&q->ctrl, c, ctrl_link);
}

void tx_ctrl_drop(struct zv_conn *c)
{
	if (c->flags & CF_CTRL)
		TAILQ_REMOVE(&c->q->ctrl, c, ctrl_link);
	c->flags &= ~CF_CTRL;
	c->pending = 0;
}

/* ---- RSTs of no connection ---- */

static bool send_rst(struct zv_queue *q, const struct vsock_hdr *h)
{
	struct tx_slot s;

	if (q->session.no_tx || !q->tq->ops->tx_reserve(q->tq, &s, 1, 0, TX_CTRL))
		return false;
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_sent(q, h, NULL);
	q->tq->ops->tx_commit(q->tq, s.token, h);
	stats_add(&q->tq->stats.tx_packets, 1);
	stats_add(&q->tq->stats.rst_sent, 1);
	return true;
}

/* Makes room for one more waiting RST; at most @most may wait. */
static bool rst_ring_grow(struct zv_queue *q, uint32_t most)
{
	uint32_t size = q->rst.size ? 2 * q->rst.size : ZV_RST_FIFO;
	struct vsock_hdr *more;

	if (q->rst.count >= most)
		return false;
	if (q->rst.count < q->rst.size)
		return true;
	more = malloc(size * sizeof(*more));
	if (!more)
		return false;
	for (uint32_t i = 0; i < q->rst.count; i++)
		more[i] = q->rst.ring[(q->rst.head + i) & (q->rst.size - 1)];
	free(q->rst.ring);
	q->rst.ring = more;
	q->rst.size = size;
	q->rst.head = 0;
	return true;
}

static void rst_for(struct zv_queue *q, const struct vsock_hdr *in, uint32_t most)
{
	struct vsock_hdr h;

	vsock_hdr_rst_for(&h, in);
	/*
	 * The source is the destination of @in, even if nobody can have that CID; otherwise the
	 * guest's kernel could not match it. A guest speaks only for itself.
	 */
	if (!q->host)
		h.src_cid = q->session.own_cid;
	if (q->rst.count == 0 && send_rst(q, &h))
		return;
	if (!rst_ring_grow(q, most)) {
		stats_add(&q->tq->stats.rst_dropped, 1);
		return;
	}
	q->rst.ring[(q->rst.head + q->rst.count++) & (q->rst.size - 1)] = h;
}

void tx_rst_reply(struct zv_queue *q, const struct vsock_hdr *in)
{
	if (in->op != VSOCK_OP_RST)
		rst_for(q, in, ZV_RST_FIFO);
}

void tx_rst_of(const struct zv_conn *c)
{
	const struct vsock_hdr from_peer = {.src_cid = conn_peer_cid(c),
					    .dst_cid = conn_local_cid(c),
					    .src_port = c->node.key.peer_port,
					    .dst_port = c->node.key.local_port,
					    .type = c->type};

	rst_for(c->q, &from_peer, ZV_RST_FIFO + c->q->dev->opts.max_conns);
}

void tx_probe(struct zv_queue *q)
{
	const struct vsock_hdr h = {.src_cid = q->session.own_cid,
				    .dst_cid = VSOCK_CID_HOST,
				    .type = VSOCK_TYPE_STREAM,
				    .op = VSOCK_OP_RST};

	if (q->rst.count == 0)
		(void)send_rst(q, &h);
}

/* A large ring is not kept. */
static void rst_drained(struct zv_queue *q)
{
	if (q->rst.size == ZV_RST_FIFO)
		return;
	free(q->rst.ring);
	q->rst.ring = NULL;
	q->rst.size = q->rst.head = 0;
}

void tx_ctrl_flush(struct zv_queue *q)
{
	struct zv_conn *c;

	while (q->rst.count) {
		if (!send_rst(q, &q->rst.ring[q->rst.head]))
			return;
		q->rst.head = (q->rst.head + 1) & (q->rst.size - 1);
		if (--q->rst.count == 0)
			rst_drained(q);
	}
	while ((c = TAILQ_FIRST(&q->ctrl))) {
		if (!send_pending(c))
			return;
		TAILQ_REMOVE(&q->ctrl, c, ctrl_link);
		c->flags &= ~CF_CTRL;
		conn_ready(c); /* data may have waited behind a REQUEST or RESPONSE */
	}
}

void tx_fini(struct zv_queue *q)
{
	free(q->rst.ring);
}
