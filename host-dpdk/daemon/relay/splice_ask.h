/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to another device of this zvsockd (a guest or an application) for the other side of a
 * splice.
 *
 * A peer that requests connections and closes them at once, again and again, could fill the other
 * lcore's mailbox faster than it is emptied. So at most SPLICE_ASKS_MAX requests of one device are
 * in transit at a time. A request that is refused here allocates no memory.
 */
#ifndef ZVD_SPLICE_ASK_H
#define ZVD_SPLICE_ASK_H

#include "splice.h"

#define SPLICE_ASKS_MAX 1024u

/* The requests of a device in transit to other lcores. Zeroed memory is initialised. */
struct splice_asks {
	unsigned n; /* atomic */
};

/*
 * Joins @conn of @gq, which is not answered yet, with a connection to @to. The caller keeps @to
 * from being freed during the call; after that it is enough that @to is removed from its lcores
 * before it is freed. 1: @conn is taken over; -EAGAIN: too many requests are in transit; -ENOMEM.
 */
int splice_ask(struct splice_asks *asks, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, const struct zv_conn_info *info, struct guest *to);

/* Waits until no request is in transit; no new ones may be made. */
void splice_asks_end(struct splice_asks *asks);

#endif
