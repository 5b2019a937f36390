/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the owner of a queue does with a pair apart from its rings, and what the data path
 * (vsock_burst.h) does rarely. The control thread's part is in vsock_setup.c.
 */
#include "vsock_drv.h"
#include "vsock_priv.h"

#include <unistd.h>

void vsock_broken(struct vsock_pair *p, const struct virtq *vq)
{
	stats_add(&p->tq.stats.ring_broken, 1);
	zv_log_limited(&p->tq.log, ZV_LOG_ERR,
		       "vsock driver: %s ring broken by the device (%s); the queue is down",
		       vq == &p->rx ? "receive" : "transmit", virtq_fault_name(virtq_fault(vq)));
	vsock_pair_stop(p);
}

void vsock_kick(struct vsock_pair *p, const struct virtq_notify *kick)
{
	stats_add(&p->tq.stats.kicks, 1);
	virtq_notify(kick);
}

void vsock_notify_control(struct vsock_pair *p, uint16_t seen)
{
	if (p->notified == seen)
		return;
	p->notified = seen;
	eventfd_signal(p->ev->call_fd);
}

void vsock_clear_call(struct vsock_pair *p)
{
	uint64_t count;

	/* EAGAIN: nothing had happened. */
	if (read(p->call_fd, &count, sizeof(count)) < 0)
		return;
}

void vsock_tx_cancel(struct transport_queue *q, uint32_t token)
{
	struct vsock_pair *p = vsock_pair_of(q);

	if (token >= virtq_size(&p->tx) || p->tx_state[token] == TX_FREE)
		return;
	p->tx_state[token] = TX_FREE;
	hot_tx_put(&p->hot_tx, (uint16_t)token, virtq_in_flight(&p->tx));
}

void vsock_table_over(struct vsock_pair *p, uint16_t id, int err)
{
	struct transport_sent *t = &p->tq.sent;

	p->tx_state[id] = TX_FREE;
	t->out--;
	t->ring[t->tail++ & t->mask] = (struct transport_sent_entry){p->cookie[id], err};
}

unsigned vsock_tx_max(struct transport_queue *q)
{
	struct vsock_pair *p = vsock_pair_of(q);

	return virtq_size(&p->tx) - p->ctrl_reserve;
}

unsigned vsock_pair_unsent(struct vsock_pair *p)
{
	if (!p->tq.up)
		return 0;
	(void)p->tq.ops->tx_ready(&p->tq); /* takes back what has been sent */
	return p->tq.up ? virtq_in_flight(&p->tx) : 0;
}

int vsock_fd(struct transport_queue *q)
{
	return vsock_pair_of(q)->call_fd;
}
