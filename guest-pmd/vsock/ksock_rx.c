/* SPDX-License-Identifier: BSD-3-Clause */
/* From the kernel: events, bytes, messages, ends. */
#include "ksock.h"
#include "ksock_ctrl.h"
#include "ksock_msg.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define EVENTS	   64
#define POLL_EVERY 8u /* bursts between epoll looks while the ready list has packets */
#define WAKES	   64 /* receives in one go, of a connection with a channel */

/* ---- events ---- */

static void on_event(struct ksock_conn *c, uint32_t events)
{
	c->flags |= KF_EVENT;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->flags |= KF_READABLE;
	else
		c->flags |= KF_PROBE;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->flags |= KF_ENDING;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) && c->flags & KF_STUCK) {
		ksock_unstick(c);
		ksock_flush_later(c);
	}
	ksock_ready(c);
}

/* Takes the events that are there. */
static void poll_events(struct ksock_queue *q)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(q->epfd, ev, EVENTS, 0);

	q->bursts = 0;
	for (int i = 0; i < n; i++) {
		uint64_t tag = ev[i].data.u64;

		if (tag == KSOCK_WAKE_TAG)
			ksock_msg_events(q);
		else if (tag & 1)
			ksock_accept(q, (uint32_t)(tag >> 1));
		else
			on_event(ev[i].data.ptr, ev[i].events);
	}
}

/* ---- packets ---- */

static int emit(struct ksock_conn *c, struct rx_pkt *pkt, unsigned op, uint32_t len, uint32_t flags)
{
	pkt->hdr = (struct vsock_hdr){
		.src_cid = c->node.key.cid,
		.dst_cid = c->q->dev->cid,
		.src_port = c->node.key.peer_port,
		.dst_port = c->node.key.local_port,
		.len = len,
		.type = c->type,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = KSOCK_GRANT,
		.fwd_cnt = c->tx_done,
	};
	pkt->seg = NULL;
	pkt->nseg = 0;
	pkt->token = KSOCK_NONE;
	pkt->ndesc = 1;
	c->tx_reported = c->tx_done;
	c->due &= (uint8_t)~KD_CREDIT; /* every packet is one */
	return 1;
}

static int emit_ctrl(struct ksock_conn *c, struct rx_pkt *pkt, unsigned op, unsigned due)
{
	c->due &= (uint8_t)~due;
	return emit(c, pkt, op, 0, op == VSOCK_OP_SHUTDOWN ? c->peer_shut : 0);
}

/* The receive buffer on top of the stack, with @len bytes; @at: the packet's place in the burst. */
static int emit_data(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at, uint32_t len,
		     uint32_t flags)
{
	struct ksock_queue *q = c->q;
	struct ksock_bufs *b = &q->rx;
	uint32_t id = b->free[b->nfree - 1];

	(void)emit(c, pkt, VSOCK_OP_RW, len, flags);
	c->rx_cnt += len;
	if (!len)
		return 1;
	b->nfree--;
	q->seg[at] = (struct pkt_seg){b->base + id * b->stride, len};
	pkt->seg = &q->seg[at];
	pkt->nseg = 1;
	pkt->token = id;
	return 1;
}

static uint32_t rx_space(const struct ksock_conn *c)
{
	uint32_t unread = c->rx_cnt - c->fwd_cnt;
	uint32_t credit = unread < c->buf_alloc ? c->buf_alloc - unread : 0;

	return credit < c->q->rx.payload ? credit : c->q->rx.payload;
}

static uint8_t *top_buf(const struct ksock_bufs *b)
{
	return b->base + b->free[b->nfree - 1] * b->stride;
}

/* ---- receiving ---- */

/*
 * The peer has ended sending. The kernel tells only a sender whether it still receives; if this
 * side has shut down sending itself, both directions are over.
 */
