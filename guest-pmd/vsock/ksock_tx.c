/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes what the layer commits, and sends it to the kernel. */
#include "ksock.h"
#include "ksock_ctrl.h"
#include "ksock_msg.h"
#include "proto/ctrl/hello.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define IOV_PIECES_MAX 64 /* pieces of one sendmsg */

/* ---- pieces ---- */

static void piece_free(struct ksock_queue *q, struct ksock_piece *p)
{
	if (p->token == KSOCK_NONE)
		free(p);
	else
		q->tx.free[q->tx.nfree++] = p->token;
}

void ksock_out_drop(struct ksock_conn *c)
{
	struct ksock_piece *p;

	while ((p = STAILQ_FIRST(&c->out))) {
		STAILQ_REMOVE_HEAD(&c->out, link);
		piece_free(c->q, p);
	}
}

/* Moves what @c has in transmit buffers to private memory. Without memory it stays there. */
static void spill(struct ksock_conn *c)
{
	struct ksock_pieces before = STAILQ_HEAD_INITIALIZER(before);
	struct ksock_piece *p, *heap;
	size_t bytes = 0;

	while ((p = STAILQ_FIRST(&c->out)) && p->token == KSOCK_NONE) {
		STAILQ_REMOVE_HEAD(&c->out, link);
		STAILQ_INSERT_TAIL(&before, p, link);
	}
	STAILQ_FOREACH(p, &c->out, link)
		bytes += p->len;
	heap = bytes ? malloc(sizeof(*heap) + bytes) : NULL;
	if (heap) {
		*heap = (struct ksock_piece){.data = (uint8_t *)(heap + 1), .token = KSOCK_NONE};
		STAILQ_FOREACH(p, &c->out, link) {
			memcpy(heap->data + heap->len, p->data, p->len);
			heap->len += p->len;
		}
		ksock_out_drop(c);
		STAILQ_INSERT_HEAD(&c->out, heap, link);
	}
	STAILQ_CONCAT(&before, &c->out);
	STAILQ_CONCAT(&c->out, &before);
}

/* Transmit buffers run short: frees those of connections whose peer does not read. */
static void spill_stuck(struct ksock_queue *q, uint32_t want)
{
	struct ksock_conn *c;

	TAILQ_FOREACH(c, &q->stuck, stuck_link) {
		if (q->tx.nfree >= want)
			break;
		spill(c);
	}
}

/* ---- reserving ---- */

unsigned ksock_tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
			  uint32_t len, unsigned flags)
{
	struct ksock_queue *q = ksock_queue_of(tq);
	struct ksock_bufs *b = &q->tx;

	if (flags & TX_CTRL && !len) {
		for (unsigned i = 0; i < n; i++)
			slots[i] = (struct tx_slot){.token = KSOCK_NONE};
		return n;
	}
	if (__builtin_expect(b->nfree < n, 0))
		spill_stuck(q, n);
	n = n < b->nfree ? n : b->nfree;
	for (unsigned i = 0; i < n; i++) {
		uint32_t id = b->free[--b->nfree];

		slots[i] = (struct tx_slot){b->base + id * b->stride, b->payload, id};
	}
	return n;
}

void ksock_tx_cancel(struct transport_queue *tq, uint32_t token)
{
	struct ksock_bufs *b = &ksock_queue_of(tq)->tx;

	if (token < b->n && b->nfree < b->n)
		b->free[b->nfree++] = token;
}

unsigned ksock_tx_max(struct transport_queue *tq)
{
	return ksock_queue_of(tq)->tx.n;
}

unsigned ksock_tx_ready(struct transport_queue *tq)
{
	struct ksock_queue *q = ksock_queue_of(tq);

	spill_stuck(q, q->tx.n / 2);
	return q->tx.nfree;
}

/* ---- committing ---- */

static struct ksock_conn *find(struct ksock_queue *q, const struct vsock_hdr *h)
{
	const struct conn_key key = {h->dst_cid, h->dst_port, h->src_port};
	struct ksock_conn *c = q->last;

	if (c && c->node.key.local_port == key.local_port &&
	    c->node.key.peer_port == key.peer_port && c->node.key.cid == key.cid)
		return c;
	c = (struct ksock_conn *)conn_table_find(&q->conns, &key);
	q->last = c;
	return c;
}

