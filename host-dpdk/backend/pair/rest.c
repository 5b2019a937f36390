/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair that rests: another table of functions, which leaves the rings alone. What is taken
 * already is given back as ever, and a notification that was asked for is declined; the control
 * thread may start another session meanwhile, whose functions it puts into q->ops.
 */
#include "vhost_pair_priv.h"

static int rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	(void)tq;
	(void)pkts;
	(void)max;
	return 0;
}

static int rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	return vhost_pair_of(tq)->ops.rx_rest(tq, pkts, max);
}

static void rx_release(struct transport_queue *tq, uint32_t token)
{
	vhost_pair_of(tq)->ops.rx_release(tq, token);
}

static bool rx_intact(struct transport_queue *tq, uint32_t token)
{
	return vhost_pair_of(tq)->ops.rx_intact(tq, token);
}

static unsigned tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
			   uint32_t len, unsigned flags)
{
	(void)tq;
	(void)slots;
	(void)n;
	(void)len;
	(void)flags;
	return 0;
}

static void tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h)
{
	vhost_pair_of(tq)->ops.tx_commit(tq, token, h);
}

static void tx_cancel(struct transport_queue *tq, uint32_t token)
{
	vhost_pair_of(tq)->ops.tx_cancel(tq, token);
}

static void publish(struct transport_queue *tq)
{
	(void)tq;
}

static unsigned tx_max(struct transport_queue *tq)
{
	return vhost_pair_of(tq)->ops.tx_max(tq);
}

static unsigned tx_ready(struct transport_queue *tq)
{
	(void)tq;
	return 0;
}

static int arm(struct transport_queue *tq, unsigned room)
{
	(void)tq;
	(void)room;
	return 0;
}

static void disarm(struct transport_queue *tq, bool rung)
{
	vhost_pair_of(tq)->ops.disarm(tq, rung);
}

static const struct transport_queue_ops resting = {
	.rx_burst = rx_burst,
	.rx_rest = rx_rest,
	.rx_release = rx_release,
	.rx_intact = rx_intact,
	.tx_reserve = tx_reserve,
	.tx_commit = tx_commit,
	.tx_cancel = tx_cancel,
	.publish = publish,
	.tx_max = tx_max,
	.tx_ready = tx_ready,
	.arm = arm,
	.disarm = disarm,
};

void vhost_pair_rest(struct vhost_pair *q, bool rests)
{
	q->tq.ops = rests ? &resting : &q->ops;
}
