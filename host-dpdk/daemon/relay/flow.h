/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A flow: a connection of a guest whose payload is moved to or from something else, and the one
 * place that limits how much.
 *
 * Theory of operation
 * -------------------
 * Payload goes between a guest's connection and a socket (relay.h), another connection (splice.h)
 * or a service of the daemon's own (endpoint_builtin.c). How bytes get from one to the other
 * differs, for each has its own cheapest way; what is common to all three is here: a struct flow is
 * the connection's owner, runs its work at the end of a round, gives it back, and is asked before
 * payload is moved.
 *
 * Limits. Whoever moves payload asks flow_may() how much it may be in this turn, and reports to
 * flow_moved() what it was. That may be more by what one call of the library takes (some buffers,
 * or the rest of a message), never without limit: so no connection keeps its lcore from the others.
 * The answer 0 means: nothing now, and the flow's work runs again later. Events of the connection
 * go through flow_events(), because one that is not allowed to move anything must not be told again
 * and again that it could. A limit for each connection (a rate, a total) is so a change of flow.c
 * and of struct flow.
 *
 * What is only thrown away is outside of these limits: what the host sends to a guest that receives
 * no more (relay_discard()), and what another guest has lent to such a guest. It reaches nobody, so
 * nothing of a connection's rate or total is spent on it; and a limit that is used up must not keep
 * a host program from the write that fails, for which its full socket has to be emptied. It is
 * bounded by FLOW_QUOTA in a turn and by work_may() in a round.
 *
 * Work is counted in bytes, and a buffer or a message counts WORK_UNIT at least, however small it
 * is: each costs something. What is moved, either way (WORK_BYTES), and what is read for a guest
 * that receives no more, also has a limit for all connections of a queue together, in a round:
 * there can be thousands, and other guests of the lcore wait meanwhile. When it is used up, a flow
 * waits in line (flow_wait()), and those at the head of it have the next round's share. How much a
 * read will bring is not known before; what was too little is made up for in the next rounds.
 *
 * On the lcore of the queue.
 */
#ifndef ZVD_FLOW_H
#define ZVD_FLOW_H

#include "core/owner.h"

#define FLOW_QUOTA	262144u	   /* bytes of a connection, per direction and turn */
#define WORK_UNIT	4096u	   /* what a buffer or message counts at least */
#define WORK_ROUND	(1u << 20) /* of a queue and round */
#define WORK_BYTES	4u	   /* bytes of payload that count as one of these */
#define FLOW_ANY_BUFFER 65536u

enum flow_dir { FLOW_FROM_GUEST, FLOW_TO_GUEST };

struct flow {
	struct conn_owner owner; /* first */
	struct zv_conn *conn;	 /* NULL: there is none yet, or it has been given back */
	struct lcore_work work;
	TAILQ_ENTRY(flow) turn; /* of gq->waiting */
	bool waits;
};

/* @f, zeroed memory, is the owner of @conn (NULL: of none yet) and on the list of @gq. */
void flow_init(struct flow *f, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, void (*run)(struct lcore_work *w));

/* Gives the connection back, if there is one, by RST or in order; no work is put off any more. */
void flow_close(struct flow *f, bool reset);

/* Bytes that may be moved in direction @dir in this turn. 0: none now; the work is put off. */
uint32_t flow_may(struct flow *f, enum flow_dir dir);

/* Runs the flow's work when it is its turn in the line for a share of a round. */
void flow_wait(struct flow *f);

static inline uint32_t work_of(uint32_t bytes)
{
	return bytes > WORK_UNIT ? bytes : WORK_UNIT;
}

/* @bytes, a buffer or a message, have been moved. Returns the work that they count as. */
static inline uint32_t flow_moved(struct flow *f, enum flow_dir dir, uint32_t bytes)
{
	(void)dir;
	f->owner.gq->left -= work_of(bytes / WORK_BYTES);
	return work_of(bytes);
}

/* Which events of the connection are wanted (ZV_EV_*). */
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

/* As zv_buf_alloc, and learns the size of the guest's buffers. */
int flow_alloc(struct flow *f, struct zv_buf *bufs, unsigned n, uint32_t len);

/* ---- what a queue's connections may do in a round ---- */

/* False: the queue has had its share of this round; flow_wait(), for the next one. */
bool work_may(struct guest_queue *gq);

/* A buffer or message of @bytes has been dealt with. Returns what it counts. */
uint32_t work_done(struct guest_queue *gq, uint32_t bytes);

#endif
