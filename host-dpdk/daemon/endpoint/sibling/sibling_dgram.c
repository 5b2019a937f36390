/* SPDX-License-Identifier: BSD-3-Clause */
#include "sibling_dgram.h"

#include "spin.h"

#include <stdlib.h>
#include <string.h>

/* One datagram on its way. */
struct posted_dgram {
	struct dgram_in_transit *from; /* NULL: it stays on its lcore */
	struct guest_queue *gq, *to;
	struct zv_dgram_addr addr; /* as the sibling's device sees it */
	uint32_t len;
	const uint8_t *data;
	uint8_t copy[];
};

static void lost(struct guest_queue *gq)
{
	GUEST_COUNT(gq, dgram_lost);
}

static void deliver(const struct posted_dgram *p)
{
	if (zv_dgram_send(p->to->q, &p->addr, p->data, p->len, 0) < 0)
		lost(p->gq);
	else
		GUEST_COUNT(p->gq, dgram_passed_on);
}

static void arrived(struct lcore *lc, void *arg)
{
	struct posted_dgram *p = arg;

	(void)lc;
	deliver(p);
	__atomic_sub_fetch(&p->from->n, 1, __ATOMIC_RELEASE);
	free(p);
}

static void post(const struct posted_dgram *here, struct dgram_in_transit *in_transit)
{
	struct posted_dgram *p = NULL;

	if (__atomic_load_n(&in_transit->n, __ATOMIC_RELAXED) < DGRAM_IN_TRANSIT_MAX)
		p = malloc(sizeof(*p) + here->len);
	if (!p) {
		lost(here->gq);
		return;
	}
	*p = *here;
	memcpy(p->copy, here->data, here->len);
	p->data = p->copy;
	p->from = in_transit;
	__atomic_add_fetch(&in_transit->n, 1, __ATOMIC_RELAXED);
	if (lcore_post(p->to->lc, arrived, p) < 0) {
		__atomic_sub_fetch(&in_transit->n, 1, __ATOMIC_RELAXED);
		lost(here->gq);
		free(p);
	}
}

/* The same ports always use the same queue, so order is kept. */
static struct guest_queue *queue_for(struct guest *to, const struct zv_dgram_addr *addr)
{
	struct zv_dev_info dev = {.size = sizeof(dev)};
	unsigned up;

	(void)zv_dev_info(to->dev, &dev);
	up = dev.queues_up && dev.queues_up < to->n_queues ? dev.queues_up : to->n_queues;
	return &to->queues[(addr->peer_port ^ addr->local_port) % up];
}

struct sending {
	struct posted_dgram *here;
	struct dgram_in_transit *in_transit;
};

static void send_to(void *arg, struct guest *to)
{
	const struct sending *s = arg;
	struct posted_dgram *p = s->here;

	p->to = queue_for(to, &p->addr);
	if (p->to->lc != p->gq->lc)
		post(p, s->in_transit);
}

bool sibling_dgram(struct guest_queue *gq, struct dgram_in_transit *in_transit,
		   const struct zv_dgram_addr *from, const void *data, uint32_t len,
		   bool (*with)(struct guest *g, const struct zv_dgram_addr *to,
				void (*fn)(void *arg, struct guest *to), void *arg))
{
	struct posted_dgram here = {.gq = gq,
				    .data = data,
				    .len = len,
				    .addr = {.local_cid = from->peer_cid,
					     .local_port = from->peer_port,
					     .peer_port = from->local_port}};
	struct sending s = {.here = &here, .in_transit = in_transit};

	if (!with(gq->guest, from, send_to, &s))
		return false;
	if (here.to->lc == gq->lc) /* it is not taken off this lcore before we return */
		deliver(&here);
	return true;
}

void dgram_in_transit_end(struct dgram_in_transit *in_transit)
{
	unsigned steps = 0;

	while (__atomic_load_n(&in_transit->n, __ATOMIC_ACQUIRE))
		spin_step(&steps); /* the lcores take them within a round or two */
}
