/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the key "builtin"; for tests as well. */
#ifndef ZVD_ENDPOINT_BUILTIN_H
#define ZVD_ENDPOINT_BUILTIN_H

#include "endpoint.h"

struct builtin {
	struct cfg_ports port;
	unsigned service; /* in the table of services */
};

struct builtin_values {
	struct cfg_array ports; /* of struct builtin, by port */
};

static inline const struct cfg_array *builtin_ports(const struct cfg_guest *g)
{
	return &((const struct builtin_values *)g->part[ENDPOINT_builtin])->ports;
}

/* The name of the service at @port, or NULL. */
const char *builtin_at(const struct cfg_guest *g, uint32_t port);

#endif
