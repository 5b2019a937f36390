/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels, as seen from one *control connection*: that to the driver of a queue, or to a program
 * on a stock guest (broker_conn.h). A broker records what arrived on it, which regions are mapped
 * at its other end, and which ends of channels are held there. A queue has one to its driver and
 * one to each program; below, "driver" means either.
 *
 * Theory of operation
 * -------------------
 * A driver that can use channels sends HELLO at the start of each session, with a number that
 * identifies the opened device (the nonce). zvsockd's own region is announced to an application's
 * driver at once, other regions when a connection needs one. The driver answers when it has mapped
 * the region, or that it cannot. Code that needs to know waits for that answer (struct
 * broker_wait), but never for longer than broker_timeout_ns(): the connection is then relayed, like
 * any connection whose ends have no region in common.
 *
 * Ends granted on the control connection are released when the driver releases them; when another
 * driver has come (with another number: the former one is gone, with all queues of the device);
 * when the driver's process has ended, as with a VM that is killed; and when the device ends. The
 * end of a session alone releases nothing: the application may still hold buffers. In the next
 * session the driver lists what it holds (HOLDS), and what is not in that list is released. The
 * broker of a program is closed (broker_close()) when its control connection ends, and the
 * program's connections end with it.
 *
 * Messages of a driver are checked against what the broker has recorded, and not trusted otherwise.
 * Each message costs one look-up; at most BROKER_MSGS_ROUND of them are processed in a round.
 * Memory is bounded by BROKER_REGIONS_MAX and by the parts that the driver may hold (region.h).
 * Waiters are called when something changes, at most BROKER_WAITERS_ROUND of them in a round, no
 * matter how often things change.
 *
 * All functions run on the queue's lcore; the queue's fields belong to it.
 */
#ifndef ZVD_BROKER_H
#define ZVD_BROKER_H

#include "broker_conn.h"
#include "region.h"

#define BROKER_RETRY_NS	     (10u * 1000000u) /* when the library had no room for a message */
#define BROKER_REGIONS_MAX   64u	      /* regions announced to one driver */
#define BROKER_MSGS_ROUND    64u
#define BROKER_WAITERS_ROUND 64u /* waiters called in a round */
#define BROKER_CLOSE_ROUND   64u /* items of a closed broker released in a round */

/* How long a connection may wait for a driver to map a region or accept a grant: the key
 * channel_timeout_ms. Any thread. */
uint64_t broker_timeout_ns(void);
void broker_set_timeout(uint32_t ms);

/* Processes the driver's messages: ZV_EV_BROKER. */
void broker_poll(struct guest_queue *gq);

/* The broker of the queue's driver, created if needed. NULL: the driver has no channels and will
 * not have any in this session, or there is no memory. */
struct broker *broker_driver(struct guest_queue *gq);

/* A broker for a program on the queue that has sent HELLO. NULL: no memory. */
struct broker *broker_new(struct guest_queue *gq, const struct broker_conn_ops *ops, void *arg);

/* Processes a message received on the control connection, except HELLO. */
void broker_on_msg(struct broker *b, const struct zv_broker_msg *m);

/* Processes the messages that programs of the queue have sent so far: to be called before their
 * next connection request is served. */
void broker_poll_programs(struct guest_queue *gq);

/* The control connection is gone; nothing may be sent on it any more. Its waiters, users and ends
 * are dropped, BROKER_CLOSE_ROUND now and in each later round; then @b is freed. */
void broker_close(struct broker *b);

/* Can the driver use @r now? */
enum broker_can {
	BROKER_NEVER,	 /* the driver has no channels */
	BROKER_DECLINED, /* it cannot map the region, or did not answer in time */
	BROKER_WAIT,	 /* not answered yet, or HELLO may still come: broker_wait() */
	BROKER_CAN,
};
enum broker_can broker_can(struct broker *b, struct region *r);

/* A waiter for an answer about @r. Zeroed memory waits for nothing. */
struct broker_wait {
	/* There is an answer, or there will be none: call broker_can() again. */
	void (*wake_up)(struct broker_wait *w);
	struct region *region; /* NULL: not waiting */
	uint64_t changes;      /* broker.changes when the wait began */
	TAILQ_ENTRY(broker_wait) link;
};

/* After broker_can() has returned BROKER_WAIT. */
void broker_wait(struct broker *b, struct broker_wait *w, struct region *r);
void broker_wait_end(struct broker *b, struct broker_wait *w);

/* A user of the control connection: it has, or will have, a connection with the driver. Zeroed
 * memory: not attached. */
struct broker_user {
	/* The control connection is closed and the user has been detached; @b will be freed
	 * soon. */
	void (*closed)(struct broker_user *u);
	struct broker *b; /* NULL: not attached */
	TAILQ_ENTRY(broker_user) link;
};

void broker_attach(struct broker *b, struct broker_user *u);
void broker_detach(struct broker_user *u);

/* As the functions of broker_conn_ops, for both kinds. -EOPNOTSUPP: the broker has been closed. */
int broker_connect(struct broker *b, const struct broker_route *to, const struct zv_grant *g,
		   struct zv_conn **conn);
int broker_grant(struct broker *b, struct zv_conn *conn, const struct zv_grant *g);
const struct broker_conn_ops *broker_ops(const struct broker *b);

/* The end has been granted to the driver: records it. */
void broker_granted(struct broker *b, struct chan_end *e);

/* ---- the main thread ---- */

/*
 * By lcore_call(): the device is being removed. Calls some of the waiters; true: more remain.
 * broker_end() follows when the device's connections are gone: nobody waits any more, and no ends
 * are held.
 */
bool broker_abort(struct guest_queue *gq);
void broker_end(struct guest_queue *gq);

/* By lcore_call(): zvsockd's own region has been replaced, or regions have been retired. */
void broker_regions_changed(struct guest_queue *gq);

#endif
