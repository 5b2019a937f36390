/* SPDX-License-Identifier: BSD-3-Clause */
/* Public calls for monitoring: information, counters, the tap. */
#include "calls.h"
#include "socket/core/credit.h"

#include <errno.h>
#include <string.h>

/* ---- device and queue ---- */

int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out)
{
	struct zv_dev_info info = {.size = sizeof(info), .peer = ZV_PEER_UNKNOWN};
	size_t size;

	if (!dev || !out || out->size < sizeof(out->size))
		return zv_err(-EINVAL, "zv_dev_info: dev and info must be set, info->size too");
	info.cid = zv_cid(dev);
	info.guest_cid = dev->ops->guest_cid(dev->t);
	info.queues = dev->nqueues;
	info.page_size = dev->ops->page_size(dev->t);
	info.transport = dev->ops->scheme;
	if (dev->ops->attached)
		info.attached_ns = dev->ops->attached(dev->t, &info.flags);
	for (unsigned i = 0; i < dev->nqueues; i++) {
		uint8_t hello = __atomic_load_n(&dev->queues[i]->peer.state, __ATOMIC_ACQUIRE);

		info.queues_up += __atomic_load_n(&dev->queues[i]->tq->up, __ATOMIC_RELAXED);
		if (hello == HELLO_DONE &&
		    __atomic_load_n(&dev->queues[i]->peer.channels, __ATOMIC_RELAXED))
			info.flags |= ZV_DEV_CHANNELS;
		if (hello == HELLO_DONE &&
		    __atomic_load_n(&dev->queues[i]->peer.dgrams, __ATOMIC_RELAXED))
			info.flags |= ZV_DEV_DGRAM;
		if (hello == HELLO_DONE)
			info.peer = ZV_PEER_ZVSOCK;
		else if (hello == HELLO_PLAIN && info.peer == ZV_PEER_UNKNOWN)
			info.peer = ZV_PEER_PLAIN;
	}
	size = out->size < sizeof(info) ? out->size : sizeof(info);
	info.size = size;
	memcpy(out, &info, size);
	return 0;
}

int zv_queue_stats(const struct zv_queue *q, struct zv_queue_stats *stats, size_t size)
{
	if (!q || !stats)
		return zv_err(-EINVAL, "zv_queue_stats: queue and stats must not be NULL");
	/* Reads counters of another thread: each word is consistent, the set is not a snapshot. */
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		((uint64_t *)stats)[i] = i < sizeof(*stats) / sizeof(uint64_t)
						 ? shm_load64((const uint64_t *)&q->tq->stats + i)
						 : 0;
	return 0;
}

/* ---- connections ---- */

static void fill_info(const struct zv_conn *c, struct zv_conn_info *info)
{
	*info = (struct zv_conn_info){
		.size = sizeof(*info),
		.local_cid = conn_local_cid(c),
		.peer_cid = conn_peer_cid(c),
		.local_port = c->node.key.local_port,
		.peer_port = c->node.key.peer_port,
		.type = c->type,
		.queue = c->q->index,
		.tx_credit = tx_credit_now(c),
		.rx_unread = c->credit.rx_cnt - c->credit.fwd_cnt,
		.state = vc_state_name(c->state),
		.tx_bytes = c->totals.tx_bytes,
		.rx_bytes = c->totals.rx_bytes,
		.opened_ns = c->totals.opened_ns,
		.peer_buf_alloc = c->credit.peer_buf_alloc,
		.tx_unacked = c->credit.tx_cnt - c->credit.peer_fwd_cnt,
		.flags = c->flags & CF_INCOMING ? ZV_CONN_INCOMING : 0,
		.user = c->user,
	};
	if (c->sock->path)
		c->sock->path->info(c, info);
}

int zv_conn_info(struct zv_conn *c, struct zv_conn_info *out)
{
	struct zv_conn_info info;
	size_t size;

	if (!c || !out || out->size < sizeof(out->size))
		return zv_err(-EINVAL, "zv_conn_info: conn and info must be set, info->size too");
	(void)call_enter(c);
	fill_info(c, &info);
	queue_leave(c->q);
	size = out->size < sizeof(info) ? out->size : sizeof(info);
	info.size = size;
	memcpy(out, &info, size);
	return 0;
}

/*
 * A walk goes through the table by position, which a connection keeps while it is in the table, and
 * then through the closed connections by their sequence number, in whose order they are listed. So
 * the cursor names no connection that could be freed. An empty table entry costs a step too,
 * because a table never shrinks.
 */
#define CURSOR_OVER (UINT64_C(1) << 63) /* in a cursor: the table is done; the rest is over_seq */
#define WALK_BUDGET 8192		/* of a call */
#define CONN_COST   32			/* cost of a connection in units of an empty entry */

struct walk {
	int (*fn)(void *ctx, const struct zv_conn_info *info);
	void *ctx;
	uint64_t at;
	int budget; /* left */
};

static int show_conn(struct walk *w, const struct zv_conn *c)
{
	struct zv_conn_info info;

	w->budget -= CONN_COST;
	fill_info(c, &info);
	return w->fn(w->ctx, &info);
}

static int walk_table(struct zv_queue *q, struct walk *w)
{
	int ret = 0;

	while (ret == 0 && w->budget > 0 && w->at < q->conns.slots) {
		const struct zv_conn *c =
			(struct zv_conn *)conn_table_at(&q->conns, (uint32_t)w->at);

		w->at++;
		w->budget--;
		if (c && !(c->flags & CF_INTERNAL))
			ret = show_conn(w, c);
	}
	if (w->at >= q->conns.slots)
		w->at = CURSOR_OVER;
	return ret;
}

static int walk_over(struct zv_queue *q, struct walk *w)
{
	const struct zv_conn *c;
	int ret;

	TAILQ_FOREACH(c, &q->closed.list, closed.link) {
		if (c->closed.seq <= (w->at & ~CURSOR_OVER))
			continue;
		if (w->budget <= 0)
			return 0;
		w->at = CURSOR_OVER | c->closed.seq;
		ret = show_conn(w, c);
		if (ret)
			return ret;
	}
	w->at = 0;
	return 0;
}

int zv_queue_conns(struct zv_queue *q, uint64_t *cursor,
		   int (*fn)(void *ctx, const struct zv_conn_info *info), void *ctx)
{
	struct walk w = {.fn = fn, .ctx = ctx, .at = cursor ? *cursor : 0};
	int ret = 0;

	if (!q || !fn)
		return zv_err(-EINVAL, "zv_queue_conns: queue and fn must not be NULL");
	queue_enter(q);
	session_sync(q);
	do {
		w.budget = WALK_BUDGET;
		if (!(w.at & CURSOR_OVER))
			ret = walk_table(q, &w);
		if (w.at & CURSOR_OVER && ret == 0)
			ret = walk_over(q, &w);
	} while (!cursor && w.at && ret == 0);
	queue_leave(q);
	if (cursor)
		*cursor = w.at;
	return ret;
}

/* ---- tap ---- */

int zv_set_tap(struct zv_queue *q, zv_tap_fn fn, void *ctx)
{
	if (!q)
		return zv_err(-EINVAL, "zv_set_tap: queue must not be NULL");
	queue_enter(q);
	q->tap.fn = fn;
	q->tap.ctx = ctx;
	queue_leave(q);
	return 0;
}
