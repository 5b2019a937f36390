/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that wait to be accepted. Each listener has a queue of them on each queue of the
 * device. Those that ZV_EV_ACCEPT is due for are on the queue's list q->accepts; whatever has been
 * reported or accepted from goes to the end of it, so no port hides another.
 */
#include "socket.h"

#include <errno.h>

/* Puts @a where it belongs: at the end of the list, or off it. */
static void relink(struct zv_queue *q, struct accept_queue *a)
{
	bool due = a->count && !a->quiet;

	if (a->linked)
		TAILQ_REMOVE(&q->accepts, a, link);
	q->naccepts -= a->linked;
	a->linked = due;
	if (due)
		TAILQ_INSERT_TAIL(&q->accepts, a, link);
	q->naccepts += due;
}

void accept_put(struct listener *l, struct zv_conn *c)
{
	struct accept_queue *a = &l->q[c->q->index];

	c->flags |= CF_ACCEPTQ;
	c->listener = l;
	TAILQ_INSERT_TAIL(&a->conns, c, acceptlink);
	a->count++;
	if (!a->linked)
		relink(c->q, a);
}

void accept_take(struct zv_conn *c)
{
	struct accept_queue *a = &c->listener->q[c->q->index];

	TAILQ_REMOVE(&a->conns, c, acceptlink);
	a->count--;
	c->flags &= ~CF_ACCEPTQ;
	c->listener = NULL;
	relink(c->q, a);
}

/* The listener of @port that zv_accept and zv_set_accept mean. */
static struct listener *find(struct zv_queue *q, uint32_t port)
{
	return port == ZV_PORT_ANY ? listener_catch_all(q->dev) : listener_find(q->dev, port);
}

struct zv_conn *accept_next(struct zv_queue *q, uint32_t port, bool *found)
{
	struct listener *l = find(q, port);
	struct zv_conn *c = l ? TAILQ_FIRST(&l->q[q->index].conns) : NULL;

	*found = l || port == ZV_PORT_ANY;
	if (l || port != ZV_PORT_ANY)
		return c;
	if (!TAILQ_EMPTY(&q->accepts))
		return TAILQ_FIRST(&TAILQ_FIRST(&q->accepts)->conns);
	for (unsigned i = 0; i < ZV_LISTEN_HASH && !c; i++) { /* the quiet ones */
		l = __atomic_load_n(&q->dev->listeners[i], __ATOMIC_ACQUIRE);
		for (; l && !c; l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE))
			c = TAILQ_FIRST(&l->q[q->index].conns);
	}
	return c;
}

unsigned accept_events(struct zv_queue *q, struct zv_event *events, unsigned max, uint32_t *left)
{
	unsigned n = 0;

	for (; n < max && *left; --*left) {
		struct accept_queue *a = TAILQ_FIRST(&q->accepts);

		events[n++] = (struct zv_event){.events = ZV_EV_ACCEPT, .port = a->listener->port};
		relink(q, a);
	}
	return n;
}

int zv_accept(struct zv_queue *q, uint32_t port, struct zv_conn **conn)
{
	struct zv_conn *c;
	bool found;

	if (!q || !conn)
		return zv_err(-EINVAL, "zv_accept: queue and conn must not be NULL");
	queue_enter(q);
	queue_sync(q);
	if (!q->leaving && q->listen_gen != __atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE))
		listener_sync(q); /* what waited for a port that is closed now */
	while ((c = accept_next(q, port, &found)) && q->leaving && c->flags & CF_IN_TABLE)
		conn_leave(c); /* it waits no more, or it had been closed: then it stays */
	if (c) {
		accept_take(c);
		conn_ready(c); /* data may have come before */
		*conn = c;
	}
	queue_leave(q);
	if (!found)
		return zv_err(-ENOENT, "zv_accept: nothing listens on port %u", port);
	return c ? 0 : zv_fail(-EAGAIN, "zv_accept: no connection waits: ZV_EV_ACCEPT tells when");
}

int zv_set_accept(struct zv_queue *q, uint32_t port, bool report)
{
	struct listener *l;

	if (!q)
		return zv_err(-EINVAL, "zv_set_accept: queue must not be NULL");
	queue_enter(q);
	l = find(q, port);
	if (l) {
		l->q[q->index].quiet = !report;
		relink(q, &l->q[q->index]);
	}
	queue_leave(q);
	if (l)
		return 0;
	return port == ZV_PORT_ANY
		       ? zv_err(-ENOENT, "zv_set_accept: there is no catch-all listener")
		       : zv_err(-ENOENT, "zv_set_accept: nothing listens on port %u", port);
}
