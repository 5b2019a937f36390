/* SPDX-License-Identifier: BSD-3-Clause */
#include "listener.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

static struct listener **bucket(struct zv_dev *dev, enum port_space space, uint32_t port)
{
	return &dev->listeners[space][(port * 2654435761u) >> 26];
}
_Static_assert(ZV_LISTEN_HASH == 64, "bucket() takes the top 6 bits");

/* Where @l is linked. */
static struct listener **chain_of(struct zv_dev *dev, const struct listener *l)
{
	enum port_space space = l->type == VSOCK_TYPE_DGRAM ? PORTS_DGRAM : PORTS_CONN;

	return l->port == ZV_PORT_ANY ? &dev->catch_all[space] : bucket(dev, space, l->port);
}

struct listener *listener_find(struct zv_dev *dev, enum port_space space, uint32_t port)
{
	struct listener *l = __atomic_load_n(bucket(dev, space, port), __ATOMIC_ACQUIRE);

	while (l && l->port != port)
		l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE);
	return l;
}

struct listener *listener_new(struct zv_dev *dev, uint32_t port, unsigned backlog)
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

void listener_link(struct zv_dev *dev, struct listener *l)
{
	struct listener **head = chain_of(dev, l);

	l->next = *head;
	__atomic_store_n(head, l, __ATOMIC_RELEASE);
}

void listener_unlink(struct zv_dev *dev, struct listener *l)
{
	struct listener **pp = chain_of(dev, l);

	while (*pp != l)
		pp = &(*pp)->next;
	__atomic_store_n(pp, l->next, __ATOMIC_RELEASE); /* l->next stays: a reader may be on l */
	pthread_mutex_lock(&dev->closed_lock);
	l->next_closed = dev->closed;
	dev->closed = l;
	__atomic_fetch_add(&dev->listen_gen, 1, __ATOMIC_ACQ_REL); /* queues look at each poll */
	pthread_mutex_unlock(&dev->closed_lock);
}

/* ---- the end of a listener ---- */

static void listener_free(const struct zv_dev *dev, struct listener *l)
{
	for (unsigned i = 0; i < dev->nqueues; i++)
		free(l->q[i].fifo);
	free(l);
}

/* Counts the queues that cannot access @l again; call it after quiesce_barrier(). */
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
void listeners_reap(struct zv_dev *dev)
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
		listener_free(dev, l);
	}
	pthread_mutex_unlock(&dev->closed_lock);
}

void listeners_fini(struct zv_dev *dev)
{
	struct listener *l;

	for (unsigned s = 0; s < PORT_SPACES; s++) {
		for (unsigned i = 0; i < ZV_LISTEN_HASH; i++)
			while ((l = dev->listeners[s][i])) {
				dev->listeners[s][i] = l->next;
				listener_free(dev, l);
			}
		if (dev->catch_all[s])
			listener_free(dev, dev->catch_all[s]);
	}
	while ((l = dev->closed)) {
		dev->closed = l->next_closed;
		listener_free(dev, l);
	}
}

struct accept_queue *listener_closed_next(struct zv_queue *q, struct accept_queue *a)
{
	struct zv_dev *dev = q->dev;
	struct listener *l;

	pthread_mutex_lock(&dev->closed_lock);
	if (a) {
		a->seen_closed = 1;
		a->listener->acked++;
	}
	l = dev->closed; /* from its head: there may be new ones */
	while (l && l->q[q->index].seen_closed)
		l = l->next_closed;
	if (!l)
		q->accept.listen_gen = dev->listen_gen;
	pthread_mutex_unlock(&dev->closed_lock);
	return l ? &l->q[q->index] : NULL;
}

/* ---- connections that wait ---- */

/* Puts @a at the end of the list, or takes it off. */
static void relink(struct zv_queue *q, struct accept_queue *a)
{
	bool due = a->count && !a->muted;

	if (a->linked)
		TAILQ_REMOVE(&q->accept.due, a, link);
	q->accept.ndue -= a->linked;
	a->linked = due;
	if (due)
		TAILQ_INSERT_TAIL(&q->accept.due, a, link);
	q->accept.ndue += due;
}

void accept_waiting(struct zv_queue *q, struct accept_queue *a, uint32_t count)
{
	bool more = count > a->count;

	a->count = count;
	if (!more || !a->linked)
		relink(q, a);
}

void accept_put(struct listener *l, struct zv_conn *c)
{
	struct accept_queue *a = &l->q[c->q->index];

	c->flags |= CF_ACCEPTQ;
	c->accept.listener = l;
	TAILQ_INSERT_TAIL(&a->conns, c, accept.link);
	a->count++;
	if (!a->linked)
		relink(c->q, a);
}

void accept_take(struct zv_conn *c)
{
	struct accept_queue *a = &c->accept.listener->q[c->q->index];

	TAILQ_REMOVE(&a->conns, c, accept.link);
	a->count--;
	c->flags &= ~CF_ACCEPTQ;
	c->accept.listener = NULL;
	relink(c->q, a);
}

struct zv_conn *accept_next(struct zv_queue *q, uint32_t port, bool *found)
{
	struct listener *l = listener_of(q->dev, PORTS_CONN, port);
	struct accept_queue *a;
	struct zv_conn *c = l ? TAILQ_FIRST(&l->q[q->index].conns) : NULL;

	*found = l || port == ZV_PORT_ANY;
	if (l || port != ZV_PORT_ANY)
		return c;
	TAILQ_FOREACH(a, &q->accept.due, link)
		if ((c = TAILQ_FIRST(&a->conns)))
			return c;
	for (unsigned i = 0; i < ZV_LISTEN_HASH && !c; i++) { /* the muted ones */
		l = __atomic_load_n(&q->dev->listeners[PORTS_CONN][i], __ATOMIC_ACQUIRE);
		for (; l && !c; l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE))
			c = TAILQ_FIRST(&l->q[q->index].conns);
	}
	return c;
}

unsigned accept_events(struct zv_queue *q, struct zv_event *events, unsigned max, uint32_t *left)
{
	unsigned n = 0;

	if (q->accept.dgram_out && max && *left) {
		q->accept.dgram_out = 0;
		q->accept.ndue--;
		--*left;
		events[n++] = (struct zv_event){.events = ZV_EV_DGRAM_OUT};
	}
	for (; n < max && *left; --*left) {
		struct accept_queue *a = TAILQ_FIRST(&q->accept.due);

		events[n++] = (struct zv_event){.events = a->listener->type == VSOCK_TYPE_DGRAM
								  ? ZV_EV_DGRAM
								  : ZV_EV_ACCEPT,
						.port = a->listener->port};
		relink(q, a);
	}
	return n;
}

void accept_report(struct zv_queue *q, struct listener *l, bool report)
{
	l->q[q->index].muted = !report;
	relink(q, &l->q[q->index]);
}
