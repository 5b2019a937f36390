/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels, as far as one queue's driver is concerned: what it has said (zvsock_broker.h), which
 * regions it has mapped, and the ends that it holds.
 *
 * Theory of operation
 * -------------------
 * A driver that can use channels says so at the beginning of each session (HELLO, with the number
 * of the opened device). An application's is told of zvsockd's own region at once, of others when a
 * connection needs one. It answers when it has mapped the region, or cannot. Who needs to know
 * waits for that (struct broker_wait), but nobody waits for longer than BROKER_PATIENCE_NS: the
 * connection is then relayed, as all are that have no region in common.
 *
 * Ends that were granted on the queue are released when the driver says so; when another driver has
 * come (another number: the one before has gone, with all queues of the device); and when the
 * device ends. A session that ends alone releases nothing: the application may still hold buffers.
 *
 * What a driver says is looked up and otherwise not believed. It costs a look-up for each message,
 * of which BROKER_NEWS_ROUND are taken in a round; memory is bounded by BROKER_REGIONS_MAX and by
 * the parts that it may hold (region.h).
 *
 * All of it on the queue's lcore; the queue's fields are its own.
 */
#ifndef ZVD_BROKER_H
#define ZVD_BROKER_H

#include "region.h"

#define BROKER_PATIENCE_NS                                                                         \
	(1000u * 1000000u)		    /* for a driver to map a region, or to take a grant    \
					     */
#define BROKER_RETRY_NS	   (10u * 1000000u) /* when the library had no room for a message */
#define BROKER_REGIONS_MAX 64u		    /* that a queue's driver is told of */
#define BROKER_NEWS_ROUND  64u

/* Takes what the driver has said: ZV_EV_BROKER. */
void broker_news(struct guest_queue *gq);

/* Can the driver use @r now? */
enum broker_can {
	BROKER_NEVER,	 /* it has no channels */
	BROKER_DECLINED, /* it cannot map the region, or was not answering */
	BROKER_WAIT, /* it has been asked, or may still say that it has channels: broker_wait() */
	BROKER_CAN,
};
enum broker_can broker_can(struct guest_queue *gq, struct region *r);

/* Somebody who waits for an answer about @r. Zeroed memory waits for nothing. */
struct broker_wait {
	/* There is one, or there will not be one: ask broker_can() again. */
	void (*look)(struct broker_wait *w);
	struct region *region; /* NULL: does not wait */
	TAILQ_ENTRY(broker_wait) link;
};

/* On BROKER_WAIT. */
void broker_wait(struct guest_queue *gq, struct broker_wait *w, struct region *r);
void broker_wait_end(struct guest_queue *gq, struct broker_wait *w);

/* The end has been granted to the driver. */
void broker_granted(struct guest_queue *gq, struct chan_end *e);

/* ---- the main thread ---- */

/* By lcore_call(): the device is being removed. Nobody waits any more; and, when its connections
 * are gone, it holds no ends. */
void broker_abort(struct guest_queue *gq);
void broker_end(struct guest_queue *gq);

/* By lcore_call(): zvsockd's own region is another one, or regions have been retired. */
void broker_regions_changed(struct guest_queue *gq);

#endif
