/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What everything that is sent shares: control packets, and whether a connection may send now
 * (state, credit, its turn). Payload is send.c. A packet leaves in three steps: a buffer is
 * reserved (tx_reserve), filled, and committed with its header (tx_commit); publish makes a batch
 * visible. Data is committed by the call that sends it, so what a later control packet says
 * (SHUTDOWN after the last byte) is in order by itself.
 */
#include "tx_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	credit_told(&c->credit);
	c->pending &= (uint8_t)~CP_CREDIT_UPDATE; /* every packet is one */
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
		/* Empty packets go to those only who count them, too: see tx_empty_ok(). */
		credit_tx_sent(&c->credit, len ? len : 1,
			       c->credit.pkt_limit && tx_joins(c) ? s->capacity : 0);
		c->tx_bytes += len;
	}
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
		if (q->no_tx || !q->tq->ops->tx_reserve(q->tq, &s, 1, 0, TX_CTRL))
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
		return; /* waits its turn already */
	if (!q->rst_count && send_pending(c))
		return;
	c->flags |= CF_CTRL;
	TAILQ_INSERT_TAIL(&q->ctrl, c, ctrl);
}

bool tx_ctrl_msg(struct zv_conn *c, const void *data, uint32_t len)
{
	struct zv_queue *q = c->q;
	struct tx_slot s;

	if (q->no_tx || c->pending & (CP_REQUEST | CP_RESPONSE)) /* nothing may overtake them */
		return false;
	/* Of those kept for control packets only when need be: they may hold a header alone. */
	if (!q->tq->ops->tx_reserve(q->tq, &s, 1, len, 0) &&
	    !q->tq->ops->tx_reserve(q->tq, &s, 1, len, TX_CTRL))
		return false;
	if (s.capacity < len) {
		q->tq->ops->tx_cancel(q->tq, s.token);
		return false;
	}
	memcpy(s.data, data, len);
	tx_commit(c, &s, VSOCK_OP_RW, len, 0);
	return true;
}

static bool send_rst(struct zv_queue *q, const struct vsock_hdr *h)
{
	struct tx_slot s;

	if (q->no_tx || !q->tq->ops->tx_reserve(q->tq, &s, 1, 0, TX_CTRL))
		return false;
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_sent(q, h, NULL);
	q->tq->ops->tx_commit(q->tq, s.token, h);
	stats_add(&q->tq->stats.tx_packets, 1);
	stats_add(&q->tq->stats.rst_sent, 1);
	return true;
}

/* The ring of waiting RSTs has room for one more, @most being as many as may wait. */
static bool rst_room(struct zv_queue *q, uint32_t most)
{
	uint32_t size = q->rst_size ? 2 * q->rst_size : ZV_RST_FIFO;
	struct vsock_hdr *more;

	if (q->rst_count >= most)
		return false;
	if (q->rst_count < q->rst_size)
		return true;
	more = malloc(size * sizeof(*more));
	if (!more)
		return false;
	for (uint32_t i = 0; i < q->rst_count; i++)
		more[i] = q->rst[(q->rst_head + i) & (q->rst_size - 1)];
	free(q->rst);
	q->rst = more;
	q->rst_size = size;
	q->rst_head = 0;
	return true;
}

