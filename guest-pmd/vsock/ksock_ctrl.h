/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection of a program on a stock driver, and its claims (docs/protocol.md,
 * "Programs on a stock driver").
 *
 * The layer sends HELLO as to any device; its connection to ZV_CTRL_PORT becomes a kernel socket to
 * ZV_PROC_PORT here, from a port below 1024. The host sees connections of the guest, not of
 * programs, so before each connect a CLAIM is sent after what the layer has sent: the layer puts
 * each message into one packet, so a CLAIM never falls into the middle of one. The kernel must have
 * taken all of it before connect(); otherwise there is no claim, and no channel. Listening ports
 * are claimed once a region is in use, and whenever they change.
 *
 * A grant goes to the control connection of one queue, but whichever queue polls first accepts the
 * connection. So a device with several queues claims no ports: connections it accepts have no
 * channels, connections it makes have.
 *
 * The host takes the channels back when the control connection ends, so their connections end with
 * it.
 */
#ifndef ZV_KSOCK_CTRL_H
#define ZV_KSOCK_CTRL_H

#include "ksock.h"

/* The layer's REQUEST @h for its control connection. */
void ksock_ctrl_connect(struct ksock_queue *q, const struct vsock_hdr *h);
/*
 * The layer sends @len bytes at @data on the control connection: claims make sense once it has
 * mapped a region.
 */
void ksock_ctrl_on_send(struct ksock_queue *q, const uint8_t *data, uint32_t len);
/*
 * Sends what is left of claims, before anything else. False: the kernel does not take all of it
 * now.
 */
bool ksock_ctrl_flush(struct ksock_queue *q);
/* The control connection is over: ends every connection that has a channel. */
void ksock_ctrl_lost(struct ksock_queue *q);

/* Claims the connection that the REQUEST @h asks for. True: it is claimed. */
bool ksock_claim(struct ksock_queue *q, const struct vsock_hdr *h);
/* Withdraws that claim. */
void ksock_unclaim(struct ksock_queue *q, const struct vsock_hdr *h);
/* Claims new listening ports and withdraws closed ones. */
void ksock_claim_ports(struct ksock_queue *q);
/* Records that listening ports have changed. Under dev->lock; any thread. */
void ksock_ports_changed(struct ksock_dev *dev);

#endif
