/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer.h"

#include "credit.h"

#include <errno.h>

static void set_state(struct zv_queue *q, enum peer_state state)
{
	__atomic_store_n(&q->peer.state, (uint8_t)state, __ATOMIC_RELAXED); /* zv_dev_info looks */
}

void peer_reset(struct zv_queue *q)
{
	set_state(q, HELLO_OFF);
	q->peer.hello.caps = 0;
	q->peer.hello_by = UINT64_MAX;
	q->peer.max_pkt = ZV_PLAIN_PKT;
}

void peer_expected(struct zv_queue *q)
{
	q->peer.hello_by = UINT64_MAX;
	set_state(q, HELLO_WAIT);
}

void peer_is_plain(struct zv_queue *q, const char *why)
{
	q->peer.hello_by = UINT64_MAX;
	if (q->peer.state == HELLO_WAIT || q->peer.state == HELLO_OFF)
		zv_log_limited(&q->tq->log, ZV_LOG_INFO,
			       "%s: queue %u: peer is plain virtio-vsock (%s): no extensions",
			       queue_device_name(q), q->index, why);
	set_state(q, HELLO_PLAIN);
}

void peer_said_hello(struct zv_queue *q)
{
	const struct hello *h = &q->peer.hello;

	set_state(q, HELLO_DONE);
	q->peer.max_pkt =
		h->caps & ZV_CAP_BIG_PKT && h->max_pkt > ZV_PLAIN_PKT ? h->max_pkt : ZV_PLAIN_PKT;
	if (q->peer.max_pkt > ZV_MAX_PKT)
		q->peer.max_pkt = ZV_MAX_PKT;
	queue_budgets_begin(q);
	/* Queues that log the same number lead to the same opened device. */
	zv_log_limited(&q->tq->log, ZV_LOG_INFO,
		       "%s: queue %u: peer is zvsock, pair %u of %u of its device %016llx",
		       queue_device_name(q), q->index, h->pair, h->npairs,
		       (unsigned long long)h->nonce);
}

void peer_hung_up(const struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	if (q->hello.conn != c) /* the guest has begun another */
		return;
	q->hello = (struct queue_hello){0};
	peer_is_plain(q, c->err == -ETIMEDOUT ? "no answer to HELLO" : "HELLO refused");
	q->peer.max_pkt = ZV_PLAIN_PKT;
	queue_budgets_begin(q);
}
