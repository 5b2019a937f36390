/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life of a connection. Two holders: the table, while packets may arrive for it, and the
 * application, while it has the handle. conn_over() takes it out of the table; zv_conn_close gives
 * the handle back; who comes second frees it.
 *
 * A connection that waits in an accept queue is the application's already when its peer closes it
 * in order: it stays there, with what it had sent. When it is reset it goes: nobody has seen it.
 */
#ifndef ZV_CONN_H
#define ZV_CONN_H

#include "socket/core/state.h"

/* A connection in the table, state @state, @flags 0 or CF_INTERNAL; NULL and *err. */
struct zv_conn *conn_new(struct zv_queue *q, const struct conn_key *key,
			 const struct sock_type *sock, enum vc_state state, unsigned flags,
			 int *err);
/* Over, for @err (0: cleanly): out of the table; freed too when nobody holds the handle. */
void conn_over(struct zv_conn *c, int err);
/* The same, and a RST tells the peer. */
void conn_abort(struct zv_conn *c, int err);
/*
 * What @c had received is gone with the memory that it lay in: ends it, hands nothing more out. @c
 * may be freed. Returns what the receiving call returns: the @done bytes that it has, or
 * -ECONNRESET.
 */
ssize_t conn_rx_lost(struct zv_conn *c, size_t done) __attribute__((cold));
/* Removes every trace and frees. */
void conn_free(struct zv_conn *c);
/* Does not count as one of max_conns any more. */
void conn_uncount(struct zv_conn *c);
/*
 * Ends the connection by RST when the peer has shut down both ways and everything is read (section
 * 5.10.6.5). When nobody has the handle, @c is freed.
 */
void conn_end_drained(struct zv_conn *c);
/*
 * A connection of @key was here, not long ago: what still comes for it was on its way when it
 * ended. A guess (the last end of each of ZV_ENDED places), good enough for counters.
 */
bool conn_ended_lately(struct zv_queue *q, const struct conn_key *key);
/* Drops connections that wait on listeners that are gone. */
void conns_unaccepted(struct zv_queue *q);
/* Runs timers that are due at q->clock.now. */
void conn_timers_run(struct zv_queue *q);
/* Frees structures that are kept for the next connections. */
void conns_fini(struct zv_queue *q);

#endif
