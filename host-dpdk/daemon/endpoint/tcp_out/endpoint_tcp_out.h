/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tcp_out endpoint: "tcp_out = PORT" and "tcp_allow = RULE". A port of the host at which the
 * guest asks, by SOCKS5 (socks.h), for a TCP connection to an address or a name of its choice, and
 * gets what the rules allow (allow.h): nothing, unless there are some.
 */
#ifndef ZVD_ENDPOINT_TCP_OUT_H
#define ZVD_ENDPOINT_TCP_OUT_H

#include "allow.h"
#include "endpoint/endpoint.h"

struct tcp_out_values {
	struct cfg_array ports; /* of struct cfg_ports, in their order */
	struct cfg_array rules; /* of struct allow_rule, in the order of the file */
};

static inline const struct tcp_out_values *tcp_out_values(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_tcp_out];
}

/* Serves @conn, as endpoint_ops.serve, but never 0. */
int tcp_out_begin(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);

#endif
