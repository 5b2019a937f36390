/* SPDX-License-Identifier: BSD-3-Clause */
#include "splice_chan.h"

#include "base/clock.h"
#include "channel/broker.h"
#include "channel/claims.h"
#include "channel/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <zvsock_broker.h>

enum { A, B };

struct splice_chan {
	struct splice *sp;
	struct region *region;
	struct region_user user[2];
	unsigned a_queue; /* index of A's queue */
	struct lcore *b_lcore;
	uint32_t a_can;		/* enum broker_can; A's lcore writes it, B's reads it; atomic */
	struct chan_part *part; /* belongs to B's lcore until B is up; NULL: none yet */
	bool over;		/* there will be no channel; B's lcore only */
	/* Fields of each side, used by its lcore. */
	struct broker_user attached[2];
	struct broker_wait wait[2];
	struct lcore_timer timer[2];
	struct guest_queue *waits[2];		     /* where the side waits; NULL: it does not */
	uint64_t since_ns[2];			     /* when it began to wait */
	bool granted[2];			     /* the broker releases the end */
	bool wake[2];				     /* the driver is to be woken; atomic */
	const struct broker_conn_ops *granted_by[2]; /* how its end was granted; NULL: it was not */
};

static struct splice_chan *of_wait(struct broker_wait *w, unsigned side)
{
	return (struct splice_chan *)(void *)((char *)(w - side) -
					      offsetof(struct splice_chan, wait));
}

static struct splice_chan *of_attached(struct broker_user *u, unsigned side)
{
	return (struct splice_chan *)(void *)((char *)(u - side) -
					      offsetof(struct splice_chan, attached));
}

static struct splice_chan *of_timer(struct lcore_timer *t, unsigned side)
{
	return (struct splice_chan *)(void *)((char *)(t - side) -
					      offsetof(struct splice_chan, timer));
}

/* ---- waiting ---- */

/* Starts a wait of up to @ns, which ends broker_timeout_ns() after the side's first wait at the
 * latest. False: that time is over, or the queue is ending. */
static bool wait_until(struct splice_chan *ch, unsigned side, struct guest_queue *gq, uint64_t ns)
{
	uint64_t now = now_ns(), most = broker_timeout_ns(), left;

	if (!ch->since_ns[side])
		ch->since_ns[side] = now;
	if (gq->ending || now - ch->since_ns[side] >= most)
		return false;
	left = ch->since_ns[side] + most - now;
	ch->waits[side] = gq;
	lcore_timer_start(gq->lc, &ch->timer[side], ns < left ? ns : left);
	return true;
}

static void stop_waiting(struct splice_chan *ch, unsigned side)
{
	struct guest_queue *gq = ch->waits[side];

	if (!gq)
		return;
	broker_wait_end(ch->attached[side].b, &ch->wait[side]);
	lcore_timer_stop(gq->lc, &ch->timer[side]);
	ch->waits[side] = NULL;
}

static void b_wake_up(struct broker_wait *w)
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

/* On B's lcore: A's driver has mapped the region, or cannot, or A has ended. */
static void a_known(struct lcore *lc, void *arg)
{
	struct splice_chan *ch = arg;

	(void)lc;
	if (ch->waits[B])
		splice_connect(ch->sp, ch->waits[B]);
	splice_unref(ch->sp);
}

static void notify_b(struct splice_chan *ch)
{
	splice_ref(ch->sp);
	if (lcore_post(ch->b_lcore, a_known, ch)) /* no memory: B's timeout does it */
		splice_unref(ch->sp);
}

static void a_wake_up(struct broker_wait *w)
{
	struct splice_chan *ch = of_wait(w, A);
	enum broker_can can = broker_can(ch->attached[A].b, ch->region);

	if (can == BROKER_WAIT) {
		broker_wait(ch->attached[A].b, w, ch->region);
		return;
	}
	stop_waiting(ch, A);
	__atomic_store_n(&ch->a_can, can, __ATOMIC_RELEASE);
	notify_b(ch);
}

/* ---- a broker that is closed ---- */

/* The broker of @side is closed. A side that was granted its end cannot continue. Otherwise the
 * splice does without a channel, or fails later if the other side has its end already. */
static void lost_end(struct splice_chan *ch, unsigned side)
{
	stop_waiting(ch, side);
	if (ch->granted[side])
		splice_fail(&ch->sp->side[side]);
}

