/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels, as far as one *line* is concerned: to the driver of a queue, or to a program on a stock
 * guest (line.h). What was said there, which regions are mapped at its other end, and which ends of
 * channels are held there. A queue has one of the driver's, and one for each program; "driver"
 * means either in what follows.
 *
 * Theory of operation
 * -------------------
 * A driver that can use channels says so at the beginning of each session (HELLO, with the number
 * of the opened device). An application's is told of zvsockd's own region at once, of others when a
 * connection needs one. It answers when it has mapped the region, or cannot. Who needs to know
 * waits for that (struct broker_wait), but nobody waits for longer than BROKER_PATIENCE_NS: the
 * connection is then relayed, as all are that have no region in common.
 *
 * Ends that were granted on the line are released when the driver says so; when another driver has
 * come (another number: the one before has gone, with all queues of the device); when its process
 * has ended, as a VM that is killed does; and when the device ends. A session that ends alone
 * releases nothing: the application may still hold buffers. The driver says in the next one what it
 * holds (HOLDS), and what is not in that list is free.
 * A program's line is cut (broker_cut()) when its control connection ends, and so are its
 * connections.
 *
 * What a driver says is looked up and otherwise not believed. It costs a look-up for each message,
 * of which BROKER_NEWS_ROUND are taken in a round; memory is bounded by BROKER_REGIONS_MAX and by
 * the parts that it may hold (region.h). Those who wait for news look again when there is some,
 * BROKER_LOOKS_ROUND of them in a round, however often it comes.
 *
 * All of it on the queue's lcore; the queue's fields are its own.
 */
#ifndef ZVD_BROKER_H
#define ZVD_BROKER_H

#include "line.h"
#include "region.h"

#define BROKER_PATIENCE_NS                                                                         \
	(1000u * 1000000u)		    /* for a driver to map a region, or to take a grant    \
					     */
#define BROKER_RETRY_NS	   (10u * 1000000u) /* when the library had no room for a message */
#define BROKER_REGIONS_MAX 64u		    /* that a queue's driver is told of */
#define BROKER_NEWS_ROUND  64u
#define BROKER_LOOKS_ROUND 64u /* of those who wait */
#define BROKER_CUT_ROUND   64u /* of what goes with a line */

/* Takes what the driver has said: ZV_EV_BROKER. */
void broker_news(struct guest_queue *gq);

/* The line to the queue's driver. NULL: it has no channels, and will not have any in this session;
 * or no memory. */
struct broker *broker_driver(struct guest_queue *gq);

/* One to a program that has said HELLO, on the queue. NULL: no memory. */
struct broker *broker_new(struct guest_queue *gq, const struct line_ops *ops, void *arg);

/* What has come on it, but for HELLO. */
void broker_said(struct broker *b, const struct zv_broker_msg *m);

/* Takes what the programs of the queue have said before their next request. */
void broker_hear(struct guest_queue *gq);

/*
 * It is gone, and nothing is said on it any more. Those who wait, users and ends go with it,
 * BROKER_CUT_ROUND now and in each later round; then @b is freed.
 */
void broker_cut(struct broker *b);

/* Can the driver use @r now? */
enum broker_can {
	BROKER_NEVER,	 /* it has no channels */
	BROKER_DECLINED, /* it cannot map the region, or was not answering */
	BROKER_WAIT, /* it has been asked, or may still say that it has channels: broker_wait() */
	BROKER_CAN,
};
enum broker_can broker_can(struct broker *b, struct region *r);

/* Somebody who waits for an answer about @r. Zeroed memory waits for nothing. */
struct broker_wait {
	/* There is one, or there will not be one: ask broker_can() again. */
	void (*look)(struct broker_wait *w);
	struct region *region; /* NULL: does not wait */
	uint64_t news;	       /* broker.news, when it began to */
	TAILQ_ENTRY(broker_wait) link;
};

/* On BROKER_WAIT. */
void broker_wait(struct broker *b, struct broker_wait *w, struct region *r);
void broker_wait_end(struct broker *b, struct broker_wait *w);

/* Somebody who has a connection, or is to have one, on the line. Zeroed memory has none. */
struct broker_user {
	/* The line has been cut, and the user is not attached any more; @b is about to go. */
	void (*cut)(struct broker_user *u);
	struct broker *b; /* NULL: not attached */
	TAILQ_ENTRY(broker_user) link;
};

void broker_attach(struct broker *b, struct broker_user *u);
void broker_detach(struct broker_user *u);

/* As those of line_ops, whatever line it is. -EOPNOTSUPP: it is cut. */
int broker_connect(struct broker *b, const struct line_route *to, const struct zv_grant *g,
		   struct zv_conn **conn);
int broker_grant(struct broker *b, struct zv_conn *conn, const struct zv_grant *g);
const struct line_ops *broker_line(const struct broker *b);

/* The end has been granted to the driver. */
void broker_granted(struct broker *b, struct chan_end *e);

/* ---- the main thread ---- */

/* By lcore_call(): the device is being removed. Some of those who wait look; true: others still do.
 * And, when its connections are gone: nobody waits, and it holds no ends. */
bool broker_abort(struct guest_queue *gq);
void broker_end(struct guest_queue *gq);

/* By lcore_call(): zvsockd's own region is another one, or regions have been retired. */
void broker_regions_changed(struct guest_queue *gq);

#endif
