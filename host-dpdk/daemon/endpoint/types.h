/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of endpoint types, in the order in which a port is looked up. A type is a constant
 * endpoint_NAME (endpoint.h) in a file of its own; ENDPOINT_NAME is its index in cfg_guest.part[],
 * cfg.part[] and guest.part[].
 */
#ifndef ZVD_ENDPOINT_TYPES_H
#define ZVD_ENDPOINT_TYPES_H

#define ENDPOINT_TYPES(X)                                                                          \
	X(program)                                                                                 \
	X(builtin)                                                                                 \
	X(tcp)                                                                                     \
	X(tcp_out)                                                                                 \
	X(vsock)                                                                                   \
	X(app_port)                                                                                \
	X(af_vsock)                                                                                \
	X(listen)                                                                                  \
	X(unix)                                                                                    \
	X(app_guest)                                                                               \
	X(sibling)

#define ENDPOINT_SLOT(type) ENDPOINT_##type,
enum { ENDPOINT_TYPES(ENDPOINT_SLOT) N_ENDPOINT_TYPES };
#undef ENDPOINT_SLOT

#endif