static void ended(struct ksock_conn *c)
{
	unsigned shut = VSOCK_SHUTDOWN_SEND;

	c->flags &= (uint16_t)~KF_READABLE;
	if (c->done_shut & VSOCK_SHUTDOWN_SEND || !c->q->dev->net->peer_receives(c->fd))
		shut = VSOCK_SHUTDOWN_BOTH;
	ksock_peer_shut(c, shut);
}

/* A receive has failed with @err, or has found nothing. */
static void failed(struct ksock_conn *c, int err)
{
	if (err == EINTR)
		return;
	c->flags &= (uint16_t)~KF_READABLE;
	if (err == EAGAIN)
		c->flags |= KF_PROBE;
	else
		ksock_fail(c);
}

/* After a receive that got @n of @most bytes: is there more? */
static void received(struct ksock_conn *c, size_t n, size_t most)
{
	if (n < most && !(c->flags & KF_ENDING))
		c->flags &= (uint16_t)~KF_READABLE;
}

static int fetch_bytes(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at)
{
	uint32_t most = rx_space(c);
	ssize_t n;

	if (!most)
		return 0;
	n = recv(c->fd, top_buf(&c->q->rx), most, MSG_DONTWAIT);
	if (n > 0) {
		received(c, (size_t)n, most);
		return emit_data(c, pkt, at, (uint32_t)n, 0);
	}
	if (n == 0)
		ended(c);
	else
		failed(c, errno);
	return 0;
}

static uint32_t end_of_message(bool eor)
{
	return VSOCK_SEQ_EOM | (eor ? VSOCK_SEQ_EOR : 0);
}

/* A piece of the message that is held. */
static int emit_held(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at)
{
	struct ksock_bytes *h = &c->held;
	uint32_t n = rx_space(c), flags = 0;

	if (!n)
		return 0;
	n = n < h->len - h->at ? n : h->len - h->at;
	memcpy(top_buf(&c->q->rx), h->data + h->at, n);
	h->at += n;
	if (h->at == h->len) {
		flags = end_of_message(c->flags & KF_HELD_EOR);
		free(h->data);
		*h = (struct ksock_bytes){0};
	}
	return emit_data(c, pkt, at, n, flags);
}

