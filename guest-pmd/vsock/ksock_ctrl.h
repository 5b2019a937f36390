/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control connection of a program on a stock driver, and what it claims (docs/protocol.md,
 * "Programs on a stock driver").
 *
 * The layer says HELLO as to any device; its connection to ZV_CTRL_PORT becomes a kernel socket
 * to ZV_PROC_PORT here, from a port below 1024. The host sees connections of the guest, not of
 * programs, so before a connection is asked for CLAIM goes out behind what the layer has sent: the
 * layer puts each message into one packet, so CLAIM never comes into the middle of one. It is
 * whole with the kernel before connect(), or there is no claim, and no channel. Ports that are
 * listened on are claimed once a region is in use, and whenever they change.
 *
 * A grant goes to the control connection of one queue, and whichever queue looks first accepts. So
 * a device with several queues claims no ports: what it accepts has no channels, what it connects
 * has.
 *
 * The host takes the channels back when the control connection ends, so their connections end with
 * it.
 */
#ifndef ZV_KSOCK_CTRL_H
#define ZV_KSOCK_CTRL_H

#include "ksock.h"

/* The layer's REQUEST @h for its control connection. */
void ksock_ctrl_connect(struct ksock_queue *q, const struct vsock_hdr *h);
/* The layer sends @len bytes at @data on it: claims make sense once it has mapped a region. */
void ksock_ctrl_said(struct ksock_queue *q, const uint8_t *data, uint32_t len);
/* What is left of claims goes first. False: the kernel does not take all of it now. */
bool ksock_ctrl_flush(struct ksock_queue *q);
/* It is over, and with it every connection that has a channel. */
void ksock_ctrl_lost(struct ksock_queue *q);

/* The connection @h is about to be asked for. True: it is claimed. */
bool ksock_claim(struct ksock_queue *q, const struct vsock_hdr *h);
/* It is not, after all. */
void ksock_unclaim(struct ksock_queue *q, const struct vsock_hdr *h);
/* Tells which ports have come and gone. */
void ksock_claim_ports(struct ksock_queue *q);
/* Ports have changed. Under dev->lock; any thread. */
void ksock_ports_changed(struct ksock_dev *dev);

#endif
