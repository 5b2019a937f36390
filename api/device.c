/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices and listeners.
 *
 * Listeners are device-wide but looked up by every queue's thread for each REQUEST. The table is a
 * hash of chains; zv_listen links at the head with a release store, readers follow with acquire
 * loads, no lock (barrier pair [L]). zv_unlisten unlinks, raises dev->listen_gen and leaves the
 * structure alone; each queue notices the new generation in its next poll, drops what waits in its
 * accept queue and counts itself in `acked` (under closed_lock, which no other data path takes). A
 * queue that nobody polls is counted by a device call that finds its owner outside the library and
 * nothing in that accept queue: only a poll could have put something there. When all queues have
 * been counted, nobody can hold a pointer any more, and the next device call frees it.
 */
#include "registry.h"
#include "socket.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- options ---- */

static int check_range(const char *name, uint64_t v, uint64_t lo, uint64_t hi)
{
	if (v >= lo && v <= hi)
		return 0;
	return zv_err(-EINVAL, "zv_open: option %s is %llu, must be %llu..%llu", name,
		      (unsigned long long)v, (unsigned long long)lo, (unsigned long long)hi);
}

/* The caller's structure may be newer, that is, larger than ours: what we do not know must be 0. */
static int check_unknown(const struct zv_opts *in)
{
	const unsigned char *p = (const unsigned char *)in;

	for (size_t i = sizeof(*in); i < in->size; i++)
		if (p[i])
			return zv_err(-EINVAL,
				      "zv_open: this library knows the first %zu bytes of struct "
				      "zv_opts, and there is more in it that is not 0: it is older "
				      "than the header that the program was built with",
				      sizeof(*in));
	return 0;
}

/* Enough for the first connection of each queue to get all of buf_alloc. */
static uint64_t default_rx_memory(const struct zv_opts *o)
{
	uint64_t least = (uint64_t)o->buf_alloc * ZV_RX_SHARE * o->queues;

	return least > 256u << 20 ? least : 256u << 20;
}

static int complete_opts(struct zv_opts *o, const struct zv_opts *in)
{
	const uint32_t flags = ZV_OPT_BUSY_POLL | ZV_OPT_NO_HUGE | ZV_OPT_NO_HELLO;
	int ret;

	memset(o, 0, sizeof(*o));
	if (in) {
		if (in->size < sizeof(in->size))
			return zv_err(-EINVAL,
				      "zv_open: zv_opts.size is not set: set it to sizeof(struct "
				      "zv_opts)");
		if ((ret = check_unknown(in)))
			return ret;
		memcpy(o, in, in->size < sizeof(*o) ? in->size : sizeof(*o));
	}
	if (o->flags & ~flags)
		return zv_err(-EINVAL, "zv_open: option flags has unknown bits 0x%x",
			      o->flags & ~flags);
	o->size = sizeof(*o);
#define DEFAULT(field, value) (o->field = o->field ? o->field : (value))
	DEFAULT(queues, 1);
	DEFAULT(ring_size, 256);
	DEFAULT(rx_buf, 65536);
	DEFAULT(tx_buf, 65536);
	DEFAULT(buf_alloc, 262144);
	DEFAULT(max_conns, 65536);
	DEFAULT(connect_timeout_ns, 2000000000u);
	DEFAULT(close_timeout_ns, 8000000000u);
	DEFAULT(hello_timeout_ns, 1000000000u);
	DEFAULT(spin_ns, 50000);
	DEFAULT(rx_memory, default_rx_memory(o));
#undef DEFAULT
	if ((ret = check_range("queues", o->queues, 1, ZV_QUEUES_MAX)) ||
	    (ret = check_range("ring_size", o->ring_size, 16, 32768)) ||
	    (ret = check_range("rx_buf", o->rx_buf, 64, 1u << 20)) ||
	    (ret = check_range("tx_buf", o->tx_buf, 64, 1u << 20)) ||
	    (ret = check_range("buf_alloc", o->buf_alloc, 4096, 1u << 30)) ||
	    (ret = check_range("max_conns", o->max_conns, 1, 1u << 24)))
		return ret;
	if (o->rx_memory < 65536)
		return zv_err(-EINVAL, "zv_open: option rx_memory is %llu, must be 65536 or more",
			      (unsigned long long)o->rx_memory);
	if (o->ring_size & (o->ring_size - 1))
		return zv_err(-EINVAL, "zv_open: option ring_size is %u, must be a power of two",
			      o->ring_size);
	return 0;
}

