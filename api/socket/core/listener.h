/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports that are listened on, and what waits there: connections to be accepted, or datagrams.
 *
 * Theory of operation
 * -------------------
 * Listeners are device-wide but looked up by every queue's thread for each REQUEST. The table is a
 * hash of chains; listener_link() inserts at the head with a release store, readers follow with
 * acquire loads, without a lock (barrier pair [L]). listener_unlink() unlinks, raises
 * dev->listen_gen and does not free. Each queue notices the new generation in its next poll, drops
 * what waits in its accept queue and counts itself in `acked` (under closed_lock, which no other
 * data path takes). A queue that nobody polls is counted by a device call, if its owner is outside
 * the library and that accept queue is empty: only a poll could have put something there. When all
 * queues are counted, no pointer is left, and the next device call frees the listener.
 *
 * Each listener has an accept queue on each queue of the device. Accept queues with ZV_EV_ACCEPT
 * due are on the list q->accept.due; one that was reported or accepted from moves to its end, so no
 * port starves another.
 *
 * A datagram port is a listener of type VSOCK_TYPE_DGRAM, in a table of its own (enum port_space).
 * Its accept queues hold datagrams instead of connections: dgram.c.
 */
#ifndef ZV_LISTENER_H
#define ZV_LISTENER_H

#include "state.h"

struct accept_queue {
	struct conn_list conns;
	TAILQ_ENTRY(accept_queue) link; /* q->accept.due */
	struct listener *listener;
	uint32_t count;		 /* connections, or datagrams */
	struct dgram_fifo *fifo; /* datagrams; NULL: none has arrived yet */
	uint8_t seen_closed;	 /* the queue is counted in `acked`; under closed_lock */
	uint8_t linked;		 /* on q->accept.due: not empty, and not muted */
	uint8_t muted;		 /* zv_set_accept: no ZV_EV_ACCEPT */
} SHM_CACHE_ALIGNED;

struct listener {
	struct listener *next; /* hash chain, read without lock */
	uint32_t port;	       /* ZV_PORT_ANY: the catch-all listener */
	uint16_t type;	       /* 0: any type with connections */
	uint16_t flags;	       /* ZV_LISTEN_* */
	uint32_t backlog; /* most that may wait per queue: connections, or bytes of datagrams */
	uint32_t acked;	  /* queues that have dropped it; under closed_lock */
	struct listener *next_closed; /* dev->closed */
	struct accept_queue q[];
};

/* ---- device calls ---- */

/* Allocates a listener of @port, not linked yet, or NULL. */
struct listener *listener_new(struct zv_dev *dev, uint32_t port, unsigned backlog);
/* l->type must be set: it selects the table. */
void listener_link(struct zv_dev *dev, struct listener *l);
void listener_unlink(struct zv_dev *dev, struct listener *l);
/* Frees unlinked listeners that no queue can see any more. */
void listeners_reap(struct zv_dev *dev);
/* Frees all listeners; the queues are gone. */
void listeners_fini(struct zv_dev *dev);

/* ---- a queue's owner ---- */

/* The listener of a port, or NULL; never the catch-all one. */
struct listener *listener_find(struct zv_dev *dev, enum port_space space, uint32_t port);

static inline struct listener *listener_catch_all(struct zv_dev *dev, enum port_space space)
{
	return __atomic_load_n(&dev->catch_all[space], __ATOMIC_ACQUIRE);
}

/* The same; for ZV_PORT_ANY the catch-all one. */
static inline struct listener *listener_of(struct zv_dev *dev, enum port_space space, uint32_t port)
{
	return port == ZV_PORT_ANY ? listener_catch_all(dev, space)
				   : listener_find(dev, space, port);
}

/* A port has been closed since the queue last checked. */
static inline bool listener_closed(const struct zv_queue *q)
{
	return q->accept.listen_gen != __atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE);
}

/*
 * Walks the accept queues of closed ports: the one after @a (NULL: the first), NULL at the end. The
 * caller empties it before the next call, which counts the queue in `acked`.
 */
struct accept_queue *listener_closed_next(struct zv_queue *q, struct accept_queue *a);

/* Adds @c to the accept queue of @l; removes it. */
void accept_put(struct listener *l, struct zv_conn *c);
void accept_take(struct zv_conn *c);
/* The first connection that waits for @port on @q, or NULL. *@found: there is a listener. */
struct zv_conn *accept_next(struct zv_queue *q, uint32_t port, bool *found);
/* Records that @a now holds @count connections or datagrams. */
void accept_waiting(struct zv_queue *q, struct accept_queue *a, uint32_t count);
/* ZV_EV_DGRAM_OUT is due. */
static inline void accept_dgram_out(struct zv_queue *q)
{
	q->accept.ndue += !q->accept.dgram_out;
	q->accept.dgram_out = 1;
}
/* Reports ZV_EV_ACCEPT or ZV_EV_DGRAM for up to @max of the *@left listeners not reported yet. */
unsigned accept_events(struct zv_queue *q, struct zv_event *events, unsigned max, uint32_t *left);
/* Turns ZV_EV_ACCEPT of @l on @q on or off. */
void accept_report(struct zv_queue *q, struct listener *l, bool report);

#endif
