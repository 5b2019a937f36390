/* SPDX-License-Identifier: BSD-3-Clause */
#include "peer.h"

#include "credit.h"
#include "listener.h"
#include "timer.h"

#include <errno.h>

/* Delay between attempts to send HELLO to a peer that has hung up, doubled each time. */
#define RETRY_MIN_NS 1000000000u
#define RETRY_MAX_NS (32u * (uint64_t)RETRY_MIN_NS)

/* hello_timeouts in which a driver that has begun says HELLO: its machine may be slow. */
#define BEGUN_TIMES 5u

static void set_state(struct zv_queue *q, enum peer_state state)
{
	/* zv_dev_info looks, in any thread */
	__atomic_store_n(&q->peer.channels,
			 state == HELLO_DONE && q->peer.hello.caps & ZV_CAP_CHANNEL,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&q->peer.dgrams,
			 state == HELLO_DONE && q->peer.hello.caps & ZV_CAP_DGRAM &&
				 !(q->dev->opts.flags & ZV_OPT_NO_DGRAM),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&q->peer.state, (uint8_t)state, __ATOMIC_RELEASE);
	if (q->dgram.waits && (state == HELLO_DONE || state == HELLO_PLAIN)) {
		q->dgram.waits = false;
		accept_dgram_out(q);
	}
}

void peer_reset(struct zv_queue *q)
{
	set_state(q, HELLO_OFF);
	q->hello.events &= (uint8_t)~HELLO_EV_NONE; /* said of the former session */
	q->peer.hello.caps = 0;
	q->peer.hello_by = q->peer.retry_at = UINT64_MAX;
	q->peer.retry_ns = 0;
	q->peer.max_pkt = ZV_PLAIN_PKT;
}

void peer_expected(struct zv_queue *q)
{
	uint64_t ns = q->dev->opts.hello_timeout_ns;

	if (q->host && q->peer.state != HELLO_OFF)
		return; /* waited for already, or known to be plain */
	ns = ns > UINT64_MAX / BEGUN_TIMES ? UINT64_MAX : ns * BEGUN_TIMES;
	q->peer.hello_by = q->host ? time_after(queue_clock(q), ns) : UINT64_MAX;
	set_state(q, HELLO_WAIT);
}

void peer_has_no_channels(struct zv_queue *q)
{
	if (q->host && q->dev->opts.flags & ZV_OPT_BROKER)
		q->hello.events |= HELLO_EV_NONE;
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

void peer_on_hello(struct zv_queue *q)
{
	const struct hello *h = &q->peer.hello;

	set_state(q, HELLO_DONE);
	if (q->dev->ops->kernel_sockets)
		q->peer.retry_ns = RETRY_MIN_NS;
	q->peer.max_pkt =
		h->caps & ZV_CAP_BIG_PKT && h->max_pkt > ZV_PLAIN_PKT ? h->max_pkt : ZV_PLAIN_PKT;
	if (q->peer.max_pkt > ZV_MAX_PKT)
		q->peer.max_pkt = ZV_MAX_PKT;
	queue_budgets_begin(q);
	/* Queues that log the same number belong to the same opened device. */
	zv_log_limited(&q->tq->log, ZV_LOG_INFO,
		       "%s: queue %u: peer is zvsock, pair %u of %u of its device %016llx",
		       queue_device_name(q), q->index, h->pair, h->npairs,
		       (unsigned long long)h->nonce);
}

static const char *why_it_ended(const struct zv_conn *c)
{
	if (c->err == -ETIMEDOUT)
		return c->q->host ? "it does not take the answer to HELLO" : "no answer to HELLO";
	return c->err == -ECONNREFUSED ? "HELLO refused" : "it has gone before HELLO was over";
}

void peer_hung_up(const struct zv_conn *c)
{
	struct zv_queue *q = c->q;

	if (q->hello.conn != c) /* the guest has begun another */
		return;
	q->hello = (struct queue_hello){.events = q->hello.events & HELLO_EV_GONE};
	peer_is_plain(q, why_it_ended(c));
	peer_has_no_channels(q);
	q->peer.max_pkt = ZV_PLAIN_PKT;
	queue_budgets_begin(q);
	if (!q->peer.retry_ns)
		return;
	q->peer.retry_at = time_after(queue_clock(q), q->peer.retry_ns);
	q->peer.retry_ns *= q->peer.retry_ns < RETRY_MAX_NS ? 2 : 1;
}
