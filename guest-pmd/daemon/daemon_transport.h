/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_DAEMON_TRANSPORT_H
#define ZV_DAEMON_TRANSPORT_H

#include "transport.h"

/* `daemon:PATH` */
extern const struct transport_ops daemon_transport_ops;

#endif