static void a_closed(struct broker_user *u)
{
	struct splice_chan *ch = of_attached(u, A);

	__atomic_store_n(&ch->a_can, BROKER_NEVER, __ATOMIC_RELEASE);
	lost_end(ch, A);
}

static void b_closed(struct broker_user *u)
{
	lost_end(of_attached(u, B), B);
}

void splice_chan_begin(struct splice *sp, struct guest_queue *gq, struct guest_queue *to)
{
	struct region *r = reach_region(gq->guest, to->guest);
	struct broker *b = !r ? NULL : gq->asking ? gq->asking : broker_driver(gq);
	enum broker_can can = b ? broker_can(b, r) : BROKER_NEVER;
	struct splice_chan *ch = can == BROKER_NEVER ? NULL : calloc(1, sizeof(*ch));

	if (!ch) {
		region_put(r);
		return;
	}
	ch->sp = sp;
	ch->region = r;
	ch->user[A] = region_user(gq->guest);
	ch->a_queue = gq->index;
	ch->user[B] = region_user(to->guest);
	ch->b_lcore = to->lc;
	ch->a_can = can;
	ch->attached[A].closed = a_closed;
	ch->attached[B].closed = b_closed;
	ch->wait[A].wake_up = a_wake_up;
	ch->wait[B].wake_up = b_wake_up;
	ch->timer[A].expired = a_timeout;
	ch->timer[B].expired = b_timeout;
	sp->chan = ch;
	broker_attach(b, &ch->attached[A]);
	if (can == BROKER_WAIT) { /* B's timeout limits it */
		ch->waits[A] = gq;
		broker_wait(b, &ch->wait[A], r);
	}
}

/* ---- B's driver ---- */

/* Registers with the broker in any case, so that the end of the queue wakes this side. */
static bool wait_on_b(struct splice_chan *ch, struct guest_queue *gq, uint64_t ns)
{
	if (!wait_until(ch, B, gq, ns))
		return false;
	broker_wait(ch->attached[B].b, &ch->wait[B], ch->region);
	return true;
}

/* Decides that payload is copied. */
static bool no_channel(struct splice_chan *ch)
{
	ch->over = true;
	broker_detach(&ch->attached[B]);
	return true;
}

/* B's control connection: to the program that listens on the port, or to the driver. */
static struct broker *broker_of_b(struct splice_chan *ch, struct guest_queue *gq)
{
	struct broker *b = ch->attached[B].b;

	if (b)
		return b;
	broker_poll_programs(gq);
	b = claims_listener(gq, ch->sp->port, ch->sp->type);
	if (!b)
		b = broker_driver(gq);
	if (b)
		broker_attach(b, &ch->attached[B]);
	return b;
}

bool splice_chan_known(struct splice *sp, struct guest_queue *gq)
{
	struct splice_chan *ch = sp->chan;
	enum broker_can a, b;
	struct broker *attached;
	int ret;

	stop_waiting(ch, B);
	if (ch->over || ch->part || splice_state(&sp->side[A]) >= SPLICE_CLOSED)
		return true;
	a = (enum broker_can)__atomic_load_n(&ch->a_can, __ATOMIC_ACQUIRE);
	attached = broker_of_b(ch, gq);
	b = attached ? broker_can(attached, ch->region) : BROKER_NEVER;
	if (b == BROKER_NEVER)
		return no_channel(ch);
	if ((a == BROKER_WAIT || b == BROKER_WAIT) && wait_on_b(ch, gq, broker_timeout_ns()))
		return false;
	if (a != BROKER_CAN || b != BROKER_CAN) {
		GUEST_COUNT(gq, channel_declined);
		return no_channel(ch);
	}
	ret = chan_part_new(ch->region, &ch->user[A], &ch->user[B], &ch->part);
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
	const struct chan_end *own = &ch->part->end[role], *other = &ch->part->end[!role];

	return (struct zv_grant){.region = region_id(ch->region),
				 .desc = ch->part->desc,
				 .role = role,
				 .bell = own->bell.nr,
				 .ring_page = other->bell.page,
				 .ring_bell = other->bell.nr};
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
	const struct broker_route to = {sp->src_cid, src_port, sp->port, sp->type};
	struct splice_chan *ch = sp->chan;
	struct broker *b = ch ? ch->attached[B].b : NULL;
	struct zv_grant g;
	int ret;

	if (!ch || !ch->part)
		return zv_connect_from(gq->q, sp->src_cid, src_port, 0, sp->port, sp->type, conn);
	if (!ch->part->end[B].bell.nr)
		(void)bells_alloc(ch->user[A].serial, ch->a_queue, &ch->part->end[A].bell,
				  ch->user[B].serial, gq->index, &ch->part->end[B].bell);
	g = grant(ch, SHM_ROLE_B);
	ret = b ? broker_connect(b, &to, &g, conn) : -EOPNOTSUPP;
	if (ret == 0) {
		ch->granted[B] = sp->side[B].f.owner.channel = true;
		ch->granted_by[B] = broker_ops(b);
		broker_granted(b, &ch->part->end[B]);
		GUEST_COUNT(gq, channel_granted);
		return 0;
	}
	if (ret == -EAGAIN && wait_on_b(ch, gq, BROKER_RETRY_NS))
		return -EINPROGRESS;
	if (ret != -EAGAIN && ret != -EOPNOTSUPP)
		return ret;
	GUEST_COUNT(gq, channel_declined); /* its session has ended, or it accepts no messages */
	part_free(ch);
	(void)no_channel(ch);
	return zv_connect_from(gq->q, sp->src_cid, src_port, 0, sp->port, sp->type, conn);
}

