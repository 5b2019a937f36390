/* SPDX-License-Identifier: BSD-3-Clause */
#include "hello_conn.h"

#include "socket/chan/grant.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/peer.h"
#include "socket/core/timer.h"
#include "socket/tx/tx.h"
#include "socket/tx/tx_wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_SRC_PORT 512u /* + pair index: below ZV_CTRL_SRC_LIMIT */

/* Sends @len bytes of the control connection in one packet. False: there is no buffer now. */
static bool send_message(struct zv_conn *c, const void *data, uint32_t len)
{
	struct zv_queue *q = c->q;
	struct tx_slot s;

	if (q->session.no_tx || tx_behind_ctrl(c))
		return false;
	/*
	 * Uses the buffers reserved for control packets only when necessary: they may hold only a
	 * header.
	 */
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

/* Capabilities of this side. */
static uint32_t own_caps(const struct zv_queue *q)
{
	uint32_t caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS | ZV_CAP_EMPTY_MSG;
	uint32_t flags = q->dev->opts.flags;

	if (q->dev->ops->kernel_sockets)
		return ZV_CAP_CHANNEL; /* packets are handled by this machine's kernel */
	if (q->host ? flags & ZV_OPT_BROKER : q->dev->ops->regions && !(flags & ZV_OPT_NO_CHANNEL))
		caps |= ZV_CAP_CHANNEL;
	if (!(flags & ZV_OPT_NO_DGRAM))
		caps |= ZV_CAP_DGRAM;
	return caps;
}

static void peer_is_zvsock(struct zv_queue *q)
{
	peer_on_hello(q);
	q->hello.events &= (uint8_t)~HELLO_EV_NONE;
	if (!hello_channels(q))
		peer_has_no_channels(q);
	else if (q->host)
		q->hello.events |= HELLO_EV_PEER;
	else
		grants_begin(q);
}

/* To the device a queue over kernel sockets is a program, and each program has one pair. */
static uint16_t own_pair(const struct zv_queue *q)
{
	return q->dev->ops->kernel_sockets ? 0 : (uint16_t)q->index;
}

static void send_due_hello(struct zv_queue *q)
{
	struct zv_conn *c = q->hello.conn;
	struct hello h = {
		.type = q->hello.due,
		.version = ZV_CTRL_VERSION,
		.nonce = q->dev->nonce,
		.pair = own_pair(q),
		.npairs = q->dev->ops->kernel_sockets ? 1 : (uint16_t)q->dev->nqueues,
		.caps = own_caps(q),
		.max_pkt = ZV_MAX_PKT,
		.flags = ZV_HELLO_INCOMING,
	};
	uint8_t wire[HELLO_WIRE_LEN];

	if (tx_credit_left(c) < sizeof(wire)) {
		/* No room for 44 bytes on a fresh connection: the peer is not usable. */
		conn_abort(c, -ECONNRESET);
		return;
	}
	hello_put(wire, &h);
	if (!send_message(c, wire, sizeof(wire)))
		return;
	q->hello.due = 0;
	if (q->host) {
		conn_timer_stop(c);
		peer_is_zvsock(q);
	}
}

static int send_ctrl(struct zv_queue *q, const struct ctrl_msg *m)
{
	struct zv_conn *c = q->hello.conn;
	uint8_t wire[CTRL_MSG_MAX];
	uint32_t len = ctrl_msg_put(wire, m);

	return tx_credit_left(c) >= len && send_message(c, wire, len) ? 0 : -EAGAIN;
}

void hello_flush(struct zv_queue *q)
{
	struct ctrl_out *out;

	if (q->hello.due)
		send_due_hello(q);
	if (!hello_channels(q))
		return;
	while ((out = STAILQ_FIRST(&q->grants.out)) && !send_ctrl(q, &out->m)) {
		STAILQ_REMOVE_HEAD(&q->grants.out, link);
		grants_sent(q, out);
	}
}

int hello_send(struct zv_queue *q, const struct ctrl_msg *m)
{
	return hello_channels(q) ? send_ctrl(q, m) : -EOPNOTSUPP;
}

static void send_hello(struct zv_conn *c, unsigned type)
{
	struct zv_queue *q = c->q;

	q->hello.due = (uint8_t)type;
	q->peer.hello_by = UINT64_MAX;
	/* The answer, the peer's or ours, has the same time limit as the connection had. */
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
	if (q->dev->ops->kernel_sockets && !q->dev->ops->regions) {
		peer_is_plain(q, "its connections are sockets of this machine's kernel");
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

void hello_again(struct zv_queue *q)
{
	q->peer.retry_at = UINT64_MAX;
	if (q->hello.conn)
		return;
	grants_end(q); /* what was announced and granted on the last one */
	hello_start(q);
	if (!q->hello.conn) /* no memory */
		q->peer.retry_at = time_after(queue_clock(q), q->peer.retry_ns);
}

bool hello_accept(struct zv_queue *q, const struct vsock_hdr *h)
{
	struct conn_key key = {VSOCK_CID_HOST, h->src_port, h->dst_port};
	struct zv_conn *c;
	int err;

	/* An unprivileged program in a guest without zvsock must not speak for its guest. */
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

/* ---- messages of the peer ---- */

static void bad_message(struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	zv_log_limited(&q->tq->log, ZV_LOG_WARN,
		       "%s: queue %u: bad message on the control connection (HELLO, or about "
		       "channels): it is reset",
		       queue_device_name(q), q->index);
	stats_add(&q->tq->stats.rx_bad_state, 1);
	conn_abort(c, -ECONNRESET);
}

/* Peeks at up to @size bytes that have arrived. Returns how many. */
static size_t peek(struct zv_conn *c, uint8_t *wire, size_t size)
{
	uint32_t flags = ZV_PEEK;
	ssize_t n = c->sock->recv(c, wire, size, &flags);

	return n > 0 ? (size_t)n : 0;
}

/* Consumes @len peeked bytes. False: @c is over, and may be freed. */
static bool take(struct zv_conn *c, uint8_t *wire, int len)
{
	return c->sock->recv(c, wire, (size_t)len, NULL) >= 0;
}

/* True: the message is handled, and more may follow. */
static bool on_hello(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	uint8_t wire[ZV_CTRL_MAX_LEN];
	struct hello h;
	unsigned expect = q->host ? CTRL_HELLO : CTRL_HELLO_ACK;
	size_t n = peek(c, wire, sizeof(wire));
	int len = hello_get(&h, wire, n);

	if (len == 0 && n < sizeof(wire))
		return false; /* more to come */
	/* No answer before the request. */
	if (len <= 0 || h.type != expect || h.pair != own_pair(q) || q->hello.due) {
		bad_message(c);
		return false;
	}
	if (!take(c, wire, len))
		return false;
	if (q->dev->ops->kernel_sockets)
		h.caps &= ZV_CAP_CHANNEL;
	q->peer.hello = h;
	if (expect == CTRL_HELLO) {
		send_hello(c, CTRL_HELLO_ACK);
	} else {
		conn_timer_stop(c);
		peer_is_zvsock(q);
	}
	return q->hello.conn == c;
}

/*
 * Gets the next message about channels. 1; 0: it is not complete; -errno: @c is over, may be freed.
 */
static int next_message(struct zv_conn *c, struct ctrl_msg *m)
{
	uint8_t wire[ZV_CTRL_MAX_LEN];
	size_t n = peek(c, wire, sizeof(wire));
	int len = ctrl_msg_get(m, wire, n);

	if (len == 0 && n < sizeof(wire))
		return 0;
	if (len <= 0) {
		bad_message(c);
		return -ECONNRESET;
	}
	return take(c, wire, len) ? 1 : -ECONNRESET;
}

static bool from_driver(unsigned type)
{
	return type == CTRL_OFFER || type == CTRL_REGION_ACK || type == CTRL_RELEASE ||
	       type == CTRL_HOLDS;
}

int hello_next(struct zv_queue *q, struct ctrl_msg *m)
{
	struct zv_conn *c = q->hello.conn;

	q->hello.events &= (uint8_t)~HELLO_EV_DATA; /* half a message is none */
	if (!c || !hello_channels(q) || next_message(c, m) <= 0)
		return 0;
	q->hello.events |= HELLO_EV_DATA;
	if (from_driver(m->type))
		return 1;
	bad_message(c);
	return 0;
}

void hello_data(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	struct ctrl_msg m;

	if (q->peer.state != HELLO_DONE && !on_hello(c))
		return;
	if (q->host && (q->hello.due || hello_channels(q))) {
		q->hello.events |= c->rx.queued ? HELLO_EV_DATA : 0; /* hello_next() */
		return;
	}
	while (q->hello.conn == c && c->rx.queued) {
		int ret = hello_channels(q) ? next_message(c, &m) : -EPROTO;

		if (ret == -EPROTO || (ret > 0 && !grant_message(q, &m)))
			bad_message(c);
		if (ret <= 0)
			return;
	}
}
