/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Splices: life cycle, kicks and ends; theory in splice.h, payload in splice_data.c.
 */
#include "core/log.h"
#include "share.h"
#include "spin.h"
#include "splice_chan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void splice_unref(struct splice *sp)
{
	if (__atomic_sub_fetch(&sp->refs, 1, __ATOMIC_ACQ_REL))
		return;
	splice_chan_free(sp);
	free(sp);
}

static void posted(struct lcore *lc, void *arg)
{
	struct splice_side *s = arg;
	struct mem_account *was;

	(void)lc;
	/* barrier pair [P]: an exchange, so that the other side's earlier writes are visible from
	 * here on */
	(void)__atomic_exchange_n(&s->kicked, false, __ATOMIC_ACQUIRE);
	/* If the side has no lcore it has not started: splice_connect() will be called again. */
	if (__atomic_load_n(&s->lc, __ATOMIC_RELAXED) && splice_state(s) < SPLICE_CLOSED) {
		const struct lcore_queue *lq = &s->f.owner.gq->lq;

		was = lcore_for(lq);
		splice_run(s);
		lcore_for_over(lq, was);
	}
	splice_unref(s->sp);
}

void splice_kick(struct splice_side *from)
{
	struct splice_side *to = from->other;
	struct lcore *lc = __atomic_load_n(&to->lc, __ATOMIC_SEQ_CST);

	if (lc && lc == from->lc) {
		if (splice_state(to) < SPLICE_CLOSED)
			lcore_defer(lc, &to->f.work);
		return;
	}
	/* barrier pair [P]: a pending kick will also see the reason for this one */
	if (!lc || __atomic_exchange_n(&to->kicked, true, __ATOMIC_RELEASE))
		return;
	splice_ref(to->sp);
	if (lcore_post(lc, posted, to)) { /* no memory: the next kick or event does it */
		__atomic_store_n(&to->kicked, false, __ATOMIC_SEQ_CST);
		splice_unref(to->sp);
	}
}

/* ---- the end ---- */

/* Ends @s with @state: CLOSED closes its connection, DEAD resets it. */
static void end(struct splice_side *s, enum splice_state state)
{
	struct mem_account *was;
	unsigned steps = 0;

	if (splice_state(s) == SPLICE_UP)
		conn_log(&s->f.owner, s->f.conn,
			 state == SPLICE_CLOSED ? "ended: by both sides" : "ended: reset");
	__atomic_store_n(&s->state, state, __ATOMIC_SEQ_CST); /* barrier pair [E] */
	was = mem_for(NULL); /* the other side may sleep in its own guest's memory */
	while (__atomic_load_n(&s->busy, __ATOMIC_SEQ_CST))
		spin_step(&steps);
	(void)mem_for(was);
	splice_chan_end(s);
	lcore_timer_stop(s->lc, &s->again);
	splice_take_back(s, s->head);
	flow_close(&s->f, state != SPLICE_CLOSED);
	if (s->other != s)
		splice_kick(s);
	share_put(s->f.owner.gq, s->share);
	conn_owner_remove(&s->f.owner);
	splice_unref(s->sp);
}

void splice_fail(struct splice_side *s)
{
	if (splice_state(s) < SPLICE_CLOSED)
		end(s, SPLICE_DEAD);
}

static void owner_abort(struct conn_owner *o)
{
	splice_fail((struct splice_side *)(void *)o);
}

/* ---- events ---- */

static void conn_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct splice_side *s = (struct splice_side *)(void *)o;

	if (ev->events & (ZV_EV_ERR | ZV_EV_CONNECT) && ev->err) {
		if (splice_state(s) == SPLICE_UP)
			GUEST_COUNT(o->gq, guest_resets);
		splice_fail(s);
		return;
	}
	if (ev->events & ZV_EV_WAKE)
		splice_chan_wake(s);
	if (ev->events == ZV_EV_WAKE)
		return;
	if (ev->events & ZV_EV_CONNECT) {
		conn_log(o, s->f.conn, "opened");
		__atomic_store_n(&s->state, SPLICE_UP, __ATOMIC_RELEASE);
		splice_kick(s);
	}
	if (ev->events & ZV_EV_EPIPE)
		splice_guest_shut_rd(s);
	flow_defer(&s->f);
}

/* True: both sides are connected. The requesting side is answered here, depending on the other
 * side's state. */
static bool opened(struct splice_side *s)
{
	int state = splice_state(s->other), ret;

	if (splice_state(s) == SPLICE_UP)
		return s->other == s || state == SPLICE_UP || state == SPLICE_CLOSED;
	if (!s->asks || state == SPLICE_OPENING)
		return false;
	ret = splice_chan_answer(s);
	if (ret == -EINPROGRESS)
		return false;
	if (ret || zv_conn_answer(s->f.conn, 0)) {
		splice_fail(s);
		return false;
	}
	GUEST_COUNT(s->f.owner.gq, guest_joined);
	conn_log(&s->f.owner, s->f.conn, "opened");
	__atomic_store_n(&s->state, SPLICE_UP, __ATOMIC_RELEASE);
	splice_kick(s);
	return true;
}

