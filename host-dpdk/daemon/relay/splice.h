/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A splice: two connections of guests coupled with each other, or one with itself (echo).
 *
 * Theory of operation
 * -------------------
 * Each connection is a *side*, owned by the lcore of its queue; the two lcores may be different
 * threads. A side lends what its guest has sent (zv_buf_recv) to the other side through a ring of
 * SPLICE_SLOTS buffer records: it fills the ring, the other side copies the payload into buffers of
 * its own guest and advances the tail, and the first returns the buffers (zv_buf_release). So
 * payload is copied once, and memory is bounded by the ring and by the socket layer's loan limits.
 * When the receiving guest has no credit the ring stays full, which is the backpressure for the
 * sending guest.
 *
 * Packets are not forwarded one to one, because the guests' buffers have different sizes. A stream
 * is split anew; on a SEQPACKET connection message boundaries and record marks are kept.
 *
 * A side that has done something for the other pokes it: the other's work is queued for the end of
 * the round on the same lcore, or posted to the other lcore.
 *
 * Ends. The end of a stream travels behind the data. That a guest receives nothing more travels in
 * the opposite direction, at once (ZV_EV_EPIPE), and what has not been copied by then is dropped.
 * When both directions have ended a side closes. If a connection fails, or its guest goes away, the
 * other is reset. A side that ends for good takes its buffers back at once: it waits only for
 * `busy`, which the other holds while it copies from the ring (at most FLOW_QUOTA bytes). The
 * memory is freed with the last reference: of a side, or of a pending poke.
 *
 * Opening. The side of the guest that asks for the connection stays unanswered; the other side
 * connects to its guest, and its state tells the result.
 *
 * Two sides whose drivers have memory in common may get a channel there; then no payload passes
 * through the splice, only ends and wake-ups (splice_chan.h).
 */
#ifndef ZVD_SPLICE_H
#define ZVD_SPLICE_H

#include "flow.h"

struct splice;

/*
 * Begins a splice for @conn of @gq, which waits for its answer and is the splice's from now on.
 * @self: with itself, and it is answered at once. Otherwise splice_connect() or splice_refuse()
 * must follow, on the lcore of the other guest. NULL: no memory, @conn is still the caller's.
 */
struct splice *splice_new(struct guest_queue *gq, struct zv_conn *conn,
			  const struct conn_kind *kind, const struct zv_conn_info *info, bool self);

/* Connects the other side, @gq's guest, to what the first one asked for. It may be called again by
 * itself, when the two are to have a channel (splice_chan.h). */
void splice_connect(struct splice *sp, struct guest_queue *gq);

/* There will be no other side: the first one is refused. Any lcore, or the thread of splice_new. */
void splice_refuse(struct splice *sp);

#endif
