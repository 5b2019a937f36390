/* SPDX-License-Identifier: BSD-3-Clause */
#include "ksock_ctrl.h"

#include "proto/ctrl/ctrl_msg.h"
#include "proto/ctrl/hello.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOW_PORT   512u /* to ZV_CTRL_SRC_LIMIT: as rresvport(3) has it, services are below */
#define PORT_TRIES 64u

/* ---- the connection ---- */

/* Makes a socket with a privileged port. A descriptor or -errno. */
static int low_socket(const struct ksock_net *net)
{
	const uint32_t ports = ZV_CTRL_SRC_LIMIT - LOW_PORT;
	int fd = net->socket(SOCK_STREAM), ret = -EADDRINUSE;
	uint32_t first = 0;

	if (fd < 0)
		return fd;
	(void)!getrandom(&first, sizeof(first), GRND_NONBLOCK);
	for (uint32_t i = 0; i < PORT_TRIES && ret == -EADDRINUSE; i++)
		ret = net->bind(fd, LOW_PORT + (first % ports + i) % ports);
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

static int connect_ctrl(const struct ksock_net *net)
{
	int fd = low_socket(net), ret;

	if (fd == -EACCES || fd == -EPERM)
		zv_log(ZV_LOG_INFO,
		       "vsock: no channels, payload goes through the kernel: the control "
		       "connection takes a port below 1024: give the program the capability "
		       "CAP_NET_BIND_SERVICE (setcap cap_net_bind_service+ep)");
	else if (fd < 0)
		zv_log(ZV_LOG_INFO,
		       "vsock: no channels, payload goes through the kernel: no socket with a port "
		       "below 1024 for the control connection: %s",
		       strerror(-fd));
	if (fd < 0)
		return fd;
	ret = net->connect(fd, VSOCK_CID_HOST, ZV_PROC_PORT);
	if (ret == 0 || ret == -EINPROGRESS)
		return fd;
	close(fd);
	return ret;
}

void ksock_ctrl_connect(struct ksock_queue *q, const struct vsock_hdr *h)
{
	const struct conn_key key = {h->dst_cid, h->dst_port, h->src_port};
	int fd = connect_ctrl(q->dev->net);
	struct ksock_conn *c = ksock_new(q, fd, &key, VSOCK_TYPE_STREAM, KS_CONNECTING);

	if (!c)
		return; /* the layer does not wait long */
	c->buf_alloc = h->buf_alloc;
	c->fwd_cnt = h->fwd_cnt;
	if (fd < 0)
		ksock_fail(c);
	else
		q->ctrl.c = c;
}

void ksock_ctrl_on_send(struct ksock_queue *q, const uint8_t *data, uint32_t len)
{
	struct ctrl_msg m;

	if (q->ctrl.up || ctrl_msg_get(&m, data, len) <= 0 || m.type != CTRL_REGION_ACK ||
	    m.region_ack.result)
		return;
	q->ctrl.up = true;
	q->ctrl.ports = __atomic_load_n(&q->dev->ports, __ATOMIC_RELAXED) - 1;
}

static void forget_ports(struct ksock_dev *dev)
{
	struct ksock_listener *l;

	pthread_mutex_lock(&dev->lock);
	for (l = dev->listeners; l; l = l->next)
		l->claimed = false;
	while ((l = dev->gone)) {
		dev->gone = l->next;
		free(l);
	}
	pthread_mutex_unlock(&dev->lock);
}

void ksock_ctrl_lost(struct ksock_queue *q)
{
	struct ksock_conn *c;
	uint32_t pos = 0;

	if (q->ctrl.up && q->dev->d.nqueues == 1)
		forget_ports(q->dev);
	q->ctrl = (struct ksock_ctrl){0};
	while ((c = (struct ksock_conn *)conn_table_next(&q->conns, &pos)))
		if (c->flags & KF_CHAN)
			ksock_fail(c);
}

/* ---- sending claims ---- */

bool ksock_ctrl_flush(struct ksock_queue *q)
{
	struct ksock_ctrl *k = &q->ctrl;

	while (k->at < k->len) {
		ssize_t n = send(k->c->fd, k->rest + k->at, k->len - k->at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			k->at = k->len; /* the peer is gone; receiving will tell */
			return true;
		}
		if (n <= 0)
			return false;
		k->at += (uint32_t)n;
	}
	k->at = k->len = 0;
	return true;
}

/* All that was said is with the kernel. */
static bool is_clear(struct ksock_queue *q)
{
	struct ksock_conn *c = q->ctrl.c;

	if (!q->ctrl.up || c->due & KD_RST || c->want_shut || c->flags & KF_STUCK)
		return false;
	if (!STAILQ_EMPTY(&c->out))
		ksock_flush(c);
	return !q->ctrl.len && STAILQ_EMPTY(&c->out) && !(c->flags & KF_STUCK);
}

/* Queued after what waits already; there is always room: see ksock_claim(). */
static void put_queued(struct ksock_ctrl *k, const uint8_t *data, uint32_t len)
{
	if (k->len + len > sizeof(k->rest)) {
		ksock_fail(k->c);
		return;
	}
	memcpy(k->rest + k->len, data, len);
	k->len += len;
	ksock_stick(k->c);
}

/* What has become of a claim. */
enum put { NOT_SENT, SENT_IN_PART, SENT };

/* The rest of one that is sent in part is sent later; is_clear(), or this is @needed. */
static enum put put_claim(struct ksock_queue *q, const struct ctrl_claim *claim, bool needed)
{
	const struct ctrl_msg m = {.type = CTRL_CLAIM, .claim = *claim};
	struct ksock_ctrl *k = &q->ctrl;
	uint8_t wire[CTRL_MSG_MAX];
	uint32_t len = ctrl_msg_put(wire, &m);
	ssize_t n = 0;

	if (!k->len)
		n = send(k->c->fd, wire, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == (ssize_t)len)
		return SENT;
	if (n < 0)
		n = 0;
	if (n || needed)
		put_queued(k, wire + n, len - (uint32_t)n);
	return n ? SENT_IN_PART : NOT_SENT;
}

static struct ctrl_claim of_connection(const struct vsock_hdr *h, enum ctrl_claim_what what)
{
	return (struct ctrl_claim){.port = h->src_port,
				   .peer_port = h->dst_port,
				   .peer_cid = h->dst_cid,
				   .type = h->type,
				   .what = (uint16_t)what};
}

bool ksock_claim(struct ksock_queue *q, const struct vsock_hdr *h)
{
	const struct ctrl_claim claim = of_connection(h, CTRL_CLAIM_CONNECT);
	enum put got = is_clear(q) ? put_claim(q, &claim, false) : NOT_SENT;

	if (got == SENT_IN_PART) /* it would come after the connection, and apply to another */
		ksock_unclaim(q, h);
	return got == SENT;
}

void ksock_unclaim(struct ksock_queue *q, const struct vsock_hdr *h)
{
	const struct ctrl_claim claim = of_connection(h, CTRL_CLAIM_NO_CONNECT);

	(void)put_claim(q, &claim, true);
}

/* ---- ports ---- */

static bool claim_port(struct ksock_queue *q, const struct ksock_listener *l,
		       enum ctrl_claim_what what)
{
	const struct ctrl_claim claim = {.port = l->port, .type = l->type, .what = (uint16_t)what};

	return is_clear(q) && put_claim(q, &claim, false) != NOT_SENT;
}

/* Closed ones first: a port may have been opened again. */
static bool claim_changes(struct ksock_queue *q)
{
	struct ksock_dev *dev = q->dev;
	struct ksock_listener *l;

	while ((l = dev->gone)) {
		if (!claim_port(q, l, CTRL_CLAIM_NO_LISTEN))
			return false;
		dev->gone = l->next;
		free(l);
	}
	for (l = dev->listeners; l; l = l->next) {
		if (l->claimed)
			continue;
		if (!claim_port(q, l, CTRL_CLAIM_LISTEN))
			return false;
		l->claimed = true;
	}
	return true;
}

void ksock_claim_ports(struct ksock_queue *q)
{
	struct ksock_dev *dev = q->dev;

	if (dev->d.nqueues > 1 || q->ctrl.c->flags & KF_STUCK)
		return;
	pthread_mutex_lock(&dev->lock);
	if (claim_changes(q))
		q->ctrl.ports = dev->ports;
	pthread_mutex_unlock(&dev->lock);
}

void ksock_ports_changed(struct ksock_dev *dev)
{
	const uint64_t one = 1;

	__atomic_store_n(&dev->ports, dev->ports + 1, __ATOMIC_RELAXED);
	if (dev->own.map && dev->d.nqueues == 1)
		(void)!write(dev->q[0].wake_fd, &one, sizeof(one));
}
