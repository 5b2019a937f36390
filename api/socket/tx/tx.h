/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets out. A packet leaves in three steps: a buffer is reserved (tx_reserve), filled, and
 * committed with its header (tx_commit); publish makes a batch visible. Data is committed by the
 * call that sends it, so what a later control packet says (SHUTDOWN after the last byte) is in
 * order by itself.
 *
 * Control packets (REQUEST, RESPONSE, CREDIT_UPDATE, SHUTDOWN, RST) are bits of a connection, not
 * queued packets: a full ring costs no memory. RSTs that belong to no connection wait in a ring of
 * headers per queue. Those that answer stray packets may fill a small one and are then dropped and
 * counted; those of connections that are over (a peer that does not get one keeps its end for ever)
 * make it grow, to as many as the queue may have connections. Other control packets wait behind
 * them, so that a RST never overtakes what comes from the same ports later.
 */
#ifndef ZV_TX_H
#define ZV_TX_H

#include "socket/core/state.h"

#define ZV_RST_FIFO 64u /* RST replies to stray packets that may wait for room */

/* Asks the transport, which has a say in that, whether the connection @c can be asked for:
 * transport_queue_ops.connect. */
int tx_announce(struct zv_conn *c);
/* Commits a reserved buffer as a packet of @c with @len bytes of payload. */
void tx_commit(struct zv_conn *c, const struct tx_slot *s, unsigned op, uint32_t len,
	       uint32_t flags);
/*
 * The same of @len bytes of data at @data, which the device has at @at (transport_queue_ops
 * .tx_commit_mem); @s is for the header.
 */
void tx_commit_mem(struct zv_conn *c, const struct tx_slot *s, const uint8_t *data, struct iova at,
		   uint32_t len, uint32_t flags, uint32_t cookie);
/* Marks control packets as due and tries to send them. */
void tx_ctrl(struct zv_conn *c, unsigned pending);
/* Off the list of those that wait, and nothing is due any more. */
void tx_ctrl_drop(struct zv_conn *c);
/* Sends what is due and fits: RST replies, then connections' control packets. */
void tx_ctrl_flush(struct zv_queue *q);
/* Some of these wait for a buffer. */
static inline bool tx_ctrl_waits(const struct zv_queue *q)
{
	return q->rst.count || !TAILQ_EMPTY(&q->ctrl);
}
/* Answers @in by RST (never a RST). */
void tx_rst_reply(struct zv_queue *q, const struct vsock_hdr *in);
/* The RST of @c, which is over: it goes out as soon as there is room. */
void tx_rst_of(const struct zv_conn *c);
/* Sends the device, if there is room, what it takes and ignores: a RST between ports 0. */
void tx_probe(struct zv_queue *q);
void tx_fini(struct zv_queue *q);

#endif