void splice_run(struct splice_side *s)
{
	if (s->other != s && splice_state(s->other) == SPLICE_DEAD) {
		if (splice_state(s) == SPLICE_OPENING && s->asks)
			GUEST_COUNT(s->f.owner.gq, connect_refused);
		splice_fail(s);
		return;
	}
	if (!opened(s))
		return;
	if (s->sp->chan)
		splice_chan_woken(s);
	splice_lend(s);
	if (!splice_copy(s))
		return;
	if (s->from_guest_done && s->to_guest_done && s->taken_back == s->head)
		end(s, SPLICE_CLOSED);
}

static void work(struct lcore_work *w)
{
	splice_run((struct splice_side *)(void *)flow_of_work(w)); /* f is first */
}

/* ---- the beginning ---- */

static void rest_is_over(struct lcore_timer *t)
{
	struct splice_side *s =
		(struct splice_side *)(void *)((char *)t - offsetof(struct splice_side, again));

	flow_defer(&s->f);
}

static void side_init(struct splice *sp, struct splice_side *s, struct guest_queue *gq,
		      struct zv_conn *conn)
{
	s->f.owner.event = conn_event;
	s->f.owner.abort = owner_abort;
	s->again.expired = rest_is_over;
	splice_ref(sp);
	flow_init(&s->f, gq, conn, sp->kind, work);
	__atomic_store_n(&s->lc, gq->lc, __ATOMIC_SEQ_CST);
}

struct splice *splice_new(struct guest_queue *gq, struct zv_conn *conn,
			  const struct conn_kind *kind, const struct zv_conn_info *info, bool self)
{
	struct splice *sp = calloc(1, sizeof(*sp));

	if (!sp)
		return NULL;
	sp->kind = kind;
	sp->port = info->local_port;
	sp->src_port = info->peer_port;
	sp->src_cid = info->peer_cid;
	sp->asker = share_asker(gq->guest);
	memcpy(sp->asker_name, gq->guest->name, sizeof(sp->asker_name));
	sp->type = info->type;
	for (int i = 0; i < 2; i++) {
		sp->side[i].sp = sp;
		sp->side[i].other = self ? &sp->side[i] : &sp->side[!i];
	}
	sp->side[0].asks = true;
	side_init(sp, &sp->side[0], gq, conn);
	if (self) {
		if (zv_conn_answer(conn, 0) == 0)
			GUEST_COUNT(gq, guest_joined);
		conn_log(&sp->side[0].f.owner, conn, "opened");
		sp->side[0].state = SPLICE_UP;
	} else {
		splice_ref(sp); /* for splice_connect() or splice_refuse() */
	}
	return sp;
}

void splice_refuse(struct splice *sp)
{
	__atomic_store_n(&sp->side[1].state, SPLICE_DEAD, __ATOMIC_SEQ_CST);
	splice_kick(&sp->side[1]);
	splice_unref(sp);
}

static void give_up(struct splice *sp)
{
	splice_chan_end(&sp->side[1]);
	splice_refuse(sp);
}

void splice_connect(struct splice *sp, struct guest_queue *gq)
{
	struct splice_side *s = &sp->side[1];
	struct zv_conn *conn;
	uint32_t src_port;
	int ret;

	if (sp->chan && !splice_chan_known(sp, gq))
		return;
	__atomic_store_n(&s->lc, gq->lc, __ATOMIC_SEQ_CST);
	if (splice_state(&sp->side[0]) >= SPLICE_CLOSED) {
		give_up(sp);
		return;
	}
	s->share = share_get(gq, &sp->asker);
	if (!s->share) {
		GUEST_COUNT(gq, sibling_share);
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "%s, or its user, has its share of this guest's connections: refusing "
			 "more; raise "
			 "max_conns, of which siblings and applications get half",
			 sp->asker_name);
		give_up(sp);
		return;
	}
	/* A guest's own port is passed on; host applications share the ports of CID 2, so one is
	 * chosen. */
	src_port = sp->src_cid == ZV_CID_HOST ? ZV_PORT_ANY : sp->src_port;
	ret = splice_chan_connect(sp, gq, src_port, &conn);
	if (ret) {
		share_put(gq, s->share);
		s->share = NULL;
		if (ret != -EINPROGRESS) {
			give_up(sp);
			return;
		}
		__atomic_store_n(&s->lc, NULL, __ATOMIC_SEQ_CST);
		return;
	}
	side_init(sp, s, gq, conn);
	splice_unref(sp);
}
