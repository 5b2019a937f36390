/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A splice whose payload goes through a channel: its two drivers share memory (channel/region.h).
 *
 * Theory of operation
 * -------------------
 * The splice carries ends of stream, resets and wake-ups; nothing is lent or copied.
 *
 * Opening: A is the side that requests the connection, B the other side. The request arrives on B's
 * lcore and waits there until both drivers have mapped the region (at most broker_timeout_ns();
 * each lcore knows about its own driver). Then a part of the region is allocated; B gets its end
 * with the request, and A gets its end with the answer, when B has answered. Until the request has
 * been sent to B, any obstacle means that the splice copies, as if there were no region. After that
 * B's driver uses the channel, and if A cannot get its end both sides are reset.
 *
 * Ends that were granted belong to the brokers that granted them (channel/broker.h), which release
 * them; the others are released with the splice.
 */
#ifndef ZVD_SPLICE_CHAN_H
#define ZVD_SPLICE_CHAN_H

#include "splice_int.h"

/* On A's lcore, when both devices can reach a region: the splice may get a channel. @to: B. */
void splice_chan_begin(struct splice *sp, struct guest_queue *gq, struct guest_queue *to);

/* On B's lcore. True: it is known whether there will be a channel. False: splice_connect() will be
 * called again. */
bool splice_chan_known(struct splice *sp, struct guest_queue *gq);

/* As zv_connect_from(), with B's end if there is a channel. -EINPROGRESS: splice_connect() will be
 * called again. */
int splice_chan_connect(struct splice *sp, struct guest_queue *gq, uint32_t src_port,
			struct zv_conn **conn);

/* On A's lcore. 0: A has its end, or there is no channel. -EINPROGRESS: the work of the side will
 * run again. Other values: A cannot get its end. */
int splice_chan_answer(struct splice_side *s);

/* The driver of @s has asked for the other driver to be woken. */
void splice_chan_wake(struct splice_side *s);
/* On the lcore of @s: the other side has called splice_chan_wake(). */
void splice_chan_woken(struct splice_side *s);

/* True: data from the driver of @s is wake-ups, not payload. The end of one direction must not be
 * passed to it alone, because it could not wake anybody afterwards (broker_conn.h). */
bool splice_chan_bytes(const struct splice_side *s);

/* @s has ended (on its lcore), or there will be no side B (on the lcore where it would have
 * been). */
void splice_chan_end(struct splice_side *s);
/* The last reference to the splice is gone. */
void splice_chan_free(struct splice *sp);

/* Events wanted in addition to those for payload. */
static inline uint32_t splice_chan_events(const struct splice *sp)
{
	return sp->chan ? ZV_EV_WAKE : 0;
}

#endif
