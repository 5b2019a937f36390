/* SPDX-License-Identifier: BSD-3-Clause */
#include "credit.h"

#include "timer.h"

#define UPDATE_AFTER_NS	 1000000u /* least interval of updates for small amounts of credit */
#define BUDGET_ENTRIES	 4096u	  /* entries of the table, in one poll */
#define BUDGET_CONN_COST 16u	  /* what a connection costs, in units of an empty entry */
#define PROMISE_MIN	 4096u

/* ---- towards the peer ---- */

uint32_t tx_credit_now(const struct zv_conn *c)
{
	if (c->state != VC_CONNECTED || !vsock_shut_can_send(&c->shut))
		return 0;
	return tx_credit_left(c) + (c->flags & CF_MORE ? c->more.max - c->more.len : 0);
}

bool tx_has_credit(const struct zv_conn *c)
{
	/*
	 * The peer's buffer has shrunk: the next call returns -EMSGSIZE. A single byte just waits.
	 */
	if (c->blocked.bytes > 1 && c->blocked.bytes > c->credit.peer_buf_alloc)
		return true;
	if (c->blocked.pkts > 1 && c->credit.pkt_limit && c->blocked.pkts > c->credit.pkt_limit)
		return true;
	return tx_credit_left(c) >= c->blocked.bytes &&
	       credit_tx_packets(&c->credit) >= c->tx.loans + c->blocked.pkts;
}

void conn_pkt_budget(struct zv_conn *c)
{
	bool zvsock = queue_caps(c->q) & ZV_CAP_MANY_PKTS;

	credit_limit_packets(&c->credit, zvsock ? c->sock->pkt_overhead : CREDIT_PKT_OVERHEAD);
	if (c->flags & CF_WANT_OUT)
		conn_ready(c);
}

void queue_budgets_begin(struct zv_queue *q)
{
	q->budgets.at = 0;
	q->budgets.due = 1;
}

void queue_budgets_some(struct zv_queue *q)
{
	int looks = BUDGET_ENTRIES;

	for (; looks > 0 && q->budgets.at < q->conns.slots; looks--) {
		struct conn_node *n = conn_table_at(&q->conns, q->budgets.at++);

		if (!n)
			continue;
		conn_pkt_budget((struct zv_conn *)n);
		looks -= (int)BUDGET_CONN_COST;
	}
	q->budgets.due = q->budgets.at < q->conns.slots;
}

/* ---- from the peer ---- */

uint32_t rx_promise(struct zv_conn *c)
{
	struct zv_queue *q = c->q;
	uint64_t all = q->dev->opts.rx_memory / q->dev->nqueues, used = q->tq->stats.rx_promised;
	uint64_t most = used < all ? (all - used) / ZV_RX_SHARE : 0;
	uint32_t credit = q->dev->opts.buf_alloc;

	if (most < credit)
		credit = most > PROMISE_MIN ? (uint32_t)most : PROMISE_MIN;
	c->promised = credit * (uint64_t)c->sock->rx_cost;
	stats_add(&q->tq->stats.rx_promised, c->promised);
	return credit;
}

void rx_promise_back(struct zv_conn *c)
{
	stats_add(&c->q->tq->stats.rx_promised, -c->promised);
	c->promised = 0;
}

void credit_update_later(struct zv_conn *c)
{
	if (c->flags & CF_UPDATE)
		return;
	c->flags |= CF_UPDATE;
	c->update.at = zv_now() + UPDATE_AFTER_NS;
	TAILQ_INSERT_TAIL(&c->q->updates, c, update.link);
}

void credit_update_cancel(struct zv_conn *c)
{
	if (c->flags & CF_UPDATE)
		TAILQ_REMOVE(&c->q->updates, c, update.link);
	c->flags &= ~CF_UPDATE;
}

struct zv_conn *credit_update_next(struct zv_queue *q)
{
	struct zv_conn *c = TAILQ_FIRST(&q->updates);

	if (!c || c->update.at > q->clock.now)
		return NULL;
	credit_update_cancel(c);
	return c;
}
