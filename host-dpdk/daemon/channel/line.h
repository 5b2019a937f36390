/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A line: how a broker (broker.h) speaks to whoever gets ends of channels. There are two kinds, a
 * constant each: the driver of a queue (line_driver.c), by the calls of zvsock_broker.h; and a
 * program on a stock guest, by messages on a connection of its own (endpoint/endpoint_program.c).
 *
 * On the queue's lcore.
 */
#ifndef ZVD_LINE_H
#define ZVD_LINE_H

#include "core/guest.h"

#include <zvsock_broker.h>

/* Of a connection that is to be made, as in zv_connect_from(). */
struct line_route {
	uint64_t src_cid;
	uint32_t src_port, port;
	enum zv_type type;
};

/* @arg: of broker_new(). -EAGAIN: no room now, try later; -EOPNOTSUPP: it takes no messages. */
struct line_ops {
	const char *who; /* in the log: "its driver" */
	bool fetches;	 /* the other end is the whole device, which may fetch descriptors */
	bool bytes;	 /* wake-ups are payload of the connection, and ends of one half are said in
			    the channel alone */
	/* As zv_region_announce() and zv_region_forget(). */
	int (*announce)(struct guest_queue *gq, void *arg, const struct zv_region *r);
	int (*forget)(struct guest_queue *gq, void *arg, uint64_t id);
	/* As zv_connect_granted() and zv_conn_grant(): the whole grant is on its way, or nothing.
	 */
	int (*connect)(struct guest_queue *gq, void *arg, const struct line_route *to,
		       const struct zv_grant *g, struct zv_conn **conn);
	int (*grant)(void *arg, struct zv_conn *conn, const struct zv_grant *g);
	/* Wakes the other end of @conn. -EAGAIN: not now; ZV_EV_OUT will tell. */
	int (*wake)(struct zv_conn *conn);
	/* Takes what has come, if whoever it is for is not told otherwise before. May be NULL. */
	void (*hear)(void *arg);
};

extern const struct line_ops line_driver;

#endif
