/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections: made by either side, and their end. */
#include "ksock.h"
#include "ksock_ctrl.h"
#include "ksock_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_MAX 16 /* in one go, of a device with one queue */

/* ---- lists ---- */

void ksock_ready(struct ksock_conn *c)
{
	if (c->flags & KF_READY)
		return;
	c->flags |= KF_READY;
	TAILQ_INSERT_TAIL(&c->q->ready, c, ready_link);
}

void ksock_flush_later(struct ksock_conn *c)
{
	if (c->flags & KF_FLUSH)
		return;
	c->flags |= KF_FLUSH;
	TAILQ_INSERT_TAIL(&c->q->flush, c, flush_link);
}

void ksock_stick(struct ksock_conn *c)
{
	if (c->flags & KF_STUCK)
		return;
	c->flags |= KF_STUCK;
	TAILQ_INSERT_TAIL(&c->q->stuck, c, stuck_link);
}

void ksock_unstick(struct ksock_conn *c)
{
	if (c->flags & KF_STUCK)
		TAILQ_REMOVE(&c->q->stuck, c, stuck_link);
	c->flags &= (uint16_t)~KF_STUCK;
}

/* ---- beginning ---- */

struct ksock_conn *ksock_new(struct ksock_queue *q, int fd, const struct conn_key *key,
			     unsigned type, enum ksock_state state)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	struct ksock_conn *c = calloc(1, sizeof(*c));

	if (!c)
		goto fail;
	c->node.key = *key;
	c->q = q;
	c->fd = fd;
	c->type = (uint16_t)type;
	c->state = (uint8_t)state;
	STAILQ_INIT(&c->out);
	if (conn_table_insert(&q->conns, &c->node))
		goto fail;
	ev.data.ptr = c;
	if (fd < 0 || epoll_ctl(q->epfd, EPOLL_CTL_ADD, fd, &ev) == 0)
		return c;
	conn_table_remove(&q->conns, &c->node);
fail:
	free(c);
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* A socket bound to the port of @h; or -errno, with text unless the port is taken. */
static int bound_socket(struct ksock_dev *dev, const struct vsock_hdr *h)
{
	const struct ksock_net *net = dev->net;
	int fd = net->socket(h->type == VSOCK_TYPE_STREAM ? SOCK_STREAM : SOCK_SEQPACKET), ret;

	if (fd < 0)
		return zv_err(fd, "vsock: cannot make a socket for the connection: %s",
			      strerror(-fd));
	ret = net->bind(fd, h->src_port);
	if (ret) {
		close(fd);
		return ret == -EADDRINUSE ? ret
					  : zv_err(ret, "vsock: cannot bind local port %u: %s",
						   h->src_port, strerror(-ret));
	}
	if (h->buf_alloc != KSOCK_BUFFER)
		net->set_buffer(fd, h->buf_alloc);
	if (dev->connect_timeout_ns > KSOCK_CONNECT_NS)
		net->set_connect_timeout(fd, dev->connect_timeout_ns);
	return fd;
}

/* An immediate refusal is handled like a late one. */
static bool is_refusal(int err)
{
	return err == -ECONNREFUSED || err == -ECONNRESET || err == -EAGAIN;
}

int ksock_connect(struct transport_queue *tq, const struct vsock_hdr *h)
{
	struct ksock_queue *q = ksock_queue_of(tq);
	const struct conn_key key = {h->dst_cid, h->dst_port, h->src_port};
	struct ksock_conn *c;
	bool claimed;
	int fd, ret;

	if (h->dst_cid >= VSOCK_CID_ANY32)
		return zv_err(-EHOSTUNREACH, "vsock: CID %llu is nobody's",
			      (unsigned long long)h->dst_cid);
	fd = bound_socket(q->dev, h);
	if (fd < 0)
		return fd;
	claimed = ksock_claim(q, h);
	ret = q->dev->net->connect(fd, (uint32_t)h->dst_cid, h->dst_port);
	if (claimed && ret && ret != -EINPROGRESS)
		ksock_unclaim(q, h);
	if (ret && ret != -EINPROGRESS && !is_refusal(ret)) {
		close(fd);
		return zv_err(ret == -ENODEV || ret == -ENETUNREACH ? -EHOSTUNREACH : ret,
			      "vsock: this kernel cannot reach CID %llu: %s",
			      (unsigned long long)h->dst_cid, strerror(-ret));
	}
	c = ksock_new(q, fd, &key, h->type, KS_CONNECTING);
	if (!c)
		return zv_err(-ENOMEM, "vsock: no memory for the connection");
	c->buf_alloc = h->buf_alloc;
	c->due = is_refusal(ret) ? KD_RST : ret == 0 ? KD_RESPONSE : 0;
	if (c->due)
		ksock_ready(c);
	return 0;
}

