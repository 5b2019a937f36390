/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asking another device of this zvsockd for the other half of a splice: a guest, or an application.
 *
 * Who requests and gives up at once, again and again, could fill the other lcore's mailbox faster
 * than that one reads it: no more than SPLICE_ASKS_MAX of an asker are on their way at a time.
 * A request that is refused here costs no memory at all.
 */
#ifndef ZVD_SPLICE_ASK_H
#define ZVD_SPLICE_ASK_H

#include "splice.h"

#define SPLICE_ASKS_MAX 1024u

/* What an asker has on its way to other lcores. Zeroed memory is a fresh one. */
struct splice_asks {
	unsigned n; /* atomic */
};

/*
 * Joins @conn of @gq, which waits for its answer, with a connection that @to gets. The caller keeps
 * @to from being freed during the call; afterwards it is enough that it is taken off its lcores
 * first. 1: @conn is taken; -EAGAIN: too many are on their way; -ENOMEM.
 */
int splice_ask(struct splice_asks *asks, struct guest_queue *gq, struct zv_conn *conn,
	       const struct conn_kind *kind, const struct zv_conn_info *info, struct guest *to);

/* Waits until nothing of the asker is on its way; it asks no more. */
void splice_asks_end(struct splice_asks *asks);

#endif
