/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endpoints: where a guest's connections go to, and come from, on the host; or those of the host in
 * a guest, when zvsockd is that guest ([device NAME]). Nothing here but endpoint_accept() knows
 * which of the two it is, and "the guest" is then the host in all that follows.
 *
 * Theory of operation
 * -------------------
 * A guest's REQUEST arrives as an unanswered connection (zv_listen_all). endpoint_accept() shows it
 * to the endpoint types in the order in which a port is looked up; the first that claims it owns it
 * from then on (core/owner.h). It reaches for the host side without blocking, and only when that is
 * connected answers the guest (zv_conn_answer): RESPONSE means that somebody is there. Whatever
 * goes wrong before is RST and a counter. Then a relay, a splice or a service of the type's own
 * moves the payload; all of them are flows (relay/flow.h).
 *
 * The other way round, an endpoint that listens on the host (unix, listen; acceptor.h) makes a
 * connection to the guest with zv_connect, and joins the two when the guest has said RESPONSE
 * (call_guest.h).
 *
 * All that is known of a type stands in its struct endpoint_ops: the keys that configure it and
 * what --check prints of them, what it serves, how it describes a connection. A new type is a file
 * with that constant, and a line in types.h; what it counts is lines in core/counters.h. Nothing
 * else tells the types apart.
 *
 * Threads: start(), stop(), trim(), extend() and free() are called by the main thread, describe()
 * by any, serve() by the lcore of the queue.
 */
#ifndef ZVD_ENDPOINT_H
#define ZVD_ENDPOINT_H

#include "config/config_part.h"
#include "core/owner.h"
#include "types.h"

#include <zvsock_dgram.h>

/* A type. */
struct endpoint_ops {
	const char *name;
	struct cfg_part cfg;   /* its keys of [guest NAME], and their values */
	struct conn_kind kind; /* of its connections: where one leads */

	/* Makes what the guest's configuration asks for (listening sockets). 0, or -errno and
	 * guest_fails(). May be NULL. */
	int (*start)(struct guest *g);
	/* Ends what start() has made. On return nothing new begins. May be NULL. */
	void (*stop)(struct guest *g);
	/*
	 * A reload has given the running guest its equal, but for what the part does not compare
	 * (cfg_part.same is NULL): trim() ends what is not configured any more, of all guests
	 * first; then extend() makes what is new. What fails is logged. May be NULL.
	 */
	void (*trim)(struct guest *g);
	void (*extend)(struct guest *g);
	/* Frees what stop() had to leave, after the last connection. May be NULL. */
	void (*free)(struct guest *g);
	/* It serves what is meant for a CID that is not ours, and nothing else. */
	bool others;
	/* Flags of zv_listen_all() that the configuration asks for. May be NULL. */
	uint32_t (*listen_flags)(const void *values);
	/* It serves @port of @g as things are, whatever programs bind. May be NULL. Any thread. */
	bool (*has_port)(const struct guest *g, uint32_t port);
	/*
	 * Takes @conn, which waits for its answer, when the endpoint serves its destination:
	 * 1: taken. 0: not ours. -errno: ours, and refused for that reason; the caller answers,
	 * closes, and counts nothing. NULL: it serves nothing.
	 */
	int (*serve)(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);
	/* Datagrams of such a guest may be the endpoint's. NULL: never. */
	bool (*has_datagrams)(const struct cfg_guest *c);
	/*
	 * Takes a datagram of @len bytes that the peer has sent to *from's local address, as
	 * .others says, and counts what becomes of it. False: nobody of ours is there. @data is the
	 * caller's. NULL: it takes none.
	 */
	bool (*datagram)(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
			 uint32_t len);
};

#define ENDPOINT_DECLARE(type) extern const struct endpoint_ops endpoint_##type;
ENDPOINT_TYPES(ENDPOINT_DECLARE)
#undef ENDPOINT_DECLARE

/* For cfg_load(). */
extern const struct cfg_part *const endpoint_parts[];

/* ---- a guest's endpoints as a whole ---- */

/* Starts all of @g; 0 or -errno. Then some may have been started: endpoints_stop() is due. */
int endpoints_start(struct guest *g);
/* No more new connections, from either side. */
void endpoints_stop(struct guest *g);
/* After a reload that keeps @g: endpoint_ops.trim, extend. */
void endpoints_trim(struct guest *g);
void endpoints_extend(struct guest *g);
/* After the last connection is gone. */
void endpoints_free(struct guest *g);
/* The type that has @port of @g and looks there before programs do; NULL: none. */
const char *endpoints_port(const struct guest *g, uint32_t port);
uint32_t endpoints_listen_flags(const struct cfg_guest *c);

/* Takes what waits in zv_accept of @gq: ZV_EV_ACCEPT. */
void endpoint_accept(struct guest_queue *gq);
/* Takes datagrams that wait on @gq, a bounded number: ZV_EV_DGRAM. */
void endpoint_datagrams(struct guest_queue *gq);
/* Datagrams of this guest lead somewhere. */
bool endpoints_take_datagrams(const struct cfg_guest *c);

#endif
