/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the key "vsock"; for tests as well. */
#ifndef ZVD_ENDPOINT_VSOCK_H
#define ZVD_ENDPOINT_VSOCK_H

#include "endpoint/endpoint.h"

struct vsock_values {
	struct cfg_array ports; /* of struct cfg_ports, in their order */
};

static inline const struct cfg_array *vsock_ports(const struct cfg_guest *g)
{
	return &((const struct vsock_values *)g->part[ENDPOINT_vsock])->ports;
}

/* The range that has @port, or NULL. */
static inline const struct cfg_ports *vsock_at(const struct cfg_guest *g, uint32_t port)
{
	return cfg_find_port(vsock_ports(g), sizeof(struct cfg_ports), port);
}

#endif