/* recvmsg() has given 0: the end, or a message without bytes? */
static bool is_end(const struct ksock_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* The part of a message that its buffer had no room for becomes the held one. */
static void hold(struct ksock_conn *c, uint32_t len, bool eor)
{
	struct ksock_queue *q = c->q;

	c->held = (struct ksock_bytes){.data = q->long_msg, .len = len};
	c->flags = (uint16_t)((c->flags & ~KF_HELD_EOR) | (eor ? KF_HELD_EOR : 0));
	q->long_msg = NULL;
}

static int fetch_message(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at)
{
	struct ksock_queue *q = c->q;
	uint32_t most = rx_space(c);
	struct iovec iov[2];
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	bool eor;
	ssize_t n;

	if (!most)
		return 0;
	if (!q->long_msg && !(q->long_msg = malloc(q->dev->buf_alloc))) {
		failed(c, ENOMEM);
		return 0;
	}
	iov[0] = (struct iovec){top_buf(&q->rx), most};
	iov[1] = (struct iovec){q->long_msg, q->dev->buf_alloc};
	n = recvmsg(c->fd, &m, MSG_DONTWAIT);
	if (n < 0) {
		failed(c, errno);
		return 0;
	}
	eor = m.msg_flags & MSG_EOR;
	if (n == 0 && !eor && is_end(c)) {
		ended(c);
		return 0;
	}
	if (m.msg_flags & MSG_TRUNC || (size_t)n > c->buf_alloc) {
		zv_log_limited(&q->tq.log, ZV_LOG_WARN,
			       "vsock: a message from port %u of CID %llu is longer than the "
			       "receive credit of %u bytes: connection reset",
			       c->node.key.peer_port, (unsigned long long)c->node.key.cid,
			       c->buf_alloc);
		failed(c, EMSGSIZE);
		return 0;
	}
	if ((size_t)n <= most)
		return emit_data(c, pkt, at, (uint32_t)n, end_of_message(eor));
	hold(c, (uint32_t)n - most, eor);
	return emit_data(c, pkt, at, most, 0);
}

/* All bytes mean the same: check the channel. End of file comes after them. */
static int fetch_wakes(struct ksock_conn *c, struct rx_pkt *pkt)
{
	uint8_t bytes[512];
	bool any = false;
	ssize_t n = 1;

	for (int i = 0; i < WAKES && c->flags & KF_READABLE && n > 0; i++) {
		n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		any |= n > 0;
		if (n > 0 && c->type == VSOCK_TYPE_STREAM)
			received(c, (size_t)n, sizeof(bytes));
		else if (n == 0 && (c->type == VSOCK_TYPE_STREAM || is_end(c)))
			ended(c);
		else if (n < 0)
			failed(c, errno);
	}
	return any && !(c->due & KD_RST) ? emit(c, pkt, VSOCK_OP_CREDIT_UPDATE, 0, 0) : 0;
}

/* 1: a packet. 0: none, now; -1: there is no buffer for one. */
static int fetch(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at)
{
	if (c->flags & KF_CHAN)
		return c->flags & KF_READABLE ? fetch_wakes(c, pkt) : 0;
	if (c->want_shut & VSOCK_SHUTDOWN_RCV)
		return 0;
	if (!c->held.data && !(c->flags & KF_READABLE))
		return 0;
	if (!c->q->rx.nfree)
		return -1;
	if (c->held.data)
		return emit_held(c, pkt, at);
	return c->type == VSOCK_TYPE_STREAM ? fetch_bytes(c, pkt, at) : fetch_message(c, pkt, at);
}

/* ---- connections ---- */

/* An event of a socket that is connecting: how it ended. */
static void connect_done(struct ksock_conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (c->flags & KF_ENDING && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (!err)
		c->due |= KD_RESPONSE;
	else if (err == ETIMEDOUT)
		c->state = KS_SILENT;
	else
		ksock_fail(c);
}

static void check_connected(struct ksock_conn *c)
{
	if (c->state == KS_CONNECTING && c->flags & KF_EVENT && !c->due)
		connect_done(c);
}

/*
 * Checks whether the peer has stopped receiving: a sender learns it from its next send, others only
 * if they ask.
 */
static void probe(struct ksock_conn *c)
{
	c->flags &= (uint16_t)~KF_PROBE;
	if (c->peer_shut & VSOCK_SHUTDOWN_RCV || c->done_shut & VSOCK_SHUTDOWN_SEND ||
	    !STAILQ_EMPTY(&c->out) || c->sender)
		return;
	if (!c->q->dev->net->peer_receives(c->fd))
		ksock_peer_shut(c, c->want_shut & VSOCK_SHUTDOWN_RCV ? VSOCK_SHUTDOWN_BOTH
								     : VSOCK_SHUTDOWN_RCV);
}

/* 1: a packet of @c; 0: it has none; -1: none now, for lack of a buffer. */
static int next_packet(struct ksock_conn *c, struct rx_pkt *pkt, unsigned at)
{
	int got;

	check_connected(c);
	if (c->due & KD_REQUEST)
		return emit_ctrl(c, pkt, VSOCK_OP_REQUEST, KD_REQUEST);
	if (c->due & KD_RST)
		return emit_ctrl(c, pkt, VSOCK_OP_RST, KD_RST);
	if (c->due & KD_RESPONSE) {
		c->state = KS_OPEN;
		return emit_ctrl(c, pkt, VSOCK_OP_RESPONSE, KD_RESPONSE);
	}
	if (c->state != KS_OPEN)
		return 0;
	if (c->due & KD_CREDIT)
		return emit_ctrl(c, pkt, VSOCK_OP_CREDIT_UPDATE, KD_CREDIT);
	got = fetch(c, pkt, at);
	if (got)
		return got;
	if (c->due & KD_RST)
		return emit_ctrl(c, pkt, VSOCK_OP_RST, KD_RST);
	if (c->flags & KF_PROBE)
		probe(c);
	if (c->due & KD_SHUTDOWN) /* of the peer's sending: ended() has come behind all bytes */
		return emit_ctrl(c, pkt, VSOCK_OP_SHUTDOWN, KD_SHUTDOWN);
	return 0;
}

/*
 * The layer is about to be told of the connection, and must be told first what was granted for it.
 */
static bool begins(struct ksock_conn *c)
{
	check_connected(c);
	return c != c->q->ctrl.c && c->due & (KD_REQUEST | KD_RESPONSE);
}

/*
 * Passes on all messages of the host on the control connection. False: some are left, for lack of
 * room or credit.
 */
static bool take_grants(struct ksock_queue *q, struct rx_pkt *pkts, unsigned *out, unsigned max)
{
	struct ksock_conn *c = q->ctrl.c;
	int got = 0;

	if (c->state != KS_OPEN || c->due & KD_RST)
		return true;
	do {
		if (*out == max)
			return false;
		c->flags |= KF_READABLE; /* grants arrive there before their connections */
		got = next_packet(c, &pkts[*out], *out);
		if (got > 0 && pkts[(*out)++].hdr.op == VSOCK_OP_RST) {
			ksock_drop(c);
			return true;
		}
	} while (got > 0);
	return got == 0 && !(c->flags & KF_READABLE);
}

int ksock_rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	struct ksock_queue *q = ksock_queue_of(tq);
	struct ksock_conn *c, *stop = NULL;
	unsigned out = 0;

	max = max < KSOCK_BURST ? max : KSOCK_BURST;
	if (TAILQ_EMPTY(&q->ready) || ++q->bursts >= POLL_EVERY)
		poll_events(q);
	if (q->ctrl.up && q->ctrl.ports != __atomic_load_n(&q->dev->ports, __ATOMIC_RELAXED))
		ksock_claim_ports(q);
	while (out < max && (c = TAILQ_FIRST(&q->ready)) && c != stop) {
		int got = -1;

		if (!q->ctrl.c || !begins(c) || take_grants(q, pkts, &out, max - 1))
			got = next_packet(c, &pkts[out], out);
		if (got > 0 && pkts[out++].hdr.op == VSOCK_OP_RST) {
			ksock_drop(c);
			continue;
		}
		TAILQ_REMOVE(&q->ready, c, ready_link);
		if (got) { /* one packet each: the others come first */
			TAILQ_INSERT_TAIL(&q->ready, c, ready_link);
			if (got < 0 && !stop)
				stop = c;
			/* The layer tells whether it has a channel before its bytes are read. */
			if (got > 0 && q->ctrl.c && pkts[out - 1].hdr.op == VSOCK_OP_RESPONSE)
				break;
		} else {
			c->flags &= (uint16_t)~KF_READY;
		}
	}
	return (int)out;
}

void ksock_rx_release(struct transport_queue *tq, uint32_t token)
{
	struct ksock_bufs *b = &ksock_queue_of(tq)->rx;

	if (token < b->n && b->nfree < b->n)
		b->free[b->nfree++] = token;
}

/* ---- notifications ---- */

int ksock_arm(struct transport_queue *tq, unsigned rx_space)
{
	struct ksock_queue *q = ksock_queue_of(tq);

	/* Events that are there already make the descriptor readable at once. */
	ksock_publish(tq);
	if (!TAILQ_EMPTY(&q->ready) || !TAILQ_EMPTY(&q->flush))
		return 1;
	return rx_space && ksock_tx_ready(tq) >= rx_space;
}

void ksock_disarm(struct transport_queue *tq, bool rung)
{
	(void)tq, (void)rung; /* events stay until they are looked at */
}
