/* SPDX-License-Identifier: BSD-3-Clause */
/* What broker.c and broker_region.c share: a line, and what is known at its other end. */
#ifndef ZVD_BROKER_INT_H
#define ZVD_BROKER_INT_H

#include "broker.h"

enum known_state {
	KNOWN_TELL,	/* to be announced when there is room */
	KNOWN_TOLD,	/* the driver has not answered */
	KNOWN_MAPPED,	/* it has it */
	KNOWN_DECLINED, /* it cannot have it */
	KNOWN_FORGET,	/* it is to be told that it is gone, when there is room */
	KNOWN_GONE,	/* it does not have it, but still holds ends in it */
};

/* A region that is known at the other end of the line. */
struct known {
	struct region *region;
	enum known_state state;
	uint64_t told_ns;
	uint32_t ends; /* of broker.ends that are in it */
	TAILQ_ENTRY(known) link;
};

TAILQ_HEAD(wait_list, broker_wait);

struct broker {
	struct guest_queue *gq;
	const struct line_ops *ops;
	void *arg;	      /* of the line */
	struct broker **self; /* what points to it: gq->broker, or the one before in gq->lines */
	struct broker *next;
	bool over;	  /* the line has been cut */
	bool hello;	  /* a driver has spoken */
	bool offered;	  /* ... and offered memory, in this session */
	bool listed;	  /* ... and named all ends of former sessions */
	uint64_t session; /* counts them */
	uint64_t nonce;	  /* of the last one */
	TAILQ_HEAD(, broker_user) users;
	TAILQ_HEAD(, known) known;
	unsigned n_known;
	struct wait_list waits;	     /* for news */
	struct wait_list due;	     /* there was some: each looks, BROKER_LOOKS_ROUND in a round */
	uint64_t news;		     /* counts it: who waits since the last is in `waits` */
	struct lcore_work again;     /* while some are due */
	TAILQ_HEAD(, chan_end) ends; /* in the order of their sessions */
	struct lcore_timer retry;
	unsigned telling; /* other queues that have not yet heard of the driver; atomic */
};

/* ---- broker_region.c ---- */

void broker_regions_init(struct broker *b);
/* On return neither work nor timers of @b are pending, and it knows no region. */
void broker_regions_fini(struct broker *b);

/* There is news: all who wait look again, soon; each may wait anew. */
void broker_look_again(struct broker *b);
/* The same, the first *@most before it returns, which are taken off. True: others wait still. */
bool broker_look_now(struct broker *b, unsigned *most);

struct known *known_find(const struct broker *b, const struct region *r);
struct known *known_find_id(const struct broker *b, uint64_t id);
/* Announces @r, unless that has been done. NULL: it is retired, no memory, or too many are known.
 */
struct known *known_make(struct broker *b, struct region *r);
void known_drop(struct broker *b, struct known *k);
/* A session has begun: what was announced in the one before is forgotten. */
void known_begin(struct broker *b);

/* ---- broker.c ---- */

/* BROKER_CAN: its driver says what it has mapped. */
enum broker_can broker_speaks(struct broker *b);

#endif
