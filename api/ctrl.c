/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO: the control connection of each pair (docs/protocol.md). The guest connects when a session
 * begins and sends HELLO once it is established; the host answers HELLO_ACK. Until then, and for
 * ever towards a stock peer, the queue runs plain. The connection stays open while the session
 * lives; it ends with it.
 *
 * A HELLO or answer that finds no transmit buffer is due (q->hello_due) and tried again by each
 * poll, for hello_timeout. The host counts the guest as zvsock only once its answer is on its way:
 * what relies on a capability then comes behind that answer, never before it.
 */
#include "tx_priv.h"

#include <errno.h>
#include <unistd.h>

#define HELLO_SRC_PORT 512u /* + pair index: below ZV_CTRL_SRC_LIMIT */

static const char *device_name(const struct zv_queue *q)
{
	return q->tq->name ? q->tq->name : q->dev->ops->scheme;
}

static void went_plain(struct zv_queue *q, const char *why)
{
	if (q->hello == HELLO_WAIT || q->hello == HELLO_OFF)
		zv_log_limited(&q->tq->log, ZV_LOG_INFO,
			       "%s: queue %u: peer is plain virtio-vsock (%s): no extensions",
			       device_name(q), q->index, why);
	__atomic_store_n(&q->hello, HELLO_PLAIN, __ATOMIC_RELAXED);
}

#define BUDGET_LOOKS 4096u /* at places of the table, in one poll */
#define BUDGET_CONN  16u   /* what a connection costs, measured in empty places */

/*
 * What the peer can do has changed: so has what its connections may have unread. A guest may say
 * HELLO, or hang up, as often as it likes, so the polls to come go through the table, piece by
 * piece: a table of usual size in the next one.
 */
static void budgets(struct zv_queue *q)
{
	q->budget_at = 0;
	q->budgets_due = 1;
}

void ctrl_budgets(struct zv_queue *q)
{
	int looks = BUDGET_LOOKS;

	for (; looks > 0 && q->budget_at < q->conns.slots; looks--) {
		struct conn_node *n = conn_table_at(&q->conns, q->budget_at++);

		if (!n)
			continue;
		conn_pkt_budget((struct zv_conn *)n);
		looks -= (int)BUDGET_CONN;
	}
	q->budgets_due = q->budget_at < q->conns.slots;
}

static void said_hello(struct zv_queue *q)
{
	const struct hello *h = &q->peer_hello;

	__atomic_store_n(&q->hello, HELLO_DONE, __ATOMIC_RELAXED);
	q->incoming = !!(h->flags & ZV_HELLO_INCOMING);
	q->max_pkt =
		h->caps & ZV_CAP_BIG_PKT && h->max_pkt > ZV_PLAIN_PKT ? h->max_pkt : ZV_PLAIN_PKT;
	if (q->max_pkt > ZV_MAX_PKT)
		q->max_pkt = ZV_MAX_PKT;
	budgets(q);
	zv_log_limited(&q->tq->log, ZV_LOG_INFO, "%s: queue %u: peer is zvsock, pair %u of %u",
		       device_name(q), q->index, h->pair, h->npairs);
}

void ctrl_flush(struct zv_queue *q)
{
	struct zv_conn *c = q->hello_conn;
	struct hello h = {
		.type = q->hello_due,
		.version = ZV_CTRL_VERSION,
		.nonce = q->dev->nonce,
		.pair = (uint16_t)q->index,
		.npairs = (uint16_t)q->dev->nqueues,
		.caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS | ZV_CAP_EMPTY_MSG,
		.max_pkt = ZV_MAX_PKT,
		.flags = ZV_HELLO_INCOMING,
	};
	uint8_t wire[HELLO_WIRE_LEN];

	if (tx_credit_left(c) < sizeof(wire)) {
		/* No room for 44 bytes on a fresh connection: this peer will not do. */
		tx_ctrl(c, CP_RST);
		conn_over(c, -ECONNRESET);
		return;
	}
	hello_put(wire, &h);
	if (!tx_ctrl_msg(c, wire, sizeof(wire)))
		return;
	q->hello_due = 0;
	if (q->host) {
		conn_timer_stop(c);
		said_hello(q);
	}
}

