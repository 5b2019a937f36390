/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A flow: a guest's connection whose payload is moved to or from something else. All limits on how
 * much is moved are applied here.
 *
 * Theory of operation
 * -------------------
 * Payload is moved between a guest's connection and a socket (relay.h), another connection
 * (splice.h) or a service of the daemon (endpoint_builtin.c). Each of them moves bytes in its own
 * way, whichever is cheapest. The common part is here: struct flow is the owner of the connection,
 * runs its work at the end of a round, gives the connection back, and is asked before payload is
 * moved.
 *
 * Limits. Code that moves payload calls flow_may() to ask how much it may move in this turn, and
 * reports the amount moved with flow_moved(). That amount may exceed the limit by what one library
 * call takes (some buffers, or the rest of a message), but is always bounded, so no connection
 * keeps its lcore from the others. If flow_may() returns 0, nothing may be moved now and the flow's
 * work runs again later. Events of the connection are set with flow_events(), so that a connection
 * that may not move anything is not told over and over that it could. A limit per connection (a
 * rate, a total) would therefore only change flow.c and struct flow.
 *
 * Payload that is only discarded is exempt from these limits: what the host sends to a guest that
 * no longer receives (relay_discard()), and what another guest has lent to such a guest. It reaches
 * nobody, so it is not charged to a connection's rate or total. Also, the full socket of a host
 * program must be emptied before the program's next write can fail, and a used-up limit must not
 * prevent that. Discarding is bounded by FLOW_QUOTA per turn and by work_may() per round.
 *
 * Work is counted in bytes; a buffer or a message counts as at least WORK_UNIT, because even a
 * small one has a cost. There is also a limit per round for all connections of a guest together,
 * since there can be thousands and other guests of the lcore wait meanwhile. Each of the guest's
 * queues on the lcore has an equal part of it. It covers the payload moved in either direction
 * (WORK_BYTES) and what is read for a guest that no longer receives. When it is used up, a flow
 * waits in a queue (flow_wait()), and the flows at the head of that queue get the next round's
 * share. The size of a read is not known in advance; what was charged too little is charged to the
 * next rounds.
 *
 * All functions run on the lcore of the queue.
 */
#ifndef ZVD_FLOW_H
#define ZVD_FLOW_H

#include "core/owner.h"

#define FLOW_QUOTA	262144u	   /* bytes of a connection, per direction and turn */
#define WORK_UNIT	4096u	   /* least cost of a buffer or message */
#define WORK_ROUND	(1u << 20) /* work per round, for all queues of a guest on the lcore */
#define WORK_BYTES	4u	   /* bytes of payload that count as one unit of that */
#define FLOW_ANY_BUFFER 65536u

struct flow {
	struct conn_owner owner; /* first */
	struct zv_conn *conn;	 /* NULL: none yet, or given back */
	struct lcore_work work;
	TAILQ_ENTRY(flow) turn; /* of gq->waiting */
	bool waits;
};

/* Makes @f, zeroed memory, the owner of @conn (NULL: none yet) and adds it to the list of @gq. */
void flow_init(struct flow *f, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, void (*run)(struct lcore_work *w));

/* Adds @f, which has been taken off the list of its queue by conn_owner_remove(), to that of @gq.
 */
void flow_add(struct flow *f, struct guest_queue *gq);

/* Gives the connection back, if there is one, by RST or in order, and cancels deferred work. */
void flow_close(struct flow *f, bool reset);

/* Bytes that may be moved in this turn. 0: none now; the work is deferred. */
uint32_t flow_may(struct flow *f);

/* Queues the flow for a share of a round; its work runs when it gets one. */
void flow_wait(struct flow *f);

static inline uint32_t work_of(uint32_t bytes)
{
	return bytes > WORK_UNIT ? bytes : WORK_UNIT;
}

/* @bytes (a buffer or a message) have been moved. Returns the work that they count as. */
static inline uint32_t flow_moved(struct flow *f, uint32_t bytes)
{
	f->owner.gq->left -= work_of(bytes / WORK_BYTES);
	return work_of(bytes);
}

/* Sets which events of the connection are wanted (ZV_EV_*). */
static inline void flow_events(struct flow *f, uint32_t events)
{
	zv_set_events(f->conn, events);
}

static inline void flow_defer(struct flow *f)
{
	lcore_defer(f->owner.gq->lc, &f->work);
}

static inline struct flow *flow_of_work(struct lcore_work *w)
{
	return (struct flow *)(void *)((char *)w - offsetof(struct flow, work));
}

/* The size of the guest's receive buffers; FLOW_ANY_BUFFER while it is not known. */
static inline uint32_t flow_buffer(const struct flow *f)
{
	return f->owner.gq->to_guest_cap ? f->owner.gq->to_guest_cap : FLOW_ANY_BUFFER;
}

/* As zv_buf_alloc, and records the size of the guest's buffers. */
int flow_alloc(struct flow *f, struct zv_buf *bufs, unsigned n, uint32_t len);

/* ---- limits of all connections of a queue in a round ---- */

/* False: the queue has used up its share of this round, or rests; flow_wait() for its turn. */
bool work_may(struct guest_queue *gq);
/* The queue's rest is over: those that wait get their turns. */
void flow_rested(struct guest_queue *gq);

/* A buffer or message of @bytes has been processed. Returns the work that it counts as. */
uint32_t work_done(struct guest_queue *gq, uint32_t bytes);

#endif
