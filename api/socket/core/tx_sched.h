/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transmit scheduler of one queue: decides which connection gets the next transmit buffer.
 *
 * Theory of operation
 * -------------------
 * A *flow* is the sending side of a connection. While there are buffers for everybody, all flows
 * are idle here and the scheduler does nothing. A flow that finds no buffer waits in the queue.
 * When buffers are free again, a poll wakes the first flows in the queue: each has a turn, in which
 * it may send TX_QUANTUM bytes before it goes to the end of the queue. A flow that is woken while
 * nobody else waits has a turn without limit, which lasts until it has to wait.
 *
 * Invariant
 * ---------
 *  - A flow is in one state: idle or sending (on no list), waiting (on `waiters`) or woken (on
 *    `woken`, whose length is `nwoken`).
 *  - While a flow is waiting or woken, an idle one gets nothing: nobody overtakes the line.
 *  - A flow is woken only when there are as many buffers as it needs at a time. A waiting flow is
 *    not writable, so a program that cannot send can sleep.
 *  - Every waiting flow gets to the head of the queue. Each flow before it leaves the head: woken;
 *    or, when it needs more buffers than are free, to the end of the queue after TX_MISSES tries. A
 *    flow that was woken and finds too few buffers returns to the head, because it has sent
 *    nothing, but only TX_MISSES times in a row. A woken flow that does not try to send loses its
 *    turn after TX_IDLE_POLLS polls that had buffers for the next one.
 *  - While others wait (`limited`), a turn ends once TX_QUANTUM is charged. A packet is charged at
 *    least TX_PKT_CHARGE, because it takes a buffer, however small it is. So in one round of the
 *    line no flow gets more than the quantum plus its last packet or message. A turn that runs out
 *    of buffers also ends, and may have been shorter.
 *
 * This file depends on neither connections nor rings; tests/unit/api/test_tx_sched.c tests it
 * alone.
 */
#ifndef ZV_TX_SCHED_H
#define ZV_TX_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define TX_QUANTUM    65536u /* bytes that a flow may send in one turn while others wait */
#define TX_PKT_CHARGE 4096u  /* least charge of a packet */
#define TX_IDLE_POLLS 16u    /* polls that the line waits for woken flows that do not send */
#define TX_MISSES     32u    /* times a flow may find too few buffers and keep its place */

enum tx_turn {
	TX_IDLE,    /* not waiting, no turn */
	TX_WAITING, /* on waiters: needs buffers */
	TX_WOKEN,   /* on woken: has a turn and has not sent in it */
	TX_SENDING, /* has a turn and has sent in it */
};

/* One connection's part; all zero is an idle flow. */
struct tx_flow {
	TAILQ_ENTRY(tx_flow) link;
	uint32_t need;	  /* TX_WAITING: buffers that it needs at a time, >= 1 */
	uint32_t charged; /* of TX_QUANTUM, in this turn */
	uint32_t misses;  /* tries or turns in a row that found too few buffers */
	uint8_t turn;	  /* enum tx_turn */
};

TAILQ_HEAD(tx_flows, tx_flow);

/* One queue's part. */
struct tx_sched {
	struct tx_flows waiters;
	struct tx_flows woken;
	uint32_t nwoken;
	uint32_t idle_polls; /* polls since the last wake that found woken flows which have not sent
			      */
	bool limited;	     /* turns end at TX_QUANTUM, because others wait */
};

void tx_sched_init(struct tx_sched *s);

/* Puts @f in the queue for @need buffers. If it is in the queue already, only updates @need. */
void tx_sched_wait(struct tx_sched *s, struct tx_flow *f, uint32_t need);

/* @f does not want to send now: takes it out of the queue and ends its turn. */
void tx_sched_leave(struct tx_sched *s, struct tx_flow *f);

/*
 * Called by a poll that found @buffers free, >= 1, while somebody waits: wakes the first in the
 * queue. Returns the first flow woken by this call, NULL when none was; TAILQ_NEXT(f, link) gives
 * the others.
 */
struct tx_flow *tx_sched_wake(struct tx_sched *s, unsigned buffers);

/* The smallest number of buffers that lets a waiting flow go on; 0: nobody waits. */
unsigned tx_sched_least_need(const struct tx_sched *s);

static inline bool tx_sched_waiting(const struct tx_sched *s)
{
	return !TAILQ_EMPTY(&s->waiters);
}

/*
 * Called by a poll while nobody waits: lifts the limit once those woken last have had their turn.
 */
static inline void tx_sched_idle(struct tx_sched *s)
{
	s->limited &= s->nwoken != 0;
}

/* A flow other than @f waits. */
static inline bool tx_sched_others_wait(const struct tx_sched *s, const struct tx_flow *f)
{
	const struct tx_flow *first = TAILQ_FIRST(&s->waiters);

	return first && (first != f || TAILQ_NEXT(first, link));
}

/* Bytes that @f may send now; UINT32_MAX: no limit; 0: it has to wait for its turn. */
static inline uint32_t tx_sched_left(const struct tx_sched *s, const struct tx_flow *f)
{
	if (f->turn < TX_WOKEN)
		return s->limited || s->nwoken || tx_sched_others_wait(s, f) ? 0 : UINT32_MAX;
	if (!s->limited)
		return UINT32_MAX;
	return f->charged < TX_QUANTUM ? TX_QUANTUM - f->charged : 0;
}

/* A woken flow sends. */
static inline void tx_sched_begin(struct tx_sched *s, struct tx_flow *f)
{
	TAILQ_REMOVE(&s->woken, f, link);
	s->nwoken--;
	f->turn = TX_SENDING;
}

/* Charges @f for a packet of @len bytes. */
static inline void tx_sched_charge(struct tx_sched *s, struct tx_flow *f, uint32_t len)
{
	if (f->turn < TX_WOKEN)
		return;
	if (f->turn == TX_WOKEN)
		tx_sched_begin(s, f);
	/* Bounded, because a turn without a limit may last for ever and the sum must not wrap. */
	if (f->charged < TX_QUANTUM)
		f->charged += len > TX_PKT_CHARGE ? len : TX_PKT_CHARGE;
}

#endif
