/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names that the connections of a queue wait for (resolve.h). A guest may have tens of
 * thousands of such connections and few look-ups at a time, so those whose look-up cannot begin yet
 * wait in line, and one timer of the queue, not one a connection, checks for answers and begins the
 * next ones. On the queue's lcore.
 */
#ifndef ZVD_LOOK_UPS_H
#define ZVD_LOOK_UPS_H

#include "core/guest.h"
#include "resolve.h"

#define LOOK_UPS_POLL_NS (10u * UINT64_C(1000000)) /* between two checks for answers */

/* A connection that waits for a name. Zeroed memory does not wait. */
struct look_up {
	const char *name; /* belongs to the connection */
	/* @found: as resolve_result(), valid during the call. @err: 0, or why nothing was asked. */
	void (*over)(struct look_up *u, const struct addrinfo *found, int err);
	bool waits; /* in one of the two lists */
	struct resolve *asked;
	TAILQ_ENTRY(look_up) link;
};

/* Of a queue. */
struct look_ups {
	TAILQ_HEAD(look_up_list, look_up) line, asked;
	struct guest_queue *gq;
	struct lcore_timer timer; /* runs while one of the two lists has some */
};

void look_ups_init(struct look_ups *l, struct guest_queue *gq);

/* Asks for u->name. u->over() is called in it or later, but not after look_up_end(). */
void look_up_begin(struct look_ups *l, struct look_up *u);
/* May be called at any time. */
void look_up_end(struct look_ups *l, struct look_up *u);

#endif
