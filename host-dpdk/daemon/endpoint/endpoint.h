/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Endpoints: where a guest's connections go to, and come from, on the host; or those of the host in
 * a guest, when zvsockd is that guest ([device NAME]). Only endpoint_accept() here distinguishes
 * the two; in the second case "the guest" below means the host.
 *
 * Theory of operation
 * -------------------
 * A guest's REQUEST arrives as an unanswered connection (zv_listen_all). endpoint_accept() offers
 * it to the endpoint types in the order in which a port is looked up; the first that claims it owns
 * it from then on (core/owner.h). The endpoint connects to the host side without blocking, and
 * answers the guest (zv_conn_answer) only when that is connected: RESPONSE means that somebody is
 * there. Any failure before that results in RST and a counter. Then a relay, a splice or a service
 * of the type itself moves the payload; all of them are flows (relay/flow.h).
 *
 * In the other direction, an endpoint that listens on the host (unix, listen; acceptor.h) makes a
 * connection to the guest with zv_connect, and joins the two when the guest has sent RESPONSE
 * (call_guest.h).
 *
 * Everything about a type is in its struct endpoint_ops: the keys that configure it and what
 * --check prints of them, what it serves, how it describes a connection. A new type is a file with
 * that constant, and a line in types.h; its counters are lines in base/counters.h. Nothing else
 * distinguishes the types.
 *
 * Threads: start(), stop(), trim(), extend() and free() are called by the main thread, describe()
 * by any thread, serve() by the lcore of the queue.
 */
#ifndef ZVD_ENDPOINT_H
#define ZVD_ENDPOINT_H

#include "config/config_part.h"
#include "core/owner.h"
#include "types.h"

#include <zvsock_dgram.h>

/* An endpoint type. */
struct endpoint_ops {
	const char *name;
	struct cfg_part cfg;   /* its keys of [guest NAME], and their values */
	struct conn_kind kind; /* of its connections: where one leads */

	/* Creates what the guest's configuration asks for (listening sockets). 0, or -errno after
	 * guest_fails(). May be NULL. */
	int (*start)(struct guest *g);
	/* Ends what start() has created. On return nothing new begins. May be NULL. */
	void (*stop)(struct guest *g);
	/*
	 * A reload has replaced the configuration of the running guest by an equal one, except for
	 * values that the part does not compare (cfg_part.same is NULL). trim() ends what is no
	 * longer configured, for all guests first; then extend() creates what is new. Failures are
	 * logged. May be NULL.
	 */
	void (*trim)(struct guest *g);
	void (*extend)(struct guest *g);
	/* Frees what stop() could not, after the last connection. May be NULL. */
	void (*free)(struct guest *g);
	/* It serves only connections to a CID that is not ours. */
	bool others;
	/* Flags of zv_listen_all() required by the configuration. May be NULL. */
	uint32_t (*listen_flags)(const void *values);
	/* True: it serves @port of @g at present, whatever programs bind. @dgram: the port for
	 * datagrams of that number. May be NULL. Any thread. */
	bool (*has_port)(const struct guest *g, uint32_t port, bool dgram);
	/*
	 * Takes @conn, which is not answered yet, if the endpoint serves its destination. 1: taken.
	 * 0: not ours. -errno: ours, and refused for that reason; the caller answers, closes, and
	 * counts nothing. NULL: it serves nothing.
	 */
	int (*serve)(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);
	/* True: datagrams of such a guest may be for the endpoint. NULL: never. */
	bool (*has_datagrams)(const struct cfg_guest *c);
	/*
	 * Takes a datagram of @len bytes that the peer has sent to *from's local address (see
	 * `others`), and counts the outcome. False: no receiver here. @data belongs to the caller.
	 * NULL: it takes none.
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

/* Starts all endpoints of @g; 0 or -errno. On error some may have been started: call
 * endpoints_stop(). */
int endpoints_start(struct guest *g);
/* No more new connections, from either side. */
void endpoints_stop(struct guest *g);
/* After a reload that keeps @g: endpoint_ops.trim, extend. */
void endpoints_trim(struct guest *g);
void endpoints_extend(struct guest *g);
/* After the last connection is gone. */
void endpoints_free(struct guest *g);
/* The type that serves @port of @g before programs do, as has_port(); NULL: none. */
const char *endpoints_port(const struct guest *g, uint32_t port, bool dgram);
uint32_t endpoints_listen_flags(const struct cfg_guest *c);

/* Accepts the pending connections of @gq: ZV_EV_ACCEPT. */
void endpoint_accept(struct guest_queue *gq);
/* Receives a bounded number of pending datagrams of @gq: ZV_EV_DGRAM. */
void endpoint_datagrams(struct guest_queue *gq);
/* True: some endpoint takes datagrams of this guest. */
bool endpoints_take_datagrams(const struct cfg_guest *c);

#endif
