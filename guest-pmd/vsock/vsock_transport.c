/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `vsock:` transport: a program in a guest, or on a host, over the kernel's AF_VSOCK. Any
 * number of processes may use it at once, because the kernel owns the ports.
 *
 * Without a region of shared memory it sends no HELLO (transport_ops.kernel_sockets): there is
 * nothing to negotiate. With one it has a control connection of its own: ksock_ctrl.h.
 */
#include "vsock_transport.h"

#include "ksock.h"
#include "ksock_ctrl.h"
#include "ksock_msg.h"
#include "ksock_region.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DRAIN_MS 200 /* how long close waits for what was sent before */

/* ---- queues ---- */

static size_t stride_of(uint32_t payload)
{
	return (payload + SHM_CACHE_LINE - 1) & ~(size_t)(SHM_CACHE_LINE - 1);
}

static int bufs_init(struct ksock_bufs *b, uint8_t *base, uint32_t n, uint32_t payload)
{
	*b = (struct ksock_bufs){.base = base,
				 .stride = stride_of(payload),
				 .payload = payload,
				 .n = n,
				 .nfree = n,
				 .free = malloc(n * sizeof(*b->free))};
	for (uint32_t i = 0; b->free && i < n; i++)
		b->free[i] = n - 1 - i;
	return b->free ? 0 : -ENOMEM;
}

/* Buffers of both directions; pages that are never used take no memory. */
static int buffers_init(struct ksock_queue *q, const struct zv_opts *o)
{
	size_t rx = stride_of(o->rx_buf) * o->ring_size, tx = stride_of(o->tx_buf) * o->ring_size;
	uint8_t *mem =
		mmap(NULL, rx + tx, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (mem == MAP_FAILED)
		return -ENOMEM;
	q->dev->mem_size = rx + tx;
	ret = bufs_init(&q->rx, mem, o->ring_size, o->rx_buf);
	if (ret == 0)
		ret = bufs_init(&q->tx, mem + rx, o->ring_size, o->tx_buf);
	q->piece = calloc(o->ring_size, sizeof(*q->piece));
	return q->piece ? ret : -ENOMEM;
}

static const struct transport_queue_ops queue_ops;
static const struct transport_ops channel_ops;

static int queue_init(struct ksock_dev *dev, struct ksock_queue *q, const struct zv_opts *o)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = KSOCK_WAKE_TAG};
	uint64_t seed = 0;
	int ret;

	q->tq.ops = &queue_ops;
	q->tq.up = q->tq.session = 1;
	q->tq.rx_descs = q->tq.tx_descs = o->ring_size;
	q->tq.stats.sessions = 1;
	q->dev = dev;
	TAILQ_INIT(&q->ready);
	TAILQ_INIT(&q->flush);
	TAILQ_INIT(&q->stuck);
	LIST_INIT(&q->msg_events);
	pthread_mutex_init(&q->events_lock, NULL);
	q->epfd = q->wake_fd = q->look_fd = -1;
	dev->d.nqueues++; /* what free_dev() has to undo */
	ret = buffers_init(q, o);
	if (ret)
		return ret;
	(void)!getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
	/* As the layer's table; and those whose RST it has not seen. */
	ret = conn_table_init(&q->conns, 2 * o->max_conns + o->ring_size, seed, 0, 1, 1, 1);
	if (ret)
		return ret;
	q->epfd = epoll_create1(EPOLL_CLOEXEC);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->epfd < 0 || q->wake_fd < 0 || epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->wake_fd, &ev) < 0)
		return -errno;
	return 0;
}

static void queue_free(struct ksock_queue *q)
{
	if (q->rx.base) /* of those that there are: NOLINT(clang-analyzer-core.*) */
		munmap(q->rx.base, q->dev->mem_size);
	if (q->epfd >= 0)
		close(q->epfd);
	if (q->wake_fd >= 0)
		close(q->wake_fd);
	if (q->look_fd >= 0)
		close(q->look_fd);
	free(q->rx.free);
	free(q->tx.free);
	free(q->piece);
	free(q->long_msg);
	conn_table_fini(&q->conns);
	pthread_mutex_destroy(&q->events_lock);
}

/* ---- the device ---- */

static void free_dev(struct ksock_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		queue_free(&dev->q[i]);
	if (dev->spare >= 0)
		close(dev->spare);
	own_region_release(&dev->own);
	pthread_mutex_destroy(&dev->lock);
	pthread_cond_destroy(&dev->ended);
	free(dev->q);
	free(dev);
}

