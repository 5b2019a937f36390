/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the key "tcp": for lookup.c, which finds the addresses, and for tests. */
#ifndef ZVD_ENDPOINT_TCP_H
#define ZVD_ENDPOINT_TCP_H

#include "endpoint/endpoint.h"

#include <sys/socket.h>

/* PORT=HOST:TARGET: connections of the guest to host port PORT go to HOST:TARGET. */
struct tcp_port {
	struct cfg_ports port;
	char host[256]; /* a name or an address, without brackets */
	uint16_t target;
	/* host and target, looked up by lookup.h, never during a connection */
	struct sockaddr_storage addr;
	socklen_t addr_len; /* 0: not resolved yet */
};

struct tcp_values {
	struct cfg_array ports; /* of struct tcp_port, by port */
	char *trouble;		/* NULL, or which address is missing and why */
};

static inline struct tcp_values *tcp_values(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_tcp];
}

/* The i-th of them, up to ports.n. */
static inline struct tcp_port *tcp_port(const struct tcp_values *v, unsigned i)
{
	return (struct tcp_port *)v->ports.v + i;
}

/* What @port leads to, or NULL. */
static inline const struct tcp_port *tcp_at(const struct cfg_guest *g, uint32_t port)
{
	return cfg_find_port(&tcp_values(g)->ports, sizeof(struct tcp_port), port);
}

#endif