/* No credit: the payload goes through a channel. The first such packet is no wake-up. */
static void on_channel(struct ksock_conn *c, const struct vsock_hdr *h)
{
	/* Nothing waits for room: the peer's reading of wake-ups need not wake this side. */
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};

	if (!(c->flags & KF_CHAN)) {
		c->flags |= KF_CHAN;
		if (c->fd >= 0)
			(void)epoll_ctl(c->q->epfd, EPOLL_CTL_MOD, c->fd, &ev);
		if (!c->q->ctrl.c) /* the host has taken the channel back already */
			ksock_fail(c);
	} else if (h->op == VSOCK_OP_CREDIT_UPDATE) {
		c->flags |= KF_WAKE;
		ksock_flush_later(c);
	}
}

/* Takes the layer's receive credit from each packet. */
static void take_credit(struct ksock_conn *c, const struct vsock_hdr *h)
{
	bool more = c->fwd_cnt + c->buf_alloc != h->fwd_cnt + h->buf_alloc;

	c->buf_alloc = h->buf_alloc;
	c->fwd_cnt = h->fwd_cnt;
	if (!h->buf_alloc)
		on_channel(c, h);
	if (more && c->state == KS_OPEN && (c->flags & KF_READABLE || c->held.data))
		ksock_ready(c);
}

static void commit_data(struct ksock_conn *c, uint32_t token, const struct vsock_hdr *h)
{
	struct ksock_queue *q = c->q;
	struct ksock_piece *p = &q->piece[token];

	c->tx_cnt += h->len;
	if (__builtin_expect(c == q->ctrl.c, 0))
		ksock_ctrl_on_send(q, q->tx.base + token * q->tx.stride, h->len);
	if (c->type == VSOCK_TYPE_SEQPACKET) {
		int ret = ksock_msg_add(c, q->tx.base + token * q->tx.stride, h->len,
					h->flags & VSOCK_SEQ_EOM, h->flags & VSOCK_SEQ_EOR);

		if (ret) {
			zv_log_limited(
				&q->tq.log, ZV_LOG_ERR,
				"vsock: a message to port %u of CID %llu cannot be sent: %s: "
				"connection reset",
				h->dst_port, (unsigned long long)h->dst_cid, strerror(-ret));
			ksock_fail(c);
		}
		ksock_tx_cancel(&q->tq, token);
		return;
	}
	p->data = q->tx.base + token * q->tx.stride;
	p->len = h->len;
	p->token = token;
	STAILQ_INSERT_TAIL(&c->out, p, link);
	if (!(c->flags & KF_STUCK))
		ksock_flush_later(c);
}

static void accepted(struct ksock_conn *c)
{
	if (c->state != KS_REQUESTED)
		return;
	if (c->buf_alloc &&
	    c->buf_alloc != c->q->dev->buf_alloc) /* as the port has it: ksock_listen() */
		c->q->dev->net->set_buffer(c->fd, c->buf_alloc);
	c->state = KS_OPEN;
	ksock_ready(c);
}

static void shut(struct ksock_conn *c, unsigned flags)
{
	c->want_shut |= (uint8_t)flags;
	if (c->flags & KF_CHAN && flags & VSOCK_SHUTDOWN_SEND)
		c->flags |= KF_WAKE; /* the end is in the channel */
	if (c->sender)
		ksock_msg_shutdown(c, c->want_shut);
	else if (!(c->flags & KF_STUCK))
		ksock_flush_later(c);
}

void ksock_tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h)
{
	struct ksock_queue *q = ksock_queue_of(tq);
	struct ksock_conn *c = find(q, h);

	/* A connection that is over: its RST is on the way to the layer. */
	if (__builtin_expect(!c || c->due & KD_RST, 0)) {
		if (c && h->op == VSOCK_OP_RST)
			ksock_drop(c);
		else if (!c && h->op == VSOCK_OP_REQUEST && h->dst_port == ZV_CTRL_PORT)
			ksock_ctrl_connect(q, h);
		ksock_tx_cancel(tq, token);
		return;
	}
	take_credit(c, h);
	if (h->op == VSOCK_OP_RW && token != KSOCK_NONE) {
		commit_data(c, token, h);
		return;
	}
	switch (h->op) {
	case VSOCK_OP_RESPONSE:
		accepted(c);
		break;
	case VSOCK_OP_SHUTDOWN:
		shut(c, h->flags);
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		c->due |= KD_CREDIT;
		ksock_ready(c);
		break;
	case VSOCK_OP_RST:
		ksock_drop(c);
		break;
	default:
		break;
	}
	ksock_tx_cancel(tq, token);
}

/* ---- sending ---- */

