/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by broker.c and broker_region.c: a control connection, and the regions known at its other
 * end.
 */
#ifndef ZVD_BROKER_INT_H
#define ZVD_BROKER_INT_H

#include "broker.h"

enum known_state {
	KNOWN_TO_ANNOUNCE, /* must be announced when there is room */
	KNOWN_ANNOUNCED,   /* not answered yet */
	KNOWN_MAPPED,	   /* the driver has mapped it */
	KNOWN_DECLINED,	   /* the driver cannot map it */
	KNOWN_TO_WITHDRAW, /* must be withdrawn when there is room */
	KNOWN_WITHDRAWN,   /* withdrawn, but the driver still holds ends in it */
};

/* A region that is known at the other end of the control connection. */
struct known {
	struct region *region;
	enum known_state state;
	uint64_t announced_ns;
	bool logged;   /* that it was not mapped in time */
	uint32_t ends; /* how many of broker.ends are in it */
	TAILQ_ENTRY(known) link;
};

TAILQ_HEAD(wait_list, broker_wait);

struct broker {
	struct guest_queue *gq;
	const struct broker_conn_ops *ops;
	void *arg; /* argument of ops */
	/* The pointer to this one: gq->broker, or a `next` or the head of gq->programs_brokers or
	 * gq->closing_brokers. */
	struct broker **self;
	struct broker *next;
	bool over;	  /* closed: nothing is sent or received */
	bool hello;	  /* a driver has sent HELLO */
	bool offered;	  /* ... and has offered memory in this session */
	bool listed;	  /* ... and has listed all ends of former sessions */
	uint64_t session; /* counts sessions */
	uint64_t nonce;	  /* of the last driver, from HELLO */
	TAILQ_HEAD(, broker_user) users;
	TAILQ_HEAD(, known) known;
	unsigned n_known;
	struct wait_list waits; /* waiters for changes */
	struct wait_list due;	/* waiters to be called, BROKER_WAITERS_ROUND in a round */
	uint64_t changes;	/* how many there were; waiters since the last are in `waits` */
	struct lcore_work waiters_work; /* queued while `due` is not empty */
	TAILQ_HEAD(, chan_end) ends;	/* in the order of their sessions */
	struct lcore_timer retry;
	unsigned notifying; /* queues not yet notified of another driver; atomic */
};

/* ---- broker_region.c ---- */

void broker_regions_init(struct broker *b);
/* On return no work or timer of @b is pending, and it knows no region. */
void broker_regions_fini(struct broker *b);

/* Something has changed: all waiters will be called soon; each may wait again. */
void broker_wake_waiters(struct broker *b);
/* As above, but calls up to @*most waiters now and subtracts them from it. True: more remain. */
bool broker_wake_some(struct broker *b, unsigned *most);

struct known *known_find(const struct broker *b, const struct region *r);
struct known *known_find_id(const struct broker *b, uint64_t id);
/* Announces @r if that was not done yet. NULL: it is retired, no memory, or too many are known. */
struct known *known_make(struct broker *b, struct region *r);
void known_drop(struct broker *b, struct known *k);
/* A session has begun: forgets what was announced in the previous one. */
void known_begin(struct broker *b);

/* ---- broker.c ---- */

/* BROKER_CAN: regions may be announced to its driver. NEVER and WAIT as in broker_can(). */
enum broker_can broker_speaks(struct broker *b);

#endif
