/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports that are listened on, and what waits there: connections to be accepted, or datagrams.
 *
 * Theory of operation
 * -------------------
 * Listeners are device-wide but looked up by every queue's thread for each REQUEST. The table is a
 * hash of chains; listener_link links at the head with a release store, readers follow with acquire
 * loads, no lock (barrier pair [L]). listener_unlink unlinks, raises dev->listen_gen and leaves the
 * structure alone; each queue notices the new generation in its next poll, drops what waits in its
 * accept queue and counts itself in `acked` (under closed_lock, which no other data path takes). A
 * queue that nobody polls is counted by a device call that finds its owner outside the library and
 * nothing in that accept queue: only a poll could have put something there. When all queues have
 * been counted, nobody can hold a pointer any more, and the next device call frees it.
 *
 * Each listener has an accept queue on each queue of the device. Those that ZV_EV_ACCEPT is due for
 * are on the queue's list q->accept.due; whatever has been reported or accepted from goes to the
 * end of it, so no port hides another.
 *
 * A port of datagrams is a listener of type VSOCK_TYPE_DGRAM, in a table of its own (enum
 * port_space). Its accept queues hold datagrams in the place of connections: dgram.c.
 */
#ifndef ZV_LISTENER_H
#define ZV_LISTENER_H

#include "state.h"

struct accept_queue {
	struct conn_list conns;
	TAILQ_ENTRY(accept_queue) link; /* q->accept.due */
	struct listener *listener;
	uint32_t count;		 /* connections, or datagrams */
	struct dgram_fifo *fifo; /* datagrams; NULL: none has come so far */
	uint8_t seen_closed;	 /* the queue has seen the unlinking; under closed_lock */
	uint8_t linked;		 /* on q->accept.due: there are some, and it is not quiet */
	uint8_t quiet;		 /* zv_set_accept: no ZV_EV_ACCEPT */
} SHM_CACHE_ALIGNED;

struct listener {
	struct listener *next; /* hash chain, read without lock */
	uint32_t port;	       /* ZV_PORT_ANY: the catch-all listener, which waits for answers */
	uint16_t type;	       /* 0: any that has connections */
	uint16_t flags;	       /* ZV_LISTEN_* */
	uint32_t backlog;      /* that may wait on a queue: connections, or bytes of datagrams */
	uint32_t acked;	       /* queues that have seen the unlinking; under closed_lock */
	struct listener *next_closed; /* device's list of unlinked ones */
	struct accept_queue q[];
};

/* ---- device calls ---- */

/* A listener of @port, not linked yet, or NULL. */
struct listener *listener_new(struct zv_dev *dev, uint32_t port, unsigned backlog);
/* Its type is set: that says in which table it is. */
void listener_link(struct zv_dev *dev, struct listener *l);
void listener_unlink(struct zv_dev *dev, struct listener *l);
/* Frees unlinked listeners that no queue can see any more. */
void listeners_reap(struct zv_dev *dev);
/* Frees all. No queue is left. */
void listeners_fini(struct zv_dev *dev);

/* ---- a queue's owner ---- */

/* The listener of a port, or NULL; the catch-all one is not looked at. */
struct listener *listener_find(struct zv_dev *dev, enum port_space space, uint32_t port);

static inline struct listener *listener_catch_all(struct zv_dev *dev, enum port_space space)
{
	return __atomic_load_n(&dev->catch_all[space], __ATOMIC_ACQUIRE);
}

/* The same; of ZV_PORT_ANY the catch-all one. */
static inline struct listener *listener_of(struct zv_dev *dev, enum port_space space, uint32_t port)
{
	return port == ZV_PORT_ANY ? listener_catch_all(dev, space)
				   : listener_find(dev, space, port);
}

/* A port has been closed since the queue looked last. */
static inline bool listener_closed(const struct zv_queue *q)
{
	return q->accept.listen_gen != __atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE);
}

/*
 * Walks the accept queues of ports that are closed: the one after @a (NULL: the first), NULL at the
 * end. What waits there is taken out before the next call, which counts the queue as seen.
 */
struct accept_queue *listener_closed_next(struct zv_queue *q, struct accept_queue *a);

/* @c waits to be accepted, by @l; takes it out of there again. */
void accept_put(struct listener *l, struct zv_conn *c);
void accept_take(struct zv_conn *c);
/* The first connection that waits for @port on @q, or NULL. *@found: there is a listener. */
struct zv_conn *accept_next(struct zv_queue *q, uint32_t port, bool *found);
/* @a holds @count connections or datagrams from here on. */
void accept_waiting(struct zv_queue *q, struct accept_queue *a, uint32_t count);
/* ZV_EV_DGRAM_OUT is due. */
static inline void accept_room(struct zv_queue *q)
{
	q->accept.ndue += !q->accept.room;
	q->accept.room = 1;
}
/* ZV_EV_ACCEPT or _DGRAM of the first @max listeners of the *@left that are not reported yet. */
unsigned accept_events(struct zv_queue *q, struct zv_event *events, unsigned max, uint32_t *left);
/* ZV_EV_ACCEPT of @l on @q is wanted, or not. */
void accept_report(struct zv_queue *q, struct listener *l, bool report);

#endif
