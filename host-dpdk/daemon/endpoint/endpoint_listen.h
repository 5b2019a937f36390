/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the key "listen"; for tests as well. */
#ifndef ZVD_ENDPOINT_LISTEN_H
#define ZVD_ENDPOINT_LISTEN_H

#include "endpoint.h"

#include <sys/socket.h>

/* PATH:PORT or ADDRESS:TCPPORT:PORT: connections there are joined with PORT of the guest. */
struct listen_at {
	char text[CFG_PATH_MAX + 12]; /* the whole value, for messages */
	char at[CFG_PATH_MAX];	      /* PATH, or ADDRESS:TCPPORT */
	uint32_t port;
	struct sockaddr_storage addr; /* of TCP */
	socklen_t addr_len;	      /* 0: a Unix socket */
};

struct listen_values {
	struct cfg_array at; /* of struct listen_at, in the order of the file */
};

static inline const struct listen_values *listen_values(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_listen];
}

#endif