/* ---- accepting ---- */

static struct ksock_listener *find_listener(struct ksock_dev *dev, uint32_t port)
{
	struct ksock_listener *l = dev->listeners;

	while (l && l->port != port)
		l = l->next;
	return l;
}

/*
 * No descriptor is left for a waiting connection, and the port would stay readable: refuses the
 * connection with the help of the spare descriptor.
 */
static void refuse_one(struct ksock_dev *dev, int listen_fd)
{
	uint32_t cid, port;
	int fd;

	if (dev->spare >= 0)
		close(dev->spare);
	fd = dev->net->accept(listen_fd, &cid, &port);
	if (fd >= 0)
		close(fd);
	dev->spare = eventfd(0, EFD_CLOEXEC);
}

static bool accept_one(struct ksock_queue *q, struct ksock_listener *l)
{
	struct ksock_dev *dev = q->dev;
	struct ksock_conn *c;
	uint32_t cid, port;
	int fd = dev->net->accept(l->fd, &cid, &port);

	if (fd == -EMFILE || fd == -ENFILE) {
		zv_log_limited(&q->tq.log, ZV_LOG_ERR,
			       "vsock: a connection to port %u is refused: %s", l->port,
			       strerror(-fd));
		refuse_one(dev, l->fd);
	}
	if (fd < 0)
		return false;
	c = ksock_new(q, fd, &(struct conn_key){cid, port, l->port}, l->type, KS_REQUESTED);
	if (!c) {
		zv_log_limited(&q->tq.log, ZV_LOG_ERR,
			       "vsock: a connection to port %u is refused: no memory", l->port);
		return true;
	}
	c->due = KD_REQUEST;
	ksock_ready(c);
	return true;
}

/* One at a time if there are several queues, so that the first one to poll does not get all. */
void ksock_accept(struct ksock_queue *q, uint32_t port)
{
	struct ksock_dev *dev = q->dev;
	struct ksock_listener *l;

	pthread_mutex_lock(&dev->lock);
	l = find_listener(dev, port); /* it may be gone: the event was there before */
	for (int i = dev->d.nqueues > 1 ? 1 : ACCEPT_MAX; l && i && accept_one(q, l); i--)
		;
	pthread_mutex_unlock(&dev->lock);
}

/* ---- the end ---- */

void ksock_fail(struct ksock_conn *c)
{
	c->due = (c->due & KD_REQUEST) | KD_RST;
	ksock_ready(c);
}

void ksock_peer_shut(struct ksock_conn *c, unsigned shut)
{
	if ((c->peer_shut | shut) == c->peer_shut)
		return;
	c->peer_shut |= (uint8_t)shut;
	c->due |= KD_SHUTDOWN;
	ksock_ready(c);
}

void ksock_drop(struct ksock_conn *c)
{
	struct ksock_queue *q = c->q;

	if (q->last == c)
		q->last = NULL;
	conn_table_remove(&q->conns, &c->node);
	if (q->ctrl.c == c)
		ksock_ctrl_lost(q);
	if (c->flags & KF_READY)
		TAILQ_REMOVE(&q->ready, c, ready_link);
	if (c->flags & KF_FLUSH)
		TAILQ_REMOVE(&q->flush, c, flush_link);
	ksock_unstick(c);
	ksock_out_drop(c);
	free(c->held.data);
	free(c->msg.data);
	if (c->sender) {
		(void)epoll_ctl(q->epfd, EPOLL_CTL_DEL, c->fd, NULL);
		ksock_msg_leave(c);
	} else if (c->fd >= 0) {
		close(c->fd);
	}
	free(c);
}
