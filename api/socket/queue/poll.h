/* SPDX-License-Identifier: BSD-3-Clause */
/* Polling a queue: its internal work, and its events. */
#ifndef ZV_POLL_H
#define ZV_POLL_H

#include "socket/core/state.h"

/* Events that zv_poll would report of the connection, ignoring its mask. */
uint32_t conn_events(const struct zv_conn *c);
/* The work of zv_poll, without reporting events. */
void queue_work(struct zv_queue *q);
int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max);

#endif
