/* SPDX-License-Identifier: BSD-3-Clause */
#include "splice_chan.h"

#include "channel/broker.h"
#include "channel/reach.h"
#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <zvsock_broker.h>

enum { A, B };

struct splice_chan {
	struct splice *sp;
	struct region *region;
	struct region_user user[2];
	struct lcore *b_lcore;
	uint32_t a_can;		/* enum broker_can: A's lcore writes it, B's reads it; atomic */
	struct chan_part *part; /* B's lcore's until B is up; NULL: there is no channel */
	bool over;		/* there will be none: B's lcore's */
	/* Of each side, and its lcore's. */
	struct broker_wait wait[2];
	struct lcore_timer timer[2];
	struct guest_queue *waits[2]; /* where, while it does */
	uint64_t since_ns[2];	      /* when it began to */
	bool granted[2];	      /* the end belongs to the queue */
	bool wake[2];		      /* the driver is to be woken; atomic */
};

static struct splice_chan *of_wait(struct broker_wait *w, unsigned side)
{
	return (struct splice_chan *)(void *)((char *)(w - side) -
					      offsetof(struct splice_chan, wait));
}

static struct splice_chan *of_timer(struct lcore_timer *t, unsigned side)
{
	return (struct splice_chan *)(void *)((char *)(t - side) -
					      offsetof(struct splice_chan, timer));
}

/* ---- waiting ---- */

/* Up to @ns, and BROKER_PATIENCE_NS since the first time. False: that is over. */
static bool wait_until(struct splice_chan *ch, unsigned side, struct guest_queue *gq, uint64_t ns)
{
	uint64_t now = now_ns(), left;

	if (!ch->since_ns[side])
		ch->since_ns[side] = now;
	if (gq->ending || now - ch->since_ns[side] >= BROKER_PATIENCE_NS)
		return false;
	left = ch->since_ns[side] + BROKER_PATIENCE_NS - now;
	ch->waits[side] = gq;
	lcore_timer_start(gq->lc, &ch->timer[side], ns < left ? ns : left);
	return true;
}

static void stop_waiting(struct splice_chan *ch, unsigned side)
{
	struct guest_queue *gq = ch->waits[side];

	if (!gq)
		return;
	broker_wait_end(gq, &ch->wait[side]);
	lcore_timer_stop(gq->lc, &ch->timer[side]);
	ch->waits[side] = NULL;
}

static void b_look(struct broker_wait *w)
{
	struct splice_chan *ch = of_wait(w, B);

	splice_connect(ch->sp, ch->waits[B]);
}

static void b_timeout(struct lcore_timer *t)
{
	struct splice_chan *ch = of_timer(t, B);

	splice_connect(ch->sp, ch->waits[B]);
}

static void a_timeout(struct lcore_timer *t)
{
	struct splice_chan *ch = of_timer(t, A);

	stop_waiting(ch, A);
	flow_defer(&ch->sp->side[A].f);
}

/* ---- A's driver ---- */

/* On B's lcore: A's driver has the region, or has not, or A has ended. */
static void a_known(struct lcore *lc, void *arg)
{
	struct splice_chan *ch = arg;

	(void)lc;
	if (ch->waits[B])
		splice_connect(ch->sp, ch->waits[B]);
	splice_unref(ch->sp);
}

static void tell_b(struct splice_chan *ch)
{
	splice_ref(ch->sp);
	if (lcore_post(ch->b_lcore, a_known, ch)) /* no memory: B's patience ends */
		splice_unref(ch->sp);
}

static void a_look(struct broker_wait *w)
{
	struct splice_chan *ch = of_wait(w, A);
	struct guest_queue *gq = ch->waits[A];
	enum broker_can can = broker_can(gq, ch->region);

	if (can == BROKER_WAIT) {
		broker_wait(gq, w, ch->region);
		return;
	}
	stop_waiting(ch, A);
	__atomic_store_n(&ch->a_can, can, __ATOMIC_RELEASE);
	tell_b(ch);
}

void splice_chan_begin(struct splice *sp, struct guest_queue *gq, struct guest_queue *to)
{
	struct region *r = reach_region(gq->guest, to->guest);
	enum broker_can can = r ? broker_can(gq, r) : BROKER_NEVER;
	struct splice_chan *ch = can == BROKER_NEVER ? NULL : calloc(1, sizeof(*ch));

	if (!ch) {
		region_put(r);
		return;
	}
	ch->sp = sp;
	ch->region = r;
	ch->user[A] = region_user(gq->guest);
	ch->user[B] = region_user(to->guest);
	ch->b_lcore = to->lc;
	ch->a_can = can;
	ch->wait[A].look = a_look;
	ch->wait[B].look = b_look;
	ch->timer[A].expired = a_timeout;
	ch->timer[B].expired = b_timeout;
	sp->chan = ch;
	if (can == BROKER_WAIT) { /* for as long as B does */
		ch->waits[A] = gq;
		broker_wait(gq, &ch->wait[A], r);
	}
}

/* ---- B's driver ---- */

/* Among those who wait for the region, in any case: the queue's end comes by there. */
static bool wait_on_b(struct splice_chan *ch, struct guest_queue *gq, uint64_t ns)
{
	if (!wait_until(ch, B, gq, ns))
		return false;
	broker_wait(gq, &ch->wait[B], ch->region);
	return true;
}

