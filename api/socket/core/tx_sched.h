/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may have the next transmit buffer: the scheduler of one queue.
 *
 * Theory of operation
 * -------------------
 * A *flow* is a connection in so far as it sends. While there are buffers for everybody, all flows
 * are idle here and the scheduler does nothing. A flow that finds no buffer waits in line. When
 * buffers are free again, a poll wakes the first flows in line: each has a turn, in which it may
 * send TX_QUANTUM bytes before it goes to the end of the line. The turn of a flow that was woken
 * when nobody else waited has no limit, and lasts until it has to wait.
 *
 * Invariant
 * ---------
 *  - A flow is in one state: idle or sending (on no list), waiting (on `waiters`) or woken (on
 *    `woken`, whose length is `nwoken`).
 *  - While a flow is waiting or woken, an idle one gets nothing: nobody overtakes the line.
 *  - A flow is woken only when there are as many buffers as it needs at a time. A waiting flow is
 *    not writable, so one that cannot send lets its program sleep.
 *  - Every waiting flow gets to the head of the line. Each flow before it leaves the head: woken;
 *    or, when it needs more buffers than are free, to the end of the line after TX_MISSES looks.
 *    One that was woken and finds too few buffers comes back to the head, because it has had
 *    nothing, but only TX_MISSES times in a row. One that was woken and does not try to send loses
 *    its turn after TX_IDLE_POLLS polls that had buffers for the next.
 *  - While others wait (`limited`), a turn ends once TX_QUANTUM is charged. A packet is charged at
 *    least TX_PKT_CHARGE, because it takes a buffer, however small it is. So in one round of the
 *    line no flow has more than the quantum and its last packet or message. A turn that runs out
 *    of buffers is over as well, and may have been shorter.
 *
 * This file knows neither connections nor rings; tests/unit/api/test_tx_sched.c uses it alone.
 */
#ifndef ZV_TX_SCHED_H
#define ZV_TX_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define TX_QUANTUM    65536u /* bytes that a flow may send in one turn while others wait */
#define TX_PKT_CHARGE 4096u  /* least that a packet counts */
#define TX_IDLE_POLLS 16u    /* so long the line waits for woken flows that do not send */
#define TX_MISSES     32u    /* times that a flow finds too few buffers and keeps its place */

enum tx_turn {
	TX_IDLE,    /* does not wait, has no turn */
	TX_WAITING, /* on waiters: needs a buffer */
	TX_WOKEN,   /* on woken: has a turn and has not sent in it */
	TX_SENDING, /* has a turn and has sent in it */
};

/* One connection's part; all zero is an idle flow. */
struct tx_flow {
	TAILQ_ENTRY(tx_flow) link;
	uint32_t need;	  /* TX_WAITING: buffers that it needs at a time, >= 1 */
	uint32_t charged; /* of TX_QUANTUM, in this turn */
	uint32_t misses;  /* looks or turns in a row that found too few buffers */
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

/* @f waits in line for @need buffers. No-op when it does already, but for @need. */
void tx_sched_wait(struct tx_sched *s, struct tx_flow *f, uint32_t need);

/* @f does not want to send now: out of the line, and its turn is over. */
void tx_sched_leave(struct tx_sched *s, struct tx_flow *f);

/*
 * A poll that found @buffers free, >= 1, while somebody waits: wakes the first in line. Returns the
 * first flow that was woken by this call, NULL when none was; TAILQ_NEXT(f, link) are the others.
 */
struct tx_flow *tx_sched_wake(struct tx_sched *s, unsigned buffers);

/* The fewest buffers with which a waiting flow could go on; 0: nobody waits. */
unsigned tx_sched_least_need(const struct tx_sched *s);

static inline bool tx_sched_waiting(const struct tx_sched *s)
{
	return !TAILQ_EMPTY(&s->waiters);
}

/* A poll while nobody waits: turns have no limit once those woken last have had theirs. */
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
