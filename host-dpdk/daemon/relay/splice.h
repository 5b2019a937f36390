/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A splice: two connections of guests joined with each other, or one joined with itself (echo).
 *
 * Theory of operation
 * -------------------
 * Each connection is a *side*, owned by the lcore of its queue; the two lcores may be different
 * threads. A side lends what its guest has sent (zv_buf_recv) to the other side through a ring of
 * SPLICE_SLOTS buffer records: it fills the ring, the other side copies the payload into buffers of
 * its own guest and advances the tail, and the first side releases the buffers (zv_buf_release). So
 * payload is copied once, and memory is bounded by the ring and by the loan limits of the socket
 * layer. When the receiving guest has no credit the ring stays full, which is the backpressure for
 * the sending guest.
 *
 * Packets are not forwarded one to one, because the guests' buffers have different sizes. A stream
 * is split anew; on a SEQPACKET connection message boundaries and record marks are kept.
 *
 * A side that has changed something for the other side kicks it: the other side's work is queued
 * for the end of the round if it is on the same lcore, or else posted to its lcore.
 *
 * End of a connection. The end of a stream is passed on after the data. That a guest no longer
 * receives is passed on in the opposite direction, at once (ZV_EV_EPIPE), and data not copied by
 * then is dropped. When both directions have ended, a side closes. If a connection fails or its
 * guest goes away, the other side is reset. A side that ends for good takes its buffers back at
 * once: it waits only for `busy`, which the other side holds while it copies from the ring (at most
 * FLOW_QUOTA bytes). The memory is freed with the last reference, which a side or a pending kick
 * holds.
 *
 * Opening. The requesting guest's connection is not answered until the other side has connected to
 * its guest; the state of the other side tells the result.
 *
 * Two sides whose drivers share memory may get a channel in it; then no payload passes through the
 * splice, only ends of stream, resets and wake-ups (splice_chan.h).
 */
#ifndef ZVD_SPLICE_H
#define ZVD_SPLICE_H

#include "flow.h"

struct splice;

/*
 * Creates a splice for @conn of @gq, which is not answered yet and belongs to the splice from now
 * on. @self: it is joined with itself and answered at once. Otherwise splice_connect() or
 * splice_refuse() must follow, on the lcore of the other guest. NULL: no memory; @conn still
 * belongs to the caller.
 */
struct splice *splice_new(struct guest_queue *gq, struct zv_conn *conn,
			  const struct conn_kind *kind, const struct zv_conn_info *info, bool self);

/* Connects the other side, in @gq's guest, to the requested port. While it is being decided whether
 * the sides get a channel, the splice itself calls it again (splice_chan.h). */
void splice_connect(struct splice *sp, struct guest_queue *gq);

/* There will be no other side: the requested connection is refused. Called on any lcore, or on the
 * thread of splice_new(). */
void splice_refuse(struct splice *sp);

#endif
