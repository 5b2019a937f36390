/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_VU_TRANSPORT_H
#define ZV_VU_TRANSPORT_H

#include "transport.h"

/* `vhost-user:PATH` */
extern const struct transport_ops vu_transport_ops;

#endif
