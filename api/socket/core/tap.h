/* SPDX-License-Identifier: BSD-3-Clause */
/* zv_set_tap: passes every packet to a function of the application. */
#ifndef ZV_TAP_H
#define ZV_TAP_H

#include "state.h"

/* Called only while q->tap.fn is set. */
void tap_received(struct zv_queue *q, const struct rx_pkt *p) __attribute__((cold));
void tap_sent(struct zv_queue *q, const struct vsock_hdr *h, const uint8_t *data)
	__attribute__((cold));

#endif