/* The payload will be copied. */
static bool no_channel(struct splice_chan *ch)
{
	ch->over = true;
	return true;
}

bool splice_chan_known(struct splice *sp, struct guest_queue *gq)
{
	struct splice_chan *ch = sp->chan;
	enum broker_can a, b;
	int ret;

	stop_waiting(ch, B);
	if (ch->over || ch->part || splice_state(&sp->side[A]) >= SPLICE_CLOSED)
		return true;
	a = (enum broker_can)__atomic_load_n(&ch->a_can, __ATOMIC_ACQUIRE);
	b = broker_can(gq, ch->region);
	if (b == BROKER_NEVER)
		return no_channel(ch);
	if ((a == BROKER_WAIT || b == BROKER_WAIT) && wait_on_b(ch, gq, BROKER_PATIENCE_NS))
		return false;
	if (a != BROKER_CAN || b != BROKER_CAN) {
		GUEST_COUNT(gq, channel_declined);
		return no_channel(ch);
	}
	ret = part_new(ch->region, &ch->user[A], &ch->user[B], &ch->part);
	if (ret == 0)
		return true;
	if (ret == -ENOMEM)
		GUEST_COUNT(gq, no_memory);
	else
		GUEST_COUNT(gq, channel_no_room);
	return no_channel(ch);
}

static struct zv_grant grant(const struct splice_chan *ch, enum shm_role role)
{
	return (struct zv_grant){region_id(ch->region), ch->part->desc, role};
}

static void part_free(struct splice_chan *ch)
{
	struct chan_part *p = ch->part;

	ch->part = NULL;
	for (unsigned i = 0; p && i < 2; i++)
		if (!ch->granted[i])
			end_release(&p->end[i]);
}

int splice_chan_connect(struct splice *sp, struct guest_queue *gq, uint32_t src_port,
			struct zv_conn **conn)
{
	struct splice_chan *ch = sp->chan;
	struct zv_grant g;
	int ret;

	if (!ch || !ch->part)
		return zv_connect_from(gq->q, sp->src_cid, src_port, 0, sp->port, sp->type, conn);
	g = grant(ch, SHM_ROLE_B);
	ret = zv_connect_granted(gq->q, sp->src_cid, src_port, 0, sp->port, sp->type, &g, conn);
	if (ret == 0) {
		ch->granted[B] = sp->side[B].f.owner.channel = true;
		broker_granted(gq, &ch->part->end[B]);
		GUEST_COUNT(gq, channel_granted);
		return 0;
	}
	if (ret == -EAGAIN && wait_on_b(ch, gq, BROKER_RETRY_NS))
		return -EINPROGRESS;
	if (ret != -EAGAIN && ret != -EOPNOTSUPP)
		return ret;
	GUEST_COUNT(gq, channel_declined); /* its session has ended, or it takes no messages */
	part_free(ch);
	(void)no_channel(ch);
	return zv_connect_from(gq->q, sp->src_cid, src_port, 0, sp->port, sp->type, conn);
}

/* ---- the answer ---- */

int splice_chan_answer(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	struct guest_queue *gq = s->f.owner.gq;
	struct zv_grant g;
	int ret;

	if (!ch || !ch->part)
		return 0;
	stop_waiting(ch, A);
	g = grant(ch, SHM_ROLE_A);
	ret = zv_conn_grant(s->f.conn, &g);
	if (ret == 0) {
		ch->granted[A] = s->f.owner.channel = true;
		broker_granted(gq, &ch->part->end[A]);
		GUEST_COUNT(gq, channel_granted);
		return 0;
	}
	if (ret == -EAGAIN && wait_until(ch, A, gq, BROKER_RETRY_NS))
		return -EINPROGRESS;
	GUEST_COUNT(gq, channel_failed);
	return ret;
}

/* ---- afterwards ---- */

void splice_chan_woken(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	bool *wake = &ch->wake[s - s->sp->side];

	if (__atomic_load_n(wake, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(wake, false, __ATOMIC_ACQUIRE))
		(void)zv_conn_wake(s->f.conn);
}

void splice_chan_wake(struct splice_side *s)
{
	struct splice_side *other = s->other;

	if (!s->sp->chan || splice_state(other) != SPLICE_UP)
		return;
	if (__atomic_load_n(&other->lc, __ATOMIC_SEQ_CST) == s->lc) {
		(void)zv_conn_wake(other->f.conn);
		return;
	}
	__atomic_store_n(&s->sp->chan->wake[other - s->sp->side], true, __ATOMIC_RELEASE);
	splice_poke(s);
}

void splice_chan_end(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	unsigned side = (unsigned)(s - s->sp->side);

	if (!ch)
		return;
	stop_waiting(ch, side);
	/* B's lcore may be waiting, and has begun nothing yet that a poke could reach. */
	if (side == A && !__atomic_load_n(&s->other->lc, __ATOMIC_SEQ_CST))
		tell_b(ch);
}

void splice_chan_free(struct splice *sp)
{
	if (!sp->chan)
		return;
	part_free(sp->chan);
	region_put(sp->chan->region);
	free(sp->chan);
}
