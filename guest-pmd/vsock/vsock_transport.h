/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_VSOCK_TRANSPORT_H
#define ZV_VSOCK_TRANSPORT_H

#include "transport.h"

extern const struct transport_ops vsock_transport_ops;

#endif
