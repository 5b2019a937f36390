/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tcp_out endpoint: "tcp_out = PORT" and "tcp_allow = RULE". A host port at which the guest
 * requests, by SOCKS5 (socks.h), a TCP connection to an address or name of its choice. It gets what
 * the rules allow (allow.h): nothing without rules.
 */
#ifndef ZVD_ENDPOINT_TCP_OUT_H
#define ZVD_ENDPOINT_TCP_OUT_H

#include "allow.h"
#include "endpoint/endpoint.h"
#include "look_ups.h"

struct tcp_out_values {
	struct cfg_array ports; /* of struct cfg_ports, in their order */
	struct cfg_array rules; /* of struct allow_rule, in the order of the file */
};

static inline const struct tcp_out_values *tcp_out_values(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_tcp_out];
}

/* State of a guest that has such a port. */
struct tcp_out_guest {
	struct look_ups look_ups[ZV_QUEUES_MAX];
};

static inline struct tcp_out_guest *tcp_out_guest(const struct guest *g)
{
	return g->part[ENDPOINT_tcp_out];
}

/* Serves @conn, as endpoint_ops.serve, but never 0. */
int tcp_out_begin(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);

#endif