/* ---- open and close ---- */

/* A number from which no other queue counts, so that buffers of two queues are not mixed up. */
static uint64_t first_serial(unsigned i)
{
	uint64_t n;

	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		n = zv_now() << 16 | i << 8;
	return n & INT64_MAX; /* so that it never gets back to 0 */
}

static int queue_open(struct zv_dev *dev, unsigned i)
{
	struct zv_queue *q = aligned_alloc(SHM_CACHE_LINE, (sizeof(*q) + SHM_CACHE_LINE - 1) &
								   ~(size_t)(SHM_CACHE_LINE - 1));
	uint64_t seed;
	int ret;

	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->tq = dev->ops->queue(dev->t, i);
	q->dev = dev;
	q->index = i;
	q->host = dev->ops->role == ZV_ROLE_HOST;
	q->epfd = q->timerfd = -1;
	q->hello_by = UINT64_MAX;
	q->session = q->tq->session - 1; /* the first call starts this side's session */
	q->rx.free = q->tx.free = LOAN_NONE;
	q->rx.serial = q->tx.serial = first_serial(i);
	TAILQ_INIT(&q->ready);
	TAILQ_INIT(&q->ctrl);
	tx_sched_init(&q->sched);
	TAILQ_INIT(&q->untold);
	TAILQ_INIT(&q->more);
	TAILQ_INIT(&q->over);
	TAILQ_INIT(&q->accepts);
	for (unsigned t = 0; t < TIMERS; t++)
		TAILQ_INIT(&q->timers[t]);
	dev->queues[i] = q;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = zv_now() ^ (uintptr_t)q;
	/* As many again may be finishing; and HELLO. */
	ret = conn_table_init(&q->conns, 2 * dev->opts.max_conns + 1, seed, i, dev->nqueues,
			      ZV_PORT_LO, ZV_PORT_HI);
	return ret ? ret : queue_fds_open(q);
}

static void queue_close(struct zv_queue *q)
{
	struct zv_conn *c;

	if (!q)
		return;
	queue_enter(q);
	conn_reset_all(q);
	while ((c = TAILQ_FIRST(&q->over))) /* handles that the application did not close */
		conn_free(c);
	queue_leave(q);
	while ((c = q->free_conns)) {
		q->free_conns = c->user;
		free(c);
	}
	loan_fini(q);
	free(q->rst);
	free(q->tap.iov);
	conn_table_fini(&q->conns);
	queue_fds_close(q);
	free(q);
}

static void dev_free(struct zv_dev *dev)
{
	struct listener *l;

	for (unsigned i = 0; dev->queues && i < dev->nqueues; i++)
		queue_close(dev->queues[i]);
	if (dev->t)
		dev->ops->close(dev->t);
	for (unsigned i = 0; i < ZV_LISTEN_HASH; i++)
		while ((l = dev->listeners[i])) {
			dev->listeners[i] = l->next;
			free(l);
		}
	free(dev->catch_all);
	while ((l = dev->closed)) {
		dev->closed = l->next_closed;
		free(l);
	}
	pthread_mutex_destroy(&dev->closed_lock);
	free(dev->queues);
	free(dev);
}