/* ---- the answer ---- */

int splice_chan_answer(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	struct guest_queue *gq = s->f.owner.gq;
	struct broker *b = ch ? ch->attached[A].b : NULL;
	struct zv_grant g;
	int ret;

	if (!ch || !ch->part)
		return 0;
	stop_waiting(ch, A);
	g = grant(ch, SHM_ROLE_A);
	ret = b ? broker_grant(b, s->f.conn, &g) : -ECONNRESET;
	if (ret == 0) {
		ch->granted[A] = s->f.owner.channel = true;
		ch->granted_by[A] = broker_ops(b);
		broker_granted(b, &ch->part->end[A]);
		GUEST_COUNT(gq, channel_granted);
		return 0;
	}
	if (ret == -EAGAIN && wait_until(ch, A, gq, BROKER_RETRY_NS))
		return -EINPROGRESS;
	GUEST_COUNT(gq, channel_failed);
	return ret;
}

/* ---- wake-ups, and the end ---- */

static unsigned index_of(const struct splice_side *s)
{
	return (unsigned)(s - s->sp->side);
}

/* Wakes the driver of @s. If that is not possible now, it is retried at ZV_EV_OUT. */
static void wake(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	const struct broker_conn_ops *attached = ch->granted_by[index_of(s)];

	if (attached && attached->wake(s->f.conn) == -EAGAIN)
		__atomic_store_n(&ch->wake[index_of(s)], true, __ATOMIC_RELAXED);
}

bool splice_chan_bytes(const struct splice_side *s)
{
	const struct splice_chan *ch = s->sp->chan;

	return ch && ch->granted_by[index_of(s)] && ch->granted_by[index_of(s)]->bytes;
}

void splice_chan_woken(struct splice_side *s)
{
	bool *due = &s->sp->chan->wake[index_of(s)];

	if (__atomic_load_n(due, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(due, false, __ATOMIC_ACQUIRE))
		wake(s);
}

void splice_chan_wake(struct splice_side *s)
{
	struct splice_side *other = s->other;

	if (!s->sp->chan || splice_state(other) != SPLICE_UP)
		return;
	if (__atomic_load_n(&other->lc, __ATOMIC_SEQ_CST) == s->lc) {
		wake(other);
		return;
	}
	__atomic_store_n(&s->sp->chan->wake[index_of(other)], true, __ATOMIC_RELEASE);
	splice_kick(s);
}

void splice_chan_end(struct splice_side *s)
{
	struct splice_chan *ch = s->sp->chan;
	unsigned side = index_of(s);

	if (!ch)
		return;
	stop_waiting(ch, side);
	broker_detach(&ch->attached[side]);
	/* B may be waiting and have no lcore set, so that a kick would not reach it. */
	if (side == A && !__atomic_load_n(&s->other->lc, __ATOMIC_SEQ_CST))
		notify_b(ch);
}

void splice_chan_free(struct splice *sp)
{
	if (!sp->chan)
		return;
	part_free(sp->chan);
	region_put(sp->chan->region);
	free(sp->chan);
}
