/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_REGISTRY_H
#define ZV_REGISTRY_H

#include "transport.h"

/* Defined by whoever links the socket layer; ends with NULL. */
extern const struct transport_ops *const zv_builtin_transports[];

#endif
