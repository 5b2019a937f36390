/* SPDX-License-Identifier: BSD-3-Clause */
/* Grants of channels by a broker (zvsock_broker.h). */
#ifndef ZV_BROKER_H
#define ZV_BROKER_H

#include "socket/core/state.h"
#include "zvsock_broker.h"

/*
 * Grants one end of a channel to the driver of @c. Must be called before @c sends its REQUEST or
 * RESPONSE. 0; -EAGAIN, -EOPNOTSUPP, -EINVAL with zv_err() text.
 */
int broker_grant(struct zv_conn *c, const struct zv_grant *g);

#endif
