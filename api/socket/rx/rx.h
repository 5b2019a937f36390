/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handles one received packet: header checks, connection look-up, state machine, payload. p->hdr is
 * a private copy; payload bytes are never interpreted. On every path the packet's buffer is given
 * back or held exactly once: rx_packet() owns it until rx_take() or rx_drop().
 */
#ifndef ZV_RX_H
#define ZV_RX_H

#include "socket/core/state.h"

void rx_packet(struct zv_queue *q, struct rx_pkt *p);
/* sock_type.unconnected of types with connections: passes a REQUEST to a listener. */
void rx_unconnected(struct zv_queue *q, struct rx_pkt *p, const struct conn_key *key);

#endif
