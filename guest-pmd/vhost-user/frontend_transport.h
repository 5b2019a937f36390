/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_FRONTEND_TRANSPORT_H
#define ZV_FRONTEND_TRANSPORT_H

#include "transport.h"

/* `vhost-user:PATH[,PATH...][,region=SIZE]` */
extern const struct transport_ops frontend_transport_ops;

#endif