int zv_open(struct zv_dev **out, const char *uri, const struct zv_opts *opts)
{
	const struct transport_ops *ops;
	struct zv_dev *dev;
	const char *rest;
	int ret;

	if (!out || !uri)
		return zv_err(-EINVAL, "zv_open: dev and uri must not be NULL");
	*out = NULL;
	ops = zv_transport_find(uri, &rest);
	if (!ops)
		return zv_err(-EPROTONOSUPPORT,
			      "zv_open: no transport for '%s': known are vhost-user:PATH "
			      "and, after zv_host_init(), host:PATH,cid=N",
			      uri);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zv_err(-ENOMEM, "zv_open: out of memory");
	dev->ops = ops;
	pthread_mutex_init(&dev->closed_lock, NULL);
	ret = complete_opts(&dev->opts, opts);
	if (ret)
		goto fail;
	if (getrandom(&dev->nonce, sizeof(dev->nonce), 0) != sizeof(dev->nonce))
		dev->nonce = zv_now();
	quiesce_init();
	ret = ops->open(&dev->t, rest, &dev->opts);
	if (ret) {
		dev->t = NULL;
		goto fail;
	}
	dev->ops = dev->t->ops; /* a transport may have several tables under one scheme */
	dev->nqueues = dev->t->nqueues;
	dev->queues = calloc(dev->nqueues, sizeof(*dev->queues));
	ret = dev->queues ? 0 : -ENOMEM;
	for (unsigned i = 0; i < dev->nqueues && ret == 0; i++)
		ret = queue_open(dev, i);
	if (ret) {
		zv_err(ret, "zv_open: %s: cannot set up %u queues: %s", uri, dev->nqueues,
		       zv_strerror(ret));
		goto fail;
	}
	*out = dev;
	return 0;
fail:
	dev_free(dev);
	return ret;
}

int zv_close(struct zv_dev *dev)
{
	if (!dev)
		return 0;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		struct zv_queue *q = dev->queues[i];
		uint32_t rx = q->rx.app_loans, tx = q->tx.app_loans;

		if (rx || tx)
			return zv_err(
				-EBUSY,
				"zv_close: queue %u has %u received and %u reserved buffers on "
				"loan: release, send or cancel them first",
				i, rx, tx);
	}
	dev_free(dev);
	return 0;
}

/* ---- listeners ---- */

static struct listener **bucket(struct zv_dev *dev, uint32_t port)
{
	return &dev->listeners[(port * 2654435761u) >> 26];
}
_Static_assert(ZV_LISTEN_HASH == 64, "bucket() takes the top 6 bits");

struct listener *listener_find(struct zv_dev *dev, uint32_t port)
{
	struct listener *l = __atomic_load_n(bucket(dev, port), __ATOMIC_ACQUIRE);

	while (l && l->port != port)
		l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE);
	return l;
}

/* Counts the queues that cannot see @l again; after quiesce_barrier(). */
static void count_outside(struct zv_dev *dev, struct listener *l)
{
	for (unsigned i = 0; i < dev->nqueues; i++) {
		if (l->q[i].seen_closed || !quiesce_outside(&dev->queues[i]->tq->qs) ||
		    l->q[i].count)
			continue;
		l->q[i].seen_closed = 1;
		l->acked++;
	}
}

/* Frees unlinked listeners that no queue can see any more. */
static void listeners_reap(struct zv_dev *dev)
{
	struct listener **pp = &dev->closed, *l;

	pthread_mutex_lock(&dev->closed_lock);
	if (dev->closed)
		quiesce_barrier();
	while ((l = *pp)) {
		count_outside(dev, l);
		if (l->acked < dev->nqueues) {
			pp = &l->next_closed;
			continue;
		}
		*pp = l->next_closed;
		free(l);
	}
	pthread_mutex_unlock(&dev->closed_lock);
}

void listener_sync(struct zv_queue *q)
{
	struct zv_dev *dev = q->dev;
	struct zv_conn *c;

	pthread_mutex_lock(&dev->closed_lock);
	for (struct listener *l = dev->closed; l; l = l->next_closed) {
		if (l->q[q->index].seen_closed)
			continue;
		while ((c = TAILQ_FIRST(&l->q[q->index].conns)))
			conn_unaccepted(c);
		l->q[q->index].seen_closed = 1;
		l->acked++;
	}
	q->listen_gen = dev->listen_gen;
	pthread_mutex_unlock(&dev->closed_lock);
}

