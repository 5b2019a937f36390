/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a vhost-user message does to the device: a handler for each row of VU_MESSAGES (vu_rules.h).
 * All in the control thread.
 */
#ifndef ZV_VU_MESSAGES_H
#define ZV_VU_MESSAGES_H

#include "proto/vhost_user.h"

struct vu_dev;
struct vu_exchange;

/*
 * Does what a checked message says. When rte_vhost was asked, it has accepted, and an answer of its
 * is in x->answer. 0: done; 1: x->answer (size, payload) is to be sent, which is what a row with
 * ANSWERED always returns; -errno: refused, and the log says why.
 */
int vu_message_act(struct vu_dev *d, struct vu_exchange *x);

/* rte_vhost has refused it: logs why. */
void vu_message_refused(struct vu_dev *d, const struct vu_msg *m);

#endif
