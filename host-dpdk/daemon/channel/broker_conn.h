/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A control connection: how a broker (broker.h) communicates with the other end, to which it grants
 * ends of channels. There are two kinds, one constant each: the driver of a queue
 * (broker_conn_driver.c), through the calls of zvsock_broker.h; and a program on a stock guest,
 * through messages on a connection of its own (endpoint/endpoint_program.c).
 *
 * All functions run on the queue's lcore.
 */
#ifndef ZVD_BROKER_CONN_H
#define ZVD_BROKER_CONN_H

#include "core/guest.h"

#include <zvsock_broker.h>

/* Addresses of a connection to be made, as in zv_connect_from(). */
struct broker_route {
	uint64_t src_cid;
	uint32_t src_port, port;
	enum zv_type type;
};

/* @arg: as passed to broker_new(). -EAGAIN: no room now, try later; -EOPNOTSUPP: the other end
 * accepts no messages. */
struct broker_conn_ops {
	const char *who; /* in the log: "its driver" */
	bool fetches;	 /* the other end is the whole device, which can fetch descriptors */
	/* Wake-ups are payload of the connection, and the end of one direction is recorded only in
	 * the channel. */
	bool bytes;
	/* As zv_region_announce() and zv_region_forget(). */
	int (*announce)(struct guest_queue *gq, void *arg, const struct zv_region *r);
	int (*forget)(struct guest_queue *gq, void *arg, uint64_t id);
	/* As zv_connect_granted() and zv_conn_grant(): either the whole grant is sent or
	 * nothing. */
	int (*connect)(struct guest_queue *gq, void *arg, const struct broker_route *to,
		       const struct zv_grant *g, struct zv_conn **conn);
	int (*grant)(void *arg, struct zv_conn *conn, const struct zv_grant *g);
	/* Wakes the other end of @conn. -EAGAIN: not now; ZV_EV_OUT will follow. */
	int (*wake)(struct zv_conn *conn);
	/* Processes messages that have arrived. NULL: not needed, an event reports them in time. */
	void (*poll)(void *arg);
};

extern const struct broker_conn_ops broker_conn_driver;

#endif
