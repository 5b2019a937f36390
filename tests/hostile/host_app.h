/* SPDX-License-Identifier: BSD-3-Clause */
/* The host application behind both guests; called by the host thread alone. */
#ifndef ZV_HOSTILE_HOST_APP_H
#define ZV_HOSTILE_HOST_APP_H

#include <stdbool.h>
#include <zvsock.h>

bool app_listen(struct zv_dev *dev);
/* Serves a queue once. Returns the number of events. */
unsigned app_poll(struct zv_queue *q, bool is_victim);
/* Carries out what other threads have asked for on the victim's queue. */
void app_commands(struct zv_queue *q);
void app_close_all(void);

#endif
