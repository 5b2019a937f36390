/* SPDX-License-Identifier: BSD-3-Clause */
/* The queue's own work, and its events. */
#ifndef ZV_POLL_H
#define ZV_POLL_H

#include "socket/core/state.h"

/* What zv_poll would report of the connection, its mask left aside. */
uint32_t conn_events(const struct zv_conn *c);
/* zv_poll without the events. */
void queue_work(struct zv_queue *q);
int queue_poll(struct zv_queue *q, struct zv_event *events, unsigned max);

#endif
