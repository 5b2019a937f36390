/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing a device and its queues. */
#include "mem.h"
#include "opts.h"
#include "registry.h"
#include "socket/chan/chan.h"
#include "socket/chan/grant.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/listener.h"
#include "socket/core/timer.h"
#include "socket/queue/arm.h"
#include "socket/queue/session.h"
#include "socket/tx/tx.h"
#include "socket/tx/tx_buf.h"
#include "socket/tx/tx_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/*
 * A start value for serial numbers that no other queue uses, so that buffers of two queues are not
 * mixed up.
 */
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
	q->any_cid = dev->ops->kernel_sockets;
	q->arm.epfd = q->arm.timerfd = -1;
	q->arm.runs = UINT64_MAX;
	q->chans.next_tick = UINT64_MAX;
	TAILQ_INIT(&q->chans.active);
	TAILQ_INIT(&q->grants.regions);
	TAILQ_INIT(&q->grants.pending);
	TAILQ_INIT(&q->grants.held);
	STAILQ_INIT(&q->grants.out);
	q->peer.hello_by = q->peer.retry_at = UINT64_MAX;
	q->session.id = SESSION_NONE; /* the first call starts this side's session */
	rx_init(q);
	q->tx.free = LOAN_NONE;
	q->rx.serial = q->tx.serial = first_serial(i);
	TAILQ_INIT(&q->ready);
	TAILQ_INIT(&q->ctrl);
	tx_sched_init(&q->sched);
	TAILQ_INIT(&q->updates);
	TAILQ_INIT(&q->more);
	TAILQ_INIT(&q->closed.list);
	TAILQ_INIT(&q->accept.due);
	for (unsigned t = 0; t < TIMERS; t++)
		TAILQ_INIT(&q->timers[t]);
	mem_sends_init(q);
	dev->queues[i] = q;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = zv_now() ^ (uintptr_t)q;
	/* As many again may be closing; one more for HELLO. */
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
	session_end(q);
	while ((c = TAILQ_FIRST(&q->closed.list))) /* handles that the application did not close */
		conn_free(c);
	rx_fini(q);
	queue_leave(q);
	conns_fini(q);
	grants_fini(q);
	chans_fini(q);
	tx_buf_fini(q);
	mem_sends_fini(q);
	tx_fini(q);
	free(q->tap.iov);
	conn_table_fini(&q->conns);
	queue_fds_close(q);
	free(q);
}

static void dev_free(struct zv_dev *dev)
{
	for (unsigned i = 0; dev->queues && i < dev->nqueues; i++)
		queue_close(dev->queues[i]);
	if (dev->t)
		dev->ops->close(dev->t);
	mems_fini(dev);
	listeners_fini(dev);
	pthread_mutex_destroy(&dev->closed_lock);
	free(dev->queues);
	free(dev);
}

static int no_transport(const char *uri)
{
	char known[256];

	zv_transport_schemes(known, sizeof(known));
	return zv_err(-EPROTONOSUPPORT,
		      "zv_open: '%s' names no device: one begins with one of %s%s", uri, known,
		      strncmp(uri, "host:", 5)
			      ? ""
			      : "; for host: link libzvsock-host, and call zv_host_init() first");
}

/* The caller has set the option, in a structure that may be older and smaller. */
#define GIVEN(opts, field)                                                                         \
	((opts) && (opts)->size > offsetof(struct zv_opts, field) && (opts)->field)

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
		return no_transport(uri);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zv_err(-ENOMEM, "zv_open: out of memory");
	dev->ops = ops;
	pthread_mutex_init(&dev->closed_lock, NULL);
	ret = opts_complete(&dev->opts, opts);
	if (ops->spin_ns && !GIVEN(opts, spin_ns))
		dev->opts.spin_ns = ops->spin_ns;
	if (ops->hello_timeout_ns && !GIVEN(opts, hello_timeout_ns))
		dev->opts.hello_timeout_ns = ops->hello_timeout_ns;
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
