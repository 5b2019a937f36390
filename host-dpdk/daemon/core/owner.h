/* SPDX-License-Identifier: BSD-3-Clause */
/* The owner of a guest's connection: it gets the connection's events, ends the connection when the
 * guest is removed, and knows where it leads. */
#ifndef ZVD_OWNER_H
#define ZVD_OWNER_H

#include "guest.h"

#include <stddef.h>

struct conn_kind;

/* Part of the state of a connection, set with zv_set_user. On the lcore of @gq. */
struct conn_owner {
	const struct conn_kind *kind; /* NULL: there is no connection of the guest */
	void (*event)(struct conn_owner *o, const struct zv_event *ev);
	/* The guest is being removed: reset the connection and free everything as soon as possible.
	 * May be called again meanwhile. */
	void (*abort)(struct conn_owner *o);
	bool channel; /* payload goes through shared memory, past zvsockd */
	struct guest_queue *gq;
	TAILQ_ENTRY(conn_owner) link; /* of gq->owners */
};

/* Common to connections that lead to the same kind of place; one for each endpoint type. */
struct conn_kind {
	/* Writes where a connection of @g leads on the host, for zvsockctl and the log:
	 * "tcp:HOST:PORT". Any thread; the caller ensures that @g is not freed meanwhile. */
	void (*describe)(const struct guest *g, const struct zv_conn_info *info, char *buf,
			 size_t len);
	/* Replaces the owner in zv_set_user when the owner has closed the connection, whose close
	 * may take a while (zv_conn_close). */
	struct conn_owner closed;
};
#define CONN_KIND(self, describe_)                                                                 \
	{                                                                                          \
		.describe = (describe_), .closed = {.kind = &(self), .event = conn_closed }        \
	}

/* The event() of a closed connection: does nothing. */
void conn_closed(struct conn_owner *o, const struct zv_event *ev);

/* Adds @o to the list of @gq. */
void conn_owner_add(struct conn_owner *o, struct guest_queue *gq);
/* The last call of an owner: the guest may be freed afterwards. */
void conn_owner_remove(struct conn_owner *o);

/* Gives the owner's connection back, with zv_conn_reset or zv_conn_close. */
void conn_owner_close(struct conn_owner *o, struct zv_conn *conn, bool reset);

/*
 * Logs a line about @o's connection at level debug: its ports, where it leads, bytes, and @what:
 * "opened", "half-closed by the peer", "ended: reset by the peer". At any other level it costs one
 * comparison.
 */
void conn_log(const struct conn_owner *o, struct zv_conn *conn, const char *what);

#endif
