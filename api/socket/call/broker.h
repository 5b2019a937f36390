/* SPDX-License-Identifier: BSD-3-Clause */
/* What a broker (zvsock_broker.h) says to the driver of a queue. */
#ifndef ZV_BROKER_H
#define ZV_BROKER_H

#include "socket/core/state.h"
#include "zvsock_broker.h"

/*
 * Grants an end of a channel to the driver of @c, which has not begun: its REQUEST or RESPONSE
 * comes next. 0; -EAGAIN, -EOPNOTSUPP, -EINVAL with zv_err() text.
 */
int broker_grant(struct zv_conn *c, const struct zv_grant *g);

#endif
