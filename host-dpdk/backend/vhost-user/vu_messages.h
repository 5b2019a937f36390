/* SPDX-License-Identifier: BSD-3-Clause */
/* The effect of vhost-user messages on the device: a handler for each row of VU_MESSAGES
 * (vu_rules.h). Control thread only. */
#ifndef ZV_VU_MESSAGES_H
#define ZV_VU_MESSAGES_H

#include "proto/vhost_user.h"

struct vu_dev;
struct vu_exchange;

/*
 * Executes a checked message. If rte_vhost was asked, it has accepted the message and its answer,
 * if any, is in x->answer. 0: done; 1: send x->answer (size, payload), which a row with ANSWERED
 * always returns; -errno: refused, and the reason has been logged.
 */
int vu_message_act(struct vu_dev *d, struct vu_exchange *x);

/* rte_vhost has refused the message: logs why. */
void vu_message_refused(struct vu_dev *d, const struct vu_msg *m);

#endif
