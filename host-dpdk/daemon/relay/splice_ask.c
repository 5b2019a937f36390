/* SPDX-License-Identifier: BSD-3-Clause */
#include "splice_ask.h"

#include "spin.h"
#include "splice_chan.h"

#include <errno.h>
#include <stdlib.h>

/* A request on its way to the lcore of the other device. */
struct request {
	struct splice_asks *from;
	struct splice *sp;
	struct guest_queue *gq;
};

static void requested(struct lcore *lc, void *arg)
{
	struct request *r = arg;

	(void)lc;
	splice_connect(r->sp, r->gq);
	__atomic_sub_fetch(&r->from->n, 1, __ATOMIC_RELEASE);
	free(r);
}

/* A given pair of ports always uses the same queue, where a second connection with it is
 * noticed. */
static struct guest_queue *queue_for(struct guest *to, const struct zv_conn_info *info)
{
	struct zv_dev_info dev = {.size = sizeof(dev)};
	unsigned up;

	(void)zv_dev_info(to->dev, &dev);
	up = dev.queues_up && dev.queues_up < to->n_queues ? dev.queues_up : to->n_queues;
	return &to->queues[(info->peer_port ^ info->local_port) % up];
}

int splice_ask(struct splice_asks *asks, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, const struct zv_conn_info *info, struct guest *to)
{
	struct request *r;

	if (__atomic_load_n(&asks->n, __ATOMIC_RELAXED) >= SPLICE_ASKS_MAX)
		return -EAGAIN;
	r = malloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->sp = splice_new(gq, conn, kind, info, false);
	if (!r->sp) {
		free(r);
		return -ENOMEM;
	}
	r->from = asks;
	r->gq = queue_for(to, info);
	splice_chan_begin(r->sp, gq, r->gq);
	__atomic_add_fetch(&asks->n, 1, __ATOMIC_RELAXED);
	if (lcore_post(r->gq->lc, requested, r) < 0) {
		__atomic_sub_fetch(&asks->n, 1, __ATOMIC_RELAXED);
		GUEST_COUNT(gq, no_memory);
		splice_refuse(r->sp);
		free(r);
	}
	return 1;
}

void splice_asks_end(struct splice_asks *asks)
{
	unsigned steps = 0;

	while (__atomic_load_n(&asks->n, __ATOMIC_ACQUIRE))
		spin_step(&steps); /* the lcores process them within a round or two */
}