int ksock_open(struct transport_dev **out, const struct ksock_net *net, struct own_region *own,
	       const struct zv_opts *opts)
{
	struct ksock_dev *dev;
	uint64_t cid = 0;
	int ret = net->own_cid(&cid);

	dev = ret ? NULL : calloc(1, sizeof(*dev));
	if (!dev) {
		own_region_release(own);
		return ret ? ret : zv_err(-ENOMEM, "vsock: no memory for the device");
	}
	dev->d.end = END_SILENT; /* a VMM does not tell the kernel's driver either */
	dev->d.ops = own->map ? &channel_ops : &vsock_transport_ops;
	dev->own = *own;
	dev->net = net;
	dev->cid = cid;
	dev->buf_alloc = opts->buf_alloc;
	dev->connect_timeout_ns = opts->connect_timeout_ns;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_cond_init(&dev->ended, NULL);
	dev->spare = eventfd(0, EFD_CLOEXEC);
	ret = dev->spare < 0 ? -errno : 0;
	dev->q = aligned_alloc(SHM_CACHE_LINE, opts->queues * sizeof(*dev->q));
	if (!dev->q)
		ret = -ENOMEM;
	else
		memset(dev->q, 0, opts->queues * sizeof(*dev->q));
	for (unsigned i = 0; i < opts->queues && ret == 0; i++)
		ret = queue_init(dev, &dev->q[i], opts);
	if (ret) {
		free_dev(dev);
		return zv_err(ret,
			      "vsock: cannot set up %u queues with 2 x %u buffers: %s; fewer "
			      "queues, smaller rings or smaller buffers take less",
			      opts->queues, opts->ring_size, strerror(-ret));
	}
	*out = &dev->d;
	return 0;
}

/* True: the kernel does not have all that was sent before its connection was closed. */
static bool drain_some(struct ksock_dev *dev)
{
	bool left = false;

	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		struct ksock_conn *c;
		uint32_t pos = 0;

		while ((c = (struct ksock_conn *)conn_table_next(&dev->q[i].conns, &pos))) {
			if (c->want_shut != VSOCK_SHUTDOWN_BOTH || c->due & KD_RST)
				continue;
			ksock_unstick(c);
			ksock_flush(c);
			left |= !STAILQ_EMPTY(&c->out) || ksock_msg_busy(c);
		}
	}
	return left;
}

void ksock_close(struct transport_dev *d)
{
	struct ksock_dev *dev = (struct ksock_dev *)d;
	struct timespec ms = {.tv_nsec = 1000000};
	struct ksock_listener *l;
	struct ksock_conn *c;

	for (unsigned i = 0; i < DRAIN_MS && drain_some(dev); i++)
		(void)nanosleep(&ms, NULL);
	for (unsigned i = 0; i < d->nqueues; i++) {
		struct ksock_conn *ctrl = dev->q[i].ctrl.c; /* last: its end takes channels back */
		uint32_t pos = 0;

		while ((c = (struct ksock_conn *)conn_table_next(&dev->q[i].conns, &pos)))
			if (c != ctrl)
				ksock_drop(c);
		if (ctrl)
			ksock_drop(ctrl);
	}
	ksock_msg_wait(dev);
	while ((l = dev->listeners)) {
		dev->listeners = l->next;
		close(l->fd);
		free(l);
	}
	while ((l = dev->gone)) {
		dev->gone = l->next;
		free(l);
	}
	free_dev(dev);
}

uint64_t ksock_guest_cid(struct transport_dev *d)
{
	return ((struct ksock_dev *)d)->cid;
}

uint64_t ksock_page_size(struct transport_dev *d)
{
	(void)d;
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

struct transport_queue *ksock_queue(struct transport_dev *d, unsigned i)
{
	return &((struct ksock_dev *)d)->q[i].tq;
}

int ksock_fd(struct transport_queue *tq)
{
	return ksock_queue_of(tq)->epfd;
}

/* ---- ports ---- */

/* A listening socket; or -errno, with text. */
static int listen_socket(struct ksock_dev *dev, uint32_t port, unsigned type, unsigned backlog)
{
	int fd = dev->net->socket(type == ZV_STREAM ? SOCK_STREAM : SOCK_SEQPACKET), ret;

	if (fd < 0)
		return zv_err(fd, "vsock: cannot make a socket to listen on port %u: %s", port,
			      strerror(-fd));
	ret = dev->net->bind(fd, port);
	if (ret == 0 && dev->buf_alloc != KSOCK_BUFFER)
		dev->net->set_buffer(fd, dev->buf_alloc); /* what connections begin with */
	if (ret == 0 && listen(fd, backlog < INT_MAX ? (int)backlog : INT_MAX) < 0)
		ret = -errno;
	if (ret == 0)
		return fd;
	close(fd);
	if (ret == -EADDRINUSE)
		return zv_err(ret,
			      "vsock: port %u is taken on this machine: see who listens there "
			      "(ss --vsock -l), or listen on another",
			      port);
	if (ret == -EACCES || ret == -EPERM)
		return zv_err(ret,
			      "vsock: port %u needs privilege: ports below 1024 take "
			      "CAP_NET_BIND_SERVICE",
			      port);
	return zv_err(ret, "vsock: cannot listen on port %u: %s", port, strerror(-ret));
}

/* All queues watch it: whichever polls first accepts. */
static int watch(struct ksock_dev *dev, const struct ksock_listener *l)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = ksock_listener_tag(l->port)};

	for (unsigned i = 0; i < dev->d.nqueues; i++)
		if (epoll_ctl(dev->q[i].epfd, EPOLL_CTL_ADD, l->fd, &ev) < 0)
			return zv_err(-errno, "vsock: cannot wait for connections to port %u: %s",
				      l->port, strerror(errno));
	return 0;
}

