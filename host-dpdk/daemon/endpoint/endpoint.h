/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endpoints: where a guest's connections go to, and come from, on the host.
 *
 * Theory of operation
 * -------------------
 * A guest's REQUEST arrives as an unanswered connection (zv_listen_all). endpoint_accept() shows it
 * to the endpoints in the order in which a port is looked up; the first that claims it owns it from
 * then on. It reaches for the host side without blocking, and only when that is connected answers
 * the guest (zv_conn_answer): RESPONSE means that somebody is there. Whatever goes wrong before is
 * RST and a counter.
 *
 * The other way round, an endpoint that listens on the host (endpoint_unix) makes a connection to
 * the guest with zv_connect, and joins the two when the guest has said RESPONSE.
 *
 * Who owns a connection has put a struct conn_owner behind zv_set_user: the lcore hands it all
 * events of the connection. An owner is part of what the endpoint keeps of the connection, mostly a
 * struct relay (relay.h), and is on the queue's list, so that a guest can be removed.
 *
 * Threads: start() and stop() are called by the main thread, everything else by the lcore of the
 * queue. What lcores share of a guest (struct endpoints) is counters and the number of descriptors
 * held, all atomic.
 */
#ifndef ZVD_ENDPOINT_H
#define ZVD_ENDPOINT_H

#include "core/daemon.h"
#include "core/log.h"
#include "core/work.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <zvsock.h>

/* X(field, GROUP, meaning), as counters.h does. */
#define ENDPOINT_COUNTERS(X)                                                                       \
	X(host_accepted, CONNECTIONS, "connections taken from host programs")                      \
	X(host_joined, CONNECTIONS, "of those, joined with a connection to the guest")             \
	X(host_refused, CONNECTIONS, "of those, refused by the guest or not answered")             \
	X(guest_requests, CONNECTIONS, "connections asked for by the guest")                       \
	X(guest_joined, CONNECTIONS, "of those, joined with a host program")                       \
	X(bad_connect_line, ERRORS, "host programs whose first line was no CONNECT")               \
	X(connect_line_timeout, ERRORS, "host programs that sent no whole line in time")           \
	X(connect_line_closed, ERRORS, "host programs that left before their line was whole")      \
	X(no_endpoint, ERRORS, "refused: nothing is configured for the port")                      \
	X(sibling_denied, ERRORS, "refused: no guest of a shared group has the CID")               \
	X(sibling_share, ERRORS, "refused: other guests have their share of max_conns")            \
	X(connect_refused, ERRORS, "refused: nobody listens at the endpoint")                      \
	X(connect_failed, ERRORS, "refused: the endpoint could not be reached")                    \
	X(connect_timeout, ERRORS, "refused: the endpoint did not accept in time")                 \
	X(low_port_denied, ERRORS, "refused: port below 1024 and server not privileged")           \
	X(fd_limit, ERRORS, "refused: no descriptor left")                                         \
	X(no_memory, ERRORS, "refused: no memory left")                                            \
	X(host_resets, ERRORS, "connections that the host side reset")                             \
	X(guest_resets, ERRORS, "connections that the guest reset")                                \
	X(msg_too_long, ERRORS, "connections reset: a message was too long to be carried")         \
	X(msg_empty, ERRORS, "empty messages left out: the guest cannot take them")

struct endpoint_stats {
#define X(field, group, text) uint64_t field;
	ENDPOINT_COUNTERS(X)
#undef X
};

/* Whoever owns a connection; behind zv_set_user. */
struct conn_owner {
	void (*event)(struct conn_owner *o, const struct zv_event *ev);
	/* The guest is being removed: reset the connection, free everything as soon as possible.
	 * May be called again while that is under way. */
	void (*abort)(struct conn_owner *o);
	struct guest_queue *gq;
	TAILQ_ENTRY(conn_owner) link; /* of gq->owners */
};

/* Enters @o into its queue's list. */
void conn_owner_add(struct conn_owner *o, struct guest_queue *gq);
/* The last act of an owner: afterwards the guest may vanish. */
void conn_owner_remove(struct conn_owner *o);

/* One way to reach the host. Each is a constant in a file of its own. */
struct endpoint_ops {
	const char *name;
	/* Main thread: makes what the guest's configuration asks for (listening sockets). 0, or
	 * -errno and guest_fails(). May be NULL, as may stop. */
	int (*start)(struct guest *g);
	/* Main thread: ends what start() has made. On return nothing new begins. */
	void (*stop)(struct guest *g);
	/* Main thread: frees what stop() had to leave, after the last connection. May be NULL. */
	void (*free)(struct guest *g);
	/*
	 * Takes @conn, which waits for its answer, when the endpoint serves its destination:
	 * 1: taken. 0: not ours. -errno: ours, and refused for that reason; the caller answers,
	 * closes, and counts nothing.
	 */
	int (*serve)(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);
};

extern const struct endpoint_ops endpoint_sibling, endpoint_builtin, endpoint_tcp, endpoint_vsock,
	endpoint_unix;

struct unix_listener;
struct memberships;

/* What the endpoints keep of a guest, beside the connections. */
struct endpoints {
	struct endpoint_stats stats; /* atomic */
	uint32_t fds, max_fds;	     /* descriptors of connections; atomic */
	struct log_once refused;     /* what host programs were refused */
	struct unix_listener *listener;
	struct memberships *siblings;
};

/* Main thread: starts all endpoints of @g, or none. 0 or -errno. */
int endpoints_start(struct guest *g, uint32_t max_fds);
/* No more new connections, from either side. */
void endpoints_stop(struct guest *g);
/* After the last connection is gone. */
void endpoints_free(struct guest *g);

/* A copy of the counters. Any thread, while the guest lives. */
void endpoint_stats(const struct guest *g, struct endpoint_stats *st);

/* Takes what waits in zv_accept of @gq: ZV_EV_ACCEPT. */
void endpoint_accept(struct guest_queue *gq);

/* ---- for endpoints ---- */

#define ENDPOINT_COUNT(gq, field)                                                                  \
	((void)__atomic_fetch_add(&(gq)->guest->ep->stats.field, 1, __ATOMIC_RELAXED))

/*
 * Room for one more descriptor of the guest; endpoint_fd_put() or io_close_fd() + put gives it
 * back. False: the guest has all that it may have; counted and logged.
 */
bool endpoint_fd_get(struct guest_queue *gq);
void endpoint_fd_put(struct guest_queue *gq);
/* The system has refused a descriptor (@err: -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM). Counts, logs. */
void endpoint_fd_refused(struct guest_queue *gq, int err);

/* True if the process at the other end of the Unix socket @fd may serve @port for this guest. */
bool endpoint_may_serve(struct guest_queue *gq, int fd, uint32_t port);

#endif