static void send_hello(struct zv_conn *c, unsigned type)
{
	struct zv_queue *q = c->q;

	q->hello_due = (uint8_t)type;
	/* The guest's answer, or ours, has the same time as the connection had. */
	conn_timer_start(c, TIMER_HELLO, q->dev->opts.hello_timeout_ns);
	ctrl_flush(q);
}

void ctrl_silent(struct zv_queue *q)
{
	q->hello_by = UINT64_MAX;
	went_plain(q, "it has not said HELLO");
}

void ctrl_start(struct zv_queue *q)
{
	struct conn_key key = {VSOCK_CID_HOST, ZV_CTRL_PORT, HELLO_SRC_PORT + q->index};
	struct zv_conn *c;
	int err;

	if (q->dev->opts.flags & ZV_OPT_NO_HELLO) {
		went_plain(q, "option ZV_OPT_NO_HELLO");
		return;
	}
	if (q->host) {
		q->hello_by = time_after(queue_clock(q), q->dev->opts.hello_timeout_ns);
		return;
	}
	c = conn_new(q, &key, ZV_STREAM, VC_CONNECTING, CF_INTERNAL, &err);
	if (!c) {
		went_plain(q, zv_strerror(err));
		return;
	}
	q->hello_conn = c;
	__atomic_store_n(&q->hello, HELLO_WAIT, __ATOMIC_RELAXED);
	conn_timer_start(c, TIMER_HELLO, q->dev->opts.hello_timeout_ns);
	tx_ctrl(c, CP_REQUEST);
}

struct zv_conn *ctrl_accept(struct zv_queue *q, const struct vsock_hdr *h)
{
	struct conn_key key = {VSOCK_CID_HOST, h->src_port, h->dst_port};
	struct zv_conn *c;
	int err;

	/* An unprivileged program of a stock guest must not speak for its guest. */
	if (!q->host || h->type != ZV_STREAM || h->src_port >= ZV_CTRL_SRC_LIMIT ||
	    q->dev->opts.flags & ZV_OPT_NO_HELLO)
		return NULL;
	if (q->hello_conn) { /* the guest has started over: the new one counts */
		tx_ctrl(q->hello_conn, CP_RST);
		conn_over(q->hello_conn, -ECONNRESET);
	}
	c = conn_new(q, &key, ZV_STREAM, VC_CONNECTED, CF_INTERNAL, &err);
	if (!c)
		return NULL;
	q->hello_by = UINT64_MAX;
	q->hello_conn = c;
	__atomic_store_n(&q->hello, HELLO_WAIT, __ATOMIC_RELAXED);
	(void)credit_peer_update(&c->credit, h->buf_alloc, h->fwd_cnt);
	tx_ctrl(c, CP_RESPONSE);
	return c;
}

void ctrl_established(struct zv_conn *c)
{
	send_hello(c, CTRL_HELLO);
}

void ctrl_data(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	uint8_t wire[ZV_CTRL_MAX_LEN];
	struct hello h;
	uint32_t flags = ZV_PEEK;
	ssize_t n = loan_recv(c, wire, sizeof(wire), &flags);
	unsigned expect = q->host ? CTRL_HELLO : CTRL_HELLO_ACK;
	int len = n > 0 ? hello_get(&h, wire, (size_t)n) : 0;

	if (len == 0 && n < (ssize_t)sizeof(wire))
		return; /* more to come */
	/* Once in a session, and an answer not before the question. */
	if (len <= 0 || h.type != expect || h.pair != q->index || q->hello == HELLO_DONE ||
	    q->hello_due) {
		zv_log_limited(&q->tq->log, ZV_LOG_WARN,
			       "%s: queue %u: bad HELLO: control connection reset", device_name(q),
			       q->index);
		stats_add(&q->tq->stats.rx_bad_state, 1);
		tx_ctrl(c, CP_RST);
		conn_over(c, -ECONNRESET);
		return;
	}
	(void)loan_recv(c, wire, (size_t)len, NULL);
	q->peer_hello = h;
	if (expect == CTRL_HELLO) {
		send_hello(c, CTRL_HELLO_ACK);
		return;
	}
	conn_timer_stop(c);
	said_hello(q);
}

void ctrl_over(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	if (q->hello_conn != c)
		return;
	q->hello_conn = NULL;
	q->hello_due = 0;
	went_plain(q, c->err == -ETIMEDOUT ? "no answer to HELLO" : "HELLO refused");
	q->max_pkt = ZV_PLAIN_PKT;
	budgets(q);
}