static void rst_for(struct zv_queue *q, const struct vsock_hdr *in, uint32_t most)
{
	struct vsock_hdr h;

	vsock_hdr_rst_for(&h, in);
	/*
	 * From whom it was sent to, even if nobody can have that CID, or the guest's kernel will
	 * not know what it is about. A guest speaks for itself alone.
	 */
	if (!q->host)
		h.src_cid = q->own_cid;
	if (q->rst_count == 0 && send_rst(q, &h))
		return;
	if (!rst_room(q, most)) {
		stats_add(&q->tq->stats.rst_dropped, 1);
		return;
	}
	q->rst[(q->rst_head + q->rst_count++) & (q->rst_size - 1)] = h;
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

/* A large ring is for once. */
static void rst_drained(struct zv_queue *q)
{
	if (q->rst_size == ZV_RST_FIFO)
		return;
	free(q->rst);
	q->rst = NULL;
	q->rst_size = q->rst_head = 0;
}

void tx_ctrl_flush(struct zv_queue *q)
{
	struct zv_conn *c;

	while (q->rst_count) {
		if (!send_rst(q, &q->rst[q->rst_head]))
			return;
		q->rst_head = (q->rst_head + 1) & (q->rst_size - 1);
		if (--q->rst_count == 0)
			rst_drained(q);
	}
	while ((c = TAILQ_FIRST(&q->ctrl))) {
		if (!send_pending(c))
			return;
		TAILQ_REMOVE(&q->ctrl, c, ctrl);
		c->flags &= ~CF_CTRL;
		conn_ready(c); /* data may have waited behind a REQUEST or RESPONSE */
	}
}

/* ---- may this connection send? ---- */

uint32_t tx_credit_left(const struct zv_conn *c)
{
	uint32_t free = credit_tx_bytes(&c->credit);

	if (credit_tx_packets(&c->credit) <= c->tx_loans)
		return 0;
	return free > c->tx_reserved ? free - c->tx_reserved : 0;
}

uint32_t tx_credit_now(const struct zv_conn *c)
{
	if (c->state != VC_CONNECTED || !vsock_shut_can_send(&c->shut))
		return 0;
	return tx_credit_left(c) + (c->flags & CF_MORE ? c->more_max - c->more_len : 0);
}

bool tx_has_credit(const struct zv_conn *c)
{
	/* The peer's buffer has shrunk: the next call says -EMSGSIZE. One byte just waits. */
	if (c->want > 1 && c->want > c->credit.peer_buf_alloc)
		return true;
	if (c->want_pkts > 1 && c->credit.pkt_limit && c->want_pkts > c->credit.pkt_limit)
		return true;
	return tx_credit_left(c) >= c->want &&
	       credit_tx_packets(&c->credit) >= c->tx_loans + c->want_pkts;
}

int tx_may_send(struct zv_conn *c)
{
	if (c->state == VC_CONNECTING || c->state == VC_REQUESTED)
		return -ENOTCONN;
	if (c->state != VC_CLOSED && vsock_shut_can_send(&c->shut))
		return 0;
	c->flags &= ~CF_WANT_OUT; /* told now */
	return c->state == VC_CLOSED && c->err ? c->err : -EPIPE;
}

void tx_wake_waiters(struct zv_queue *q, unsigned buffers)
{
	struct tx_flow *f = tx_sched_wake(&q->sched, buffers);

	for (; f; f = TAILQ_NEXT(f, link))
		conn_ready(conn_of_flow(f));
}

/*
 * A stock peer tells its fwd_cnt late (Linux: once less than 64 KiB of its buffer is untold), too
 * late for a packet budget: ask, and ask again.
 */
static void ask_credit(struct zv_conn *c)
{
	/* The peer's answer is late by no more than the connection has waited already. */
	static const uint64_t pace_ns[] = {5000000u, 50000000u, 500000000u};
	unsigned pace = c->asked < 16 ? 0 : c->asked < 16 + 40 ? 1 : 2;

	if (c->asked < UINT8_MAX)
		c->asked++;
	c->flags |= CF_CREDIT_ASKED;
	c->asked_fwd = c->credit.peer_fwd_cnt;
	conn_timer_start(c, TIMER_CREDIT + pace, pace_ns[pace]);
	tx_ctrl(c, CP_CREDIT_REQUEST);
}

/* The answer comes back while the other half of the budget is being sent. */
void tx_credit_ahead(struct zv_conn *c, uint32_t before)
{
	uint32_t half = c->credit.pkt_limit / 2;

	if (c->credit.pkt_limit && before <= half && c->credit.pkt_unread > half)
		tx_ctrl(c, CP_CREDIT_REQUEST);
}

/* No room: remember what the connection waits for, @want bytes of credit. Returns -EAGAIN. */
int tx_blocked(struct zv_conn *c, bool on_credit, uint32_t want)
{
	struct zv_queue *q = c->q;

	c->flags |= CF_WANT_OUT;
	c->want = want;
	c->want_pkts = 1;
	if (on_credit) {
		stats_add(&q->tq->stats.tx_no_credit, 1);
		tx_sched_leave(
			&q->sched,
			&c->flow); /* its turn is over: it waits for the peer, not for a buffer */
		if (c->credit.pkt_limit && !(c->flags & (CF_CREDIT_ASKED | CF_TIMER)))
			ask_credit(c);
	} else {
		stats_add(&q->tq->stats.tx_no_buffer, 1);
		tx_sched_wait(&q->sched, &c->flow, 1);
	}
	return -EAGAIN;
}

void tx_credit_answer(struct zv_conn *c)
{
	c->flags |= CF_CREDIT_TOLD;
	if (!tx_has_credit(c))
		return; /* the timer asks again */
	c->flags &= ~CF_CREDIT_ASKED;
	c->asked = 0;
	c->in_vain = 0;
	if (c->timer >= TIMER_CREDIT)
		conn_timer_stop(c);
}

/*
 * True when the question has an answer that shows a peer that is alive, has heard of all that was
 * sent before, and has read nothing. One is counted, however many packets have come since.
 */
static bool answered_in_vain(struct zv_conn *c)
{
	bool told = c->flags & CF_CREDIT_TOLD;

	c->flags &= ~CF_CREDIT_TOLD;
	if (c->credit.peer_fwd_cnt != c->asked_fwd)
		c->in_vain = 0;
	else if (told && c->in_vain < UINT8_MAX)
		c->in_vain++;
	return told && c->in_vain;
}

void tx_credit_retry(struct zv_conn *c)
{
	bool idle_peer = answered_in_vain(c);

	c->flags &= ~CF_CREDIT_ASKED;
	if (!(c->flags & CF_WANT_OUT))
		return;
	if (idle_peer && c->type == ZV_STREAM)
		(void)credit_go_on(&c->credit, c->in_vain);
	if (c->credit.pkt_limit && !tx_has_credit(c))
		ask_credit(c);
	else
		conn_ready(c);
}

void tx_credit_back(struct zv_conn *c)
{
	if (c->flags & CF_WANT_OUT)
		conn_ready(c);
}

/* ---- shutdown ---- */

int tx_shutdown(struct zv_conn *c, unsigned how)
{
	static const uint8_t bits[] = {VSOCK_SHUTDOWN_RCV, VSOCK_SHUTDOWN_SEND,
				       VSOCK_SHUTDOWN_BOTH};

	if (c->state != VC_CONNECTED)
		return zv_err(-ENOTCONN, "zv_shutdown: the connection is %s",
			      vc_state_name(c->state));
	if (c->flags & CF_MORE)
		tx_more_commit(c);
	if ((c->shut.local | bits[how]) == c->shut.local)
		return 0;
	c->shut.local |= bits[how];
	conn_ready(c); /* the end of receiving is an event here as well */
	if (bits[how] & VSOCK_SHUTDOWN_SEND)
		c->flags &= ~CF_WANT_OUT; /* nothing to wait for any more */
	tx_ctrl(c, CP_SHUTDOWN);
	return 0;
}