int ksock_listen(struct transport_dev *d, uint32_t port, unsigned type, unsigned backlog)
{
	struct ksock_dev *dev = (struct ksock_dev *)d;
	struct ksock_listener *l;
	int ret;

	if (type == VSOCK_TYPE_DGRAM)
		return zv_err(-EOPNOTSUPP, "vsock: carries no datagrams");
	if (port == ZV_PORT_ANY)
		return zv_err(-EOPNOTSUPP, "vsock: programs share this machine's ports: listen on "
					   "each one that is wanted");
	l = calloc(1, sizeof(*l));
	if (!l)
		return zv_err(-ENOMEM, "vsock: no memory to listen on port %u", port);
	l->port = port;
	l->type = (uint16_t)type;
	l->fd = listen_socket(dev, port, type, backlog);
	ret = l->fd < 0 ? l->fd : 0;
	if (ret == 0) {
		pthread_mutex_lock(&dev->lock);
		l->next = dev->listeners;
		dev->listeners = l;
		ksock_ports_changed(dev);
		pthread_mutex_unlock(&dev->lock);
		ret = watch(dev, l);
		if (ret)
			ksock_unlisten(d, port, type);
		return ret;
	}
	free(l);
	return ret;
}

void ksock_unlisten(struct transport_dev *d, uint32_t port, unsigned type)
{
	struct ksock_dev *dev = (struct ksock_dev *)d;
	struct ksock_listener **at, *l;

	(void)type; /* no datagrams: each port has one */
	pthread_mutex_lock(&dev->lock);
	for (at = &dev->listeners; (l = *at) && l->port != port; at = &l->next)
		;
	if (l) {
		*at = l->next;
		close(l->fd); /* and out of the epoll sets */
		if (l->claimed) {
			l->next = dev->gone;
			dev->gone = l;
		} else {
			free(l);
		}
		ksock_ports_changed(dev);
	}
	pthread_mutex_unlock(&dev->lock);
}

static int vsock_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct own_region own = {.fd = -1};
	const char *which;
	char *names;
	int ret = own_region_option("vsock", rest, &names, &which);

	if (ret)
		return ret;
	if (*names)
		ret = zv_err(-EINVAL, "vsock: '%s': nothing may follow vsock: but region=...",
			     rest);
	else
		ret = own_region_find(&own, "vsock", which, opts, NULL);
	free(names);
	return ret ? ret : ksock_open(out, &ksock_net_vsock, &own, opts);
}

/* ---- regions ---- */

static int ksock_offer(struct transport_dev *d, unsigned queue, struct ctrl_offer *out)
{
	(void)queue;
	return own_region_offer(&((struct ksock_dev *)d)->own, out);
}

static void ksock_forget(struct transport_dev *d, unsigned queue, uint64_t id)
{
	(void)d; /* a map goes with its last holder */
	(void)queue;
	(void)id;
}

/* ---- tables ---- */

static const struct transport_queue_ops queue_ops = {
	.rx_burst = ksock_rx_burst,
	.rx_release = ksock_rx_release,
	.connect = ksock_connect,
	.tx_reserve = ksock_tx_reserve,
	.tx_commit = ksock_tx_commit,
	.tx_cancel = ksock_tx_cancel,
	.publish = ksock_publish,
	.tx_max = ksock_tx_max,
	.tx_ready = ksock_tx_ready,
	.arm = ksock_arm,
	.disarm = ksock_disarm,
};

/* spin_ns is the minimum: each look is a system call, and the kernel has to do the work. */
#define DEVICE                                                                                     \
	.scheme = "vsock", .role = ZV_ROLE_GUEST, .kernel_sockets = true, .spin_ns = 1,            \
	.open = vsock_open, .close = ksock_close, .guest_cid = ksock_guest_cid,                    \
	.page_size = ksock_page_size, .queue = ksock_queue, .listen = ksock_listen,                \
	.unlisten = ksock_unlisten, .fd = ksock_fd

static const struct transport_region_ops region_ops = {
	.offer = ksock_offer,
	.map = ksock_region_map,
	.forget = ksock_forget,
};

const struct transport_ops vsock_transport_ops = {DEVICE};
/* Of a device with a region. */
static const struct transport_ops channel_ops = {DEVICE, .regions = &region_ops};
