/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A splice: two connections of guests joined with each other, or one with itself (echo).
 *
 * Theory of operation
 * -------------------
 * Each connection is a *side*, owned by the lcore of its queue; the two may be different threads.
 * A side lends what its guest has sent (zv_buf_recv) to the other through a ring of its own, of
 * SPLICE_SLOTS buffer records: the side fills it, the other copies the payload into buffers of its
 * own guest and advances the tail, and the side gives the buffers back (zv_buf_release). So payload
 * is copied once, memory is bounded by the ring and by the socket layer's loan limits, and credit
 * of the receiving guest, which keeps the ring full, is the backpressure of the sending one.
 *
 * Packets are not forwarded one to one: the guests' buffers have different sizes. A stream is cut
 * anew; of a SEQPACKET connection the message boundaries and record marks are carried over.
 *
 * A side that has done something for the other pokes it: its work is put off to the end of the
 * round on the same lcore, or posted to the other lcore.
 *
 * Ends. End of stream travels behind the data, and that a guest receives nothing more against it,
 * at once (ZV_EV_EPIPE): what has not been copied by then is dropped; when both directions have
 * ended a side closes. A connection that fails, or whose guest goes away, resets the other. A side
 * that ends for good takes its buffers back at once: it waits for `busy`, which the other holds
 * while it copies from the ring (at most FLOW_QUOTA bytes), and for nothing else. The memory goes
 * with the last reference: of a side, or of a poke under way.
 *
 * Opening. The side of the guest that asks waits unanswered; the other connects to its guest, and
 * tells by its state how that ended.
 *
 * Two sides whose drivers have memory in common may get a channel there; then no payload comes by
 * here, and all that is left are ends and wake-ups (splice_chan.h).
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
