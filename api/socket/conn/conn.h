/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life cycle of a connection. It has two holders: the table, while packets may arrive for it, and
 * the application, while it has the handle. conn_over() takes it out of the table, zv_conn_close()
 * gives the handle back; whichever comes second frees it.
 *
 * A connection in an accept queue whose peer closes it in order stays there, with the data it has
 * received, because it already belongs to the application. One that is reset is removed: nobody has
 * seen it.
 */
#ifndef ZV_CONN_H
#define ZV_CONN_H

#include "socket/core/state.h"

/*
 * Makes a connection and adds it to the table; @flags: 0 or CF_INTERNAL. On failure NULL and *err.
 */
struct zv_conn *conn_new(struct zv_queue *q, const struct conn_key *key,
			 const struct sock_type *sock, enum vc_state state, unsigned flags,
			 int *err);
/*
 * Ends the connection with @err (0: cleanly): takes it out of the table, and frees it when nobody
 * holds the handle.
 */
void conn_over(struct zv_conn *c, int err);
/* The same, and sends a RST to the peer. */
void conn_abort(struct zv_conn *c, int err);
/*
 * Ends @c because received data is gone with the memory that it lay in; nothing more is handed out.
 * @c may be freed. Returns what the receiving call has to return: the @done bytes that it has, or
 * -ECONNRESET.
 */
ssize_t conn_rx_lost(struct zv_conn *c, size_t done) __attribute__((cold));
/* Removes every trace and frees. */
void conn_free(struct zv_conn *c);
/* No longer counts it as one of max_conns. */
void conn_uncount(struct zv_conn *c);
/*
 * Ends the connection by RST when the peer has shut down both directions and everything is read
 * (section 5.10.6.5). Frees @c when nobody has the handle.
 */
void conn_end_drained(struct zv_conn *c);
/*
 * True if a connection of @key existed a short time ago, so packets for it may still arrive. A
 * guess (each of ZV_ENDED entries keeps its last one), good enough for counters.
 */
bool conn_ended_recently(struct zv_queue *q, const struct conn_key *key);
/* Drops connections that wait on closed listeners. */
void conns_unaccepted(struct zv_queue *q);
/* Runs the timers that are due at q->clock.now. */
void conn_timers_run(struct zv_queue *q);
/* Frees structures that are kept for the next connections. */
void conns_fini(struct zv_queue *q);

#endif
