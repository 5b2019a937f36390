/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A splice whose payload goes through a channel: its two drivers share memory (channel/region.h).
 *
 * Theory of operation
 * -------------------
 * The splice carries ends of stream, resets and wake-ups; nothing is ever lent or copied.
 *
 * Opening, with A the side that asks and B the one that is asked. The request has come to B's
 * lcore, and waits there until both drivers have the region (BROKER_PATIENCE_NS at most; each lcore
 * knows about its own driver). Then a part is taken, B gets its end with the request, and A, when B
 * has answered, with the answer. Until B has been asked any obstacle means that the splice copies,
 * as if there were no region. From then on B's driver uses the channel, and if A cannot get its end
 * both are reset.
 *
 * Ends that were granted belong to their queues (channel/broker.h), which release them; others are
 * released with the splice.
 */
#ifndef ZVD_SPLICE_CHAN_H
#define ZVD_SPLICE_CHAN_H

#include "splice_int.h"

/* On A's lcore: the splice may get a channel, because both devices can reach a region; @to: B. */
void splice_chan_begin(struct splice *sp, struct guest_queue *gq, struct guest_queue *to);

/* On B's lcore: true: it is known whether there will be a channel. False: splice_connect() will be
 * called again. */
bool splice_chan_known(struct splice *sp, struct guest_queue *gq);

/* As zv_connect_from(), with B's end if there is one. -EINPROGRESS: splice_connect() will be called
 * again. */
int splice_chan_connect(struct splice *sp, struct guest_queue *gq, uint32_t src_port,
			struct zv_conn **conn);

/* On A's lcore: 0: A has its end, or there is no channel. -EINPROGRESS: its work will run again.
 * Other: it cannot get it. */
int splice_chan_answer(struct splice_side *s);

/* The driver of @s wants the other one woken. */
void splice_chan_wake(struct splice_side *s);
/* On the lcore of @s: the other side has called that. */
void splice_chan_woken(struct splice_side *s);

/*
 * True: what comes from the driver of @s are wake-ups, not payload; and an end of one half alone is
 * none of its business, because it could not wake anybody after it (line.h).
 */
bool splice_chan_bytes(const struct splice_side *s);

/* @s has ended, on its lcore; or there is not going to be a side B, on the lcore where it would
 * have been. */
void splice_chan_end(struct splice_side *s);
/* Nobody refers to the splice. */
void splice_chan_free(struct splice *sp);

/* Events that are wanted besides those of payload. */
static inline uint32_t splice_chan_events(const struct splice *sp)
{
	return sp->chan ? ZV_EV_WAKE : 0;
}

#endif
