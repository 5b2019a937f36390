/* SPDX-License-Identifier: BSD-3-Clause */
#include "hello_conn.h"

#include "conn.h"
#include "peer.h"
#include "rx_loan.h"
#include "timer.h"
#include "tx.h"
#include "tx_wait.h"

#include <errno.h>
#include <string.h>

#define HELLO_SRC_PORT 512u /* + pair index: below ZV_CTRL_SRC_LIMIT */

/* Sends @len bytes of the control connection in one packet. False: there is no buffer now. */
static bool send_message(struct zv_conn *c, const void *data, uint32_t len)
{
	struct zv_queue *q = c->q;
	struct tx_slot s;

	if (q->session.no_tx || tx_behind_ctrl(c))
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

void hello_flush(struct zv_queue *q)
{
	struct zv_conn *c = q->hello.conn;
	struct hello h = {
		.type = q->hello.due,
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
		conn_abort(c, -ECONNRESET);
		return;
	}
	hello_put(wire, &h);
	if (!send_message(c, wire, sizeof(wire)))
		return;
	q->hello.due = 0;
	if (q->host) {
		conn_timer_stop(c);
		peer_said_hello(q);
	}
}

static void send_hello(struct zv_conn *c, unsigned type)
{
	struct zv_queue *q = c->q;

	q->hello.due = (uint8_t)type;
	/* The guest's answer, or ours, has the same time as the connection had. */
	conn_timer_start(c, TIMER_HELLO, q->dev->opts.hello_timeout_ns);
	hello_flush(q);
}

void hello_start(struct zv_queue *q)
{
	struct conn_key key = {VSOCK_CID_HOST, ZV_CTRL_PORT, HELLO_SRC_PORT + q->index};
	struct zv_conn *c;
	int err;

	if (q->dev->opts.flags & ZV_OPT_NO_HELLO) {
		peer_is_plain(q, "option ZV_OPT_NO_HELLO");
		return;
	}
	if (q->host) {
		q->peer.hello_by = time_after(queue_clock(q), q->dev->opts.hello_timeout_ns);
		return;
	}
	c = conn_new(q, &key, sock_type_find(ZV_STREAM), VC_CONNECTING, CF_INTERNAL, &err);
	if (!c) {
		peer_is_plain(q, zv_strerror(err));
		return;
	}
	q->hello.conn = c;
	peer_expected(q);
	conn_timer_start(c, TIMER_HELLO, q->dev->opts.hello_timeout_ns);
	tx_ctrl(c, CP_REQUEST);
}

bool hello_accept(struct zv_queue *q, const struct vsock_hdr *h)
{
	struct conn_key key = {VSOCK_CID_HOST, h->src_port, h->dst_port};
	struct zv_conn *c;
	int err;

	/* An unprivileged program of a stock guest must not speak for its guest. */
	if (!q->host || h->type != ZV_STREAM || h->src_port >= ZV_CTRL_SRC_LIMIT ||
	    q->dev->opts.flags & ZV_OPT_NO_HELLO)
		return false;
	if (q->hello.conn) /* the guest has started over: the new one counts */
		conn_abort(q->hello.conn, -ECONNRESET);
	c = conn_new(q, &key, sock_type_find(ZV_STREAM), VC_CONNECTED, CF_INTERNAL, &err);
	if (!c)
		return false;
	q->hello.conn = c;
	peer_expected(q);
	(void)credit_peer_update(&c->credit, h->buf_alloc, h->fwd_cnt);
	tx_ctrl(c, CP_RESPONSE);
	return true;
}

void hello_established(struct zv_conn *c)
{
	send_hello(c, CTRL_HELLO);
}

void hello_data(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	uint8_t wire[ZV_CTRL_MAX_LEN];
	struct hello h;
	uint32_t flags = ZV_PEEK;
	ssize_t n = c->sock->recv(c, wire, sizeof(wire), &flags);
	unsigned expect = q->host ? CTRL_HELLO : CTRL_HELLO_ACK;
	int len = n > 0 ? hello_get(&h, wire, (size_t)n) : 0;

	if (len == 0 && n < (ssize_t)sizeof(wire))
		return; /* more to come */
	/* Once in a session, and an answer not before the question. */
	if (len <= 0 || h.type != expect || h.pair != q->index || q->peer.state == HELLO_DONE ||
	    q->hello.due) {
		zv_log_limited(&q->tq->log, ZV_LOG_WARN,
			       "%s: queue %u: bad HELLO: control connection reset",
			       queue_device_name(q), q->index);
		stats_add(&q->tq->stats.rx_bad_state, 1);
		conn_abort(c, -ECONNRESET);
		return;
	}
	if (c->sock->recv(c, wire, (size_t)len, NULL) < 0)
		return; /* @c is over, and may be gone */
	q->peer.hello = h;
	if (expect == CTRL_HELLO) {
		send_hello(c, CTRL_HELLO_ACK);
		return;
	}
	conn_timer_stop(c);
	peer_said_hello(q);
}