static struct listener *listener_new(struct zv_dev *dev, uint32_t port, unsigned backlog)
{
	size_t size = sizeof(struct listener) + dev->nqueues * sizeof(struct accept_queue);
	struct listener *l = aligned_alloc(SHM_CACHE_LINE, size);

	if (!l)
		return NULL;
	memset(l, 0, size);
	l->port = port;
	l->backlog = backlog ? backlog : 128;
	for (unsigned i = 0; i < dev->nqueues; i++) {
		TAILQ_INIT(&l->q[i].conns);
		l->q[i].listener = l;
	}
	return l;
}

int zv_listen(struct zv_dev *dev, uint32_t port, enum zv_type type, unsigned backlog)
{
	struct listener *l, **head;

	if (!dev || port == 0 || port == ZV_PORT_ANY || port == ZV_CTRL_PORT ||
	    (type != ZV_STREAM && type != ZV_SEQPACKET))
		return zv_err(-EINVAL,
			      "zv_listen: port %u, type %d: the port must not be 0, %u or %u and "
			      "the type ZV_STREAM or ZV_SEQPACKET",
			      port, (int)type, ZV_PORT_ANY, ZV_CTRL_PORT);
	listeners_reap(dev);
	if (listener_find(dev, port))
		return zv_err(-EADDRINUSE, "zv_listen: this device listens on port %u already",
			      port);
	l = listener_new(dev, port, backlog);
	if (!l)
		return zv_err(-ENOMEM, "zv_listen: out of memory");
	l->type = (uint16_t)type;
	head = bucket(dev, port);
	l->next = *head;
	__atomic_store_n(head, l, __ATOMIC_RELEASE);
	return 0;
}

int zv_listen_all(struct zv_dev *dev, uint32_t flags, unsigned backlog)
{
	struct listener *l;

	if (!dev || (flags & ~ZV_LISTEN_ANY_CID))
		return zv_err(-EINVAL, "zv_listen_all: dev must be set, flags 0 or "
				       "ZV_LISTEN_ANY_CID");
	if ((flags & ZV_LISTEN_ANY_CID) && dev->ops->role != ZV_ROLE_HOST)
		return zv_err(-EOPNOTSUPP, "zv_listen_all: ZV_LISTEN_ANY_CID is for host devices: "
					   "a guest receives for its own CID only");
	listeners_reap(dev);
	if (dev->catch_all)
		return zv_err(-EADDRINUSE,
			      "zv_listen_all: this device has a catch-all listener already");
	l = listener_new(dev, ZV_PORT_ANY, backlog);
	if (!l)
		return zv_err(-ENOMEM, "zv_listen_all: out of memory");
	l->flags = (uint16_t)flags;
	__atomic_store_n(&dev->catch_all, l, __ATOMIC_RELEASE);
	return 0;
}

int zv_unlisten(struct zv_dev *dev, uint32_t port)
{
	struct listener *l = NULL, **pp;

	if (dev)
		l = port == ZV_PORT_ANY ? dev->catch_all : listener_find(dev, port);
	if (!l && port == ZV_PORT_ANY)
		return zv_err(-ENOENT, "zv_unlisten: there is no catch-all listener");
	if (!l)
		return zv_err(-ENOENT, "zv_unlisten: nothing listens on port %u", port);
	pp = port == ZV_PORT_ANY ? &dev->catch_all : bucket(dev, port);
	while (*pp != l)
		pp = &(*pp)->next;
	__atomic_store_n(pp, l->next, __ATOMIC_RELEASE); /* l->next stays: a reader may be on l */
	pthread_mutex_lock(&dev->closed_lock);
	l->next_closed = dev->closed;
	dev->closed = l;
	__atomic_fetch_add(&dev->listen_gen, 1, __ATOMIC_ACQ_REL); /* queues look at each poll */
	pthread_mutex_unlock(&dev->closed_lock);
	listeners_reap(dev);
	return 0;
}
