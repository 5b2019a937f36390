/* SPDX-License-Identifier: BSD-3-Clause */
/* Common code of STREAM and SEQPACKET over a channel: reserved and received buffers. */
#ifndef ZV_CHAN_CALLS_H
#define ZV_CHAN_CALLS_H

#include "socket/chan/chan.h"
#include "socket/chan/chan_rx.h"
#include "socket/chan/chan_tx.h"
#include "socket/conn/rx_loan.h"

int chan_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len);
int chan_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
unsigned chan_buf_cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n);
int chan_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
void chan_more_end(struct zv_conn *c);

/* zv_buf_release for buffers of channels; like rx_buf_release(). */
unsigned chan_buf_release(struct zv_queue *q, const struct zv_buf *bufs, unsigned n,
			  struct zv_conn **drained);

/* sock_type.frame: refuses every packet with payload, as a connection with a channel has none. */
bool chan_no_packets(struct zv_conn *c, const struct vsock_hdr *h, uint32_t *flags);

/* ---- for zv_send ---- */

/* A call has sent everything: notifies the peer. */
static inline void chan_send_done(struct zv_conn *c)
{
	c->flags &= ~CF_WANT_OUT;
	chan_notify(c->chan);
}

/* There is no room now; zv_poll checks for it from here on. Returns as chan_blocked(). */
static inline int chan_no_room(struct zv_conn *c, size_t bytes, uint32_t pieces)
{
	chan_activate(c->chan);
	return chan_blocked(c, bytes, pieces);
}

#endif
