/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending packets. A packet is sent in three steps: a buffer is reserved (tx_reserve), filled, and
 * committed with its header (tx_commit); publish makes a batch visible. Data is committed by the
 * call that sends it, so later control packets (SHUTDOWN after the last byte) are in order without
 * further effort.
 *
 * Pending control packets (REQUEST, RESPONSE, CREDIT_UPDATE, SHUTDOWN, RST) are bits of a
 * connection, not queued packets: a full ring costs no memory. RSTs that belong to no connection
 * wait in a ring of headers per queue. RSTs that answer stray packets may fill a small ring;
 * further ones are dropped and counted. RSTs of connections that are over make it grow, to as many
 * as the queue may have connections, because a peer that does not get one keeps its end for ever.
 * Other control packets wait behind them, so that a RST never overtakes later packets of the same
 * ports.
 */
#ifndef ZV_TX_H
#define ZV_TX_H

#include "socket/core/state.h"

#define ZV_RST_FIFO 64u /* most RST replies to stray packets that wait for a buffer */

/* Asks the transport whether REQUEST may be sent for @c: transport_queue_ops.connect. */
int tx_announce(struct zv_conn *c);
/* Commits a reserved buffer as a packet of @c with @len bytes of payload. */
void tx_commit(struct zv_conn *c, const struct tx_slot *s, unsigned op, uint32_t len,
	       uint32_t flags);
/*
 * The same for @len bytes of data at @data, which the device has at @at
 * (transport_queue_ops.tx_commit_mem); @s is for the header.
 */
void tx_commit_mem(struct zv_conn *c, const struct tx_slot *s, const uint8_t *data, struct iova at,
		   uint32_t len, uint32_t flags, uint32_t cookie);
/* Marks control packets as due and tries to send them. */
void tx_ctrl(struct zv_conn *c, unsigned pending);
/* Takes @c off the list of waiting connections and clears what is due. */
void tx_ctrl_drop(struct zv_conn *c);
/*
 * Sends what is due, as far as there are buffers: RST replies, then connections' control packets.
 */
void tx_ctrl_flush(struct zv_queue *q);
/* Some control packets wait for a buffer. */
static inline bool tx_ctrl_waits(const struct zv_queue *q)
{
	return q->rst.count || !TAILQ_EMPTY(&q->ctrl);
}
/* Answers @in by RST, unless @in is a RST. */
void tx_rst_reply(struct zv_queue *q, const struct vsock_hdr *in);
/* Queues the RST of @c, which is over: it is sent as soon as there is room. */
void tx_rst_of(const struct zv_conn *c);
/* Sends, if there is room, a packet that the device takes and ignores: a RST between ports 0. */
void tx_probe(struct zv_queue *q);
void tx_fini(struct zv_queue *q);

#endif