void ksock_taken(struct ksock_conn *c, uint32_t n)
{
	uint32_t unreported;

	c->tx_done += n;
	unreported = c->tx_done - c->tx_reported;
	/* A quarter of the window, or the layer believes the window to be full. */
	if (unreported >= KSOCK_GRANT / 4 ||
	    (unreported && c->tx_cnt - c->tx_reported >= KSOCK_GRANT)) {
		c->due |= KD_CREDIT;
		ksock_ready(c);
	}
}

void ksock_shut_done(struct ksock_conn *c, unsigned shut)
{
	c->done_shut |= (uint8_t)shut;
	if (c->done_shut == VSOCK_SHUTDOWN_BOTH)
		ksock_fail(c); /* nobody has anything to say any more: closed */
}

/* Passes on what the layer has shut down, once the kernel has all that was sent before. */
static void flush_shut(struct ksock_conn *c)
{
	static const int how[] = {0, SHUT_RD, SHUT_WR, SHUT_RDWR};
	unsigned todo = c->want_shut & ~c->done_shut & VSOCK_SHUTDOWN_BOTH;

	/* With a channel, a half is ended there: this socket could not wake any more. */
	if (c->flags & KF_CHAN && c->want_shut != VSOCK_SHUTDOWN_BOTH)
		return;
	if (!STAILQ_EMPTY(&c->out))
		todo &= VSOCK_SHUTDOWN_RCV;
	if (!todo || c->sender) /* ksock_msg_shutdown() */
		return;
	if ((c->done_shut | todo) == VSOCK_SHUTDOWN_BOTH) {
		close(c->fd); /* says the same, and takes it out of the epoll set */
		c->fd = -1;
	} else {
		(void)shutdown(c->fd, how[todo]); /* fails where the peer has closed: the same */
	}
	ksock_shut_done(c, todo);
}

/* @n bytes of the first pieces are with the kernel. */
static void sent(struct ksock_conn *c, size_t n)
{
	struct ksock_piece *p;

	ksock_taken(c, (uint32_t)n);
	while ((p = STAILQ_FIRST(&c->out)) && n >= p->len) {
		n -= p->len;
		STAILQ_REMOVE_HEAD(&c->out, link);
		piece_free(c->q, p);
	}
	if (p) {
		p->data += n;
		p->len -= (uint32_t)n;
	}
}

/* The kernel takes no more of @c: because of @err, or for now (EAGAIN). */
static void refused(struct ksock_conn *c, int err)
{
	if (err == EAGAIN) {
		ksock_stick(c);
		return;
	}
	ksock_out_drop(c);
	if (err == EPIPE || err == ENOTCONN) {
		ksock_taken(c, c->tx_cnt - c->tx_done); /* lost, as with every peer that hangs up */
		ksock_peer_shut(c, VSOCK_SHUTDOWN_RCV);
		c->flags |= KF_READABLE; /* the end may be there as well */
		ksock_ready(c);
	} else {
		ksock_fail(c);
	}
}

/* If there is no room for a wake-up, earlier ones have not been read. */
static void flush_wake(struct ksock_conn *c)
{
	c->flags &= (uint16_t)~KF_WAKE;
	(void)!send(c->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void ksock_flush(struct ksock_conn *c)
{
	if (c->flags & KF_WAKE)
		flush_wake(c);
	if (c == c->q->ctrl.c && !ksock_ctrl_flush(c->q)) {
		ksock_stick(c);
		return;
	}
	while (!STAILQ_EMPTY(&c->out)) {
		struct iovec iov[IOV_PIECES_MAX];
		struct msghdr m = {.msg_iov = iov};
		struct ksock_piece *p;
		size_t all = 0;
		ssize_t n;

		STAILQ_FOREACH(p, &c->out, link) {
			if (m.msg_iovlen == IOV_PIECES_MAX)
				break;
			iov[m.msg_iovlen++] = (struct iovec){p->data, p->len};
			all += p->len;
		}
		n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0)
			sent(c, (size_t)n);
		if (n < 0 || (size_t)n < all) {
			refused(c, n < 0 ? errno : EAGAIN);
			break;
		}
	}
	if (c->want_shut != c->done_shut)
		flush_shut(c);
}

void ksock_publish(struct transport_queue *tq)
{
	struct ksock_queue *q = ksock_queue_of(tq);
	struct ksock_conn *c;

	while ((c = TAILQ_FIRST(&q->flush))) {
		TAILQ_REMOVE(&q->flush, c, flush_link);
		c->flags &= (uint16_t)~KF_FLUSH;
		if (c->flags & KF_STUCK || c->due & KD_RST)
			continue;
		ksock_flush(c);
	}
}
