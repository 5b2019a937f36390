/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection of a device whose driver has been granted a channel: its payload bypasses this side.
 * What remains is its life cycle (established, shut down in order by either side, reset) and
 * CREDIT_UPDATE, by which the driver asks for the other end to be woken (ZV_EV_WAKE). Payload in a
 * packet resets it, as on any connection that grants no credit.
 */
#ifndef ZV_GRANTED_H
#define ZV_GRANTED_H

#include "socket/core/state.h"

/* @c can become such a connection: no payload was sent or received, and no buffer is reserved. */
bool granted_can(const struct zv_conn *c);
void granted_make(struct zv_conn *c);
static inline bool granted_is(const struct zv_conn *c)
{
	return !c->chan && c->sock->path;
}

#endif
