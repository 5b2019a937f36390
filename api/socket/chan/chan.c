/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan.h"

#include "chan_bell.h"
#include "chan_rx.h"
#include "chan_tx.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/peer.h"
#include "socket/core/timer.h"
#include "socket/tx/tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS	   1000000000u
#define TICK_LOOKS 1024u /* at places of the table, in one poll */

/* ---- hot, armed, quiet ---- */

void chan_heat(struct chan *ch)
{
	ch->idle = 0;
	if (ch->heat == CHAN_HOT || ch->over)
		return;
	if (ch->heat == CHAN_ARMED)
		shm_channel_disarm(ch->ch);
	ch->heat = CHAN_HOT;
	TAILQ_INSERT_TAIL(&ch->q->chans.hot, ch, link);
	ch->q->chans.nhot++;
}

static void cool(struct chan *ch, enum chan_heat to)
{
	if (ch->heat == CHAN_HOT) {
		TAILQ_REMOVE(&ch->q->chans.hot, ch, link);
		ch->q->chans.nhot--;
	} else if (ch->heat == CHAN_ARMED && to != CHAN_ARMED) {
		shm_channel_disarm(ch->ch);
	}
	ch->heat = (uint8_t)to;
}

/* Nothing more is received, and there is nothing to wait for. */
static void stop(struct chan *ch)
{
	ch->over = true;
	cool(ch, CHAN_QUIET);
}

int chan_broken(struct chan *ch, int err)
{
	struct shm_channel_stats st = {.size = sizeof(st)};
	struct zv_conn *c = ch->c;
	struct zv_queue *q = ch->q;

	if (ch->over) { /* it was over in order; what was left to read is lost */
		if (c->state == VC_CLOSED)
			c->err = -ECONNRESET;
		return -ECONNRESET;
	}
	stop(ch);
	/* CHAN_CUT: the device may have died, and only a packet shows that. */
	if (err == -ECONNRESET && q->dev->t->end == END_IS_MISSED)
		tx_probe(q);
	if (err == -EPROTO) {
		(void)shm_channel_get_stats(ch->ch, &st);
		if (chan_is_cut(ch))
			st.fault = "the file of its region was cut off";
		stats_add(&q->tq->stats.chan_broken, 1);
		zv_log_limited(&q->tq->log, ZV_LOG_WARN,
			       "%s: queue %u: the peer's channel for port %u is broken (%s): "
			       "connection reset",
			       queue_device_name(q), q->index, c->node.key.peer_port,
			       st.fault ? st.fault : "an unknown message, or one behind the end");
	}
	conn_abort(c, -ECONNRESET);
	return -ECONNRESET;
}

/* ---- looking ---- */

/* Newly arrived data would be reported. */
static bool hungry(const struct chan *ch)
{
	return !ch->over && !ch->ended && !conn_has_data(ch->c);
}

static bool wants_room(const struct chan *ch)
{
	return (ch->c->flags & CF_WANT_OUT) && !ch->room_told;
}

/*
 * Checks for data, and for room if that is wanted. 1: something new; 0: nothing; -errno: see
 * chan_pull().
 */
static int look(struct chan *ch)
{
	struct zv_conn *c = ch->c;
	int news = 0;

	if (chan_is_cut(ch))
		return -EPROTO;
	if (hungry(ch)) {
		news = chan_pull(ch);
		if (news < 0)
			return news;
	}
	if (wants_room(ch) && chan_has_room(c)) {
		ch->room_told = true;
		news = 1;
	}
	if (news)
		conn_ready(c);
	return news;
}

/*
 * Leaves the hot list if nothing is new: becomes armed, or quiet if there is nothing to wait for.
 * 1; 0: something is new, and @ch stays hot; -errno.
 */
static int settle(struct chan *ch)
{
	unsigned want = (hungry(ch) ? SHM_WANT_DATA : 0) | (wants_room(ch) ? SHM_WANT_ROOM : 0);
	int ret;

	if (!want) {
		chan_tell(ch);
		cool(ch, CHAN_QUIET);
		return 1;
	}
	ch->tell = 0;
	/*
	 * shm_channel_arm() cannot know how much room is wanted; the check here comes after its
	 * barrier. A peer that cannot be woken is not a fault of the channel.
	 */
	(void)shm_channel_arm(ch->ch, want, ch->c->blocked.bytes);
	ret = shm_channel_error(ch->ch);
	if (!ret)
		ret = look(ch);
	if (ret < 0)
		return ret;
	cool(ch, CHAN_ARMED);
	if (ret)
		chan_heat(ch);
	return !ret;
}

/* Handles a wake-up by the peer. */
static void rung(struct chan *ch)
{
	int ret;

	if (!ch || !ch->c || ch->heat != CHAN_ARMED)
		return; /* it is looked at, or there is nothing to wait for */
	ret = look(ch);
	if (ret > 0)
		chan_heat(ch);
	else if (!ret)
		ret = settle(ch); /* its peer does not ring again for this arming */
	if (ret < 0)
		(void)chan_broken(ch, ret);
}

static void hear(struct chan_bells *b)
{
	uint32_t first;
	uint64_t bits;

	if (!bells_take(&b->owner, &first, &bits))
		return;
	for (; bits; bits &= bits - 1)
		rung(b->of[first + (uint32_t)__builtin_ctzll(bits)]);
}

static inline void visit(struct chan *ch)
{
	int ret = look(ch);

	if (ret < 0) {
		(void)chan_broken(ch, ret);
		return;
	}
	/* A few lines of the ring can wait until a poll finds nothing. */
	if (ch->tell && (!ret || ch->tell >= CHAN_TELL_SLOT))
		chan_tell(ch);
	if (ret)
		ch->idle = 0;
	else if (++ch->idle * ch->q->chans.nhot > CHAN_IDLE && settle(ch) < 0)
		(void)chan_broken(ch, -EPROTO);
}

void chans_poll(struct zv_queue *q)
{
	struct queue_chans *cs = &q->chans;
	uint32_t n = cs->nhot < CHAN_LOOKS ? cs->nhot : CHAN_LOOKS;
	bool all = n == cs->nhot;
	struct chan *ch, *next;

	if (__builtin_expect(chan_bells_any(q), 0))
		hear(cs->bells);
	for (ch = TAILQ_FIRST(&cs->hot); ch && n--; ch = next) {
		next = TAILQ_NEXT(ch, link);
		if (!all) { /* others have their turn next time */
			TAILQ_REMOVE(&cs->hot, ch, link);
			TAILQ_INSERT_TAIL(&cs->hot, ch, link);
		}
		visit(ch);
	}
}

bool chans_arm(struct zv_queue *q)
{
	struct chan *ch, *next;
	bool work = false;

	for (ch = TAILQ_FIRST(&q->chans.hot); ch; ch = next) {
		int ret;

		next = TAILQ_NEXT(ch, link);
		ret = settle(ch);
		if (ret < 0)
			(void)chan_broken(ch, ret);
		work |= ret != 1;
	}
	return work || chan_bells_arm(q);
}

/* ---- checks for what no peer reports ---- */

static void tick_at(struct zv_queue *q, uint64_t now)
{
	q->chans.look_at = now - now % TICK_NS + TICK_NS;
	q->chans.looked = 0;
}

void chans_tick(struct zv_queue *q)
{
	struct queue_chans *cs = &q->chans;
	uint32_t to = cs->size - cs->looked < TICK_LOOKS ? cs->size : cs->looked + TICK_LOOKS;

	if (cs->looked == 0 && q->dev->t->end == END_IS_MISSED)
		tx_probe(q);
	while (cs->looked < to)
		rung(cs->tab[cs->looked++]);
	if (cs->n && cs->looked == cs->size)
		tick_at(q, q->clock.now);
}

void chan_was_read(struct chan *ch)
{
	if (ch->heat != CHAN_HOT || ch->idle)
		chan_heat(ch);
}

/* ---- life ---- */

static int wake_peer(void *arg)
{
	struct chan *ch = arg;

	if (chan_bell_ring(ch))
		return 0;
	if (ch->c && ch->c->state == VC_CONNECTED && !ch->q->session.no_tx)
		tx_ctrl(ch->c, CP_CREDIT_UPDATE);
	return 0;
}

static void destroy(struct chan *ch)
{
	struct zv_queue *q = ch->q;

	shm_channel_detach(ch->ch);
	chan_rx_fini(ch);
	chan_tx_fini(ch);
	if (ch->index != LOAN_NONE) {
		q->chans.tab[ch->index] = NULL;
		if (--q->chans.n == 0)
			q->chans.look_at = UINT64_MAX;
		stats_add(&q->tq->stats.chans, -(uint64_t)1);
	}
	chan_bell_leave(ch);
	if (ch->gone)
		ch->gone(ch->gone_arg);
	free(ch);
}

void chan_loans_back(struct chan *ch)
{
	if (ch->heat != CHAN_HOT)
		chan_tell(ch);
	if (!ch->c && !ch->lent)
		destroy(ch);
}

/* A number for @ch in the queue's table. */
static int enter(struct zv_queue *q, struct chan *ch)
{
	uint32_t i = 0;

	while (i < q->chans.size && q->chans.tab[i])
		i++;
	if (i == q->chans.size) {
		uint32_t size = i ? 2 * i : 16;
		struct chan **tab = realloc((void *)q->chans.tab, size * sizeof(*tab));

		if (!tab)
			return -ENOMEM;
		memset((void *)(tab + i), 0, (size - i) * sizeof(*tab));
		q->chans.tab = tab;
		q->chans.size = size;
	}
	q->chans.tab[i] = ch;
	if (q->chans.n++ == 0 && q->dev->t->end != END_IS_TOLD)
		tick_at(q, queue_clock(q));
	ch->index = i;
	stats_add(&q->tq->stats.chans, 1);
	return 0;
}

static const uint32_t never;

static int open_ends(struct chan *ch, const struct chan_opts *o)
{
	const struct shm_channel_opts so = {
		.size = sizeof(so), .wake = wake_peer, .wake_arg = ch, .wake_fd = -1};
	int ret = shm_channel_attach(&ch->ch, o->region, o->size, o->desc, o->role, &so);

	if (!ret)
		ret = chan_rx_init(ch, &o->desc->dir[!o->role]);
	if (!ret)
		chan_tx_init(ch, &o->desc->dir[o->role], o->desc->version == SHM_CHANNEL_NESTED);
	if (!ret)
		ret = enter(ch->q, ch);
	return ret;
}

static void opened(struct zv_conn *c)
{
	c->chan->over = false;
	chan_heat(c->chan);
}

static bool used(const struct zv_conn *c)
{
	return c->credit.tx_cnt || c->credit.rx_cnt || c->tx.loans || c->flags & CF_MORE;
}

int chan_attach(struct zv_conn *c, const struct chan_opts *o)
{
	struct chan *ch;
	int ret;

	if (!c->sock->over_chan || c->flags & CF_INTERNAL || c->state > VC_CONNECTED ||
	    o->ring_bell >= BELLS)
		return -EINVAL;
	if (used(c))
		return -EBUSY;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	ch->q = c->q;
	ch->c = c;
	ch->index = LOAN_NONE;
	ret = open_ends(ch, o);
	ch->bell = o->bell;
	if (!ret)
		ret = chan_bell_enter(ch);
	if (ret) {
		ch->bell = 0; /* it is not this one's */
		destroy(ch);
		return ret;
	}
	ch->gone = o->gone;
	ch->cut = o->cut ? o->cut : &never;
	ch->gone_arg = o->gone_arg;
	ch->ring_page = o->ring_page;
	ch->ring_bell = o->ring_bell;
	c->chan = ch;
	c->sock = c->sock->over_chan;
	c->credit.buf_alloc = 0;
	rx_promise_back(c);
	ch->over = true;
	if (c->state == VC_CONNECTED)
		opened(c);
	return 0;
}

void chans_fini(struct zv_queue *q)
{
	chan_bells_close(q);
	free((void *)q->chans.tab);
	chan_stages_fini(q);
}

/* ---- what happens to the connection ---- */

static bool shut(struct zv_conn *c, uint32_t flags)
{
	struct chan *ch = c->chan;
	int ret = 0;

	/*
	 * A connection that the application has closed reads nothing: its last message is good
	 * enough.
	 */
	if (!(flags & VSOCK_SHUTDOWN_SEND) || ch->over || c->flags & CF_ORPHAN)
		return true;
	ret = chan_pull_all(ch);
	if (!ret && !ch->ended)
		ret = -EPROTO; /* without CHAN_END a truncated stream would look complete */
	if (ret)
		(void)chan_broken(ch, ret);
	return !ret;
}

static void end(struct zv_conn *c)
{
	struct chan *ch = c->chan;

	/*
	 * Ring entries are reserved for it. If the peer has broken the channel, the next poll finds
	 * out.
	 */
	if (!ch->end_sent)
		(void)shm_channel_control(ch->ch, CHAN_END, 0);
	ch->end_sent = true;
	chan_tell(ch);
	if (c->flags & CF_ORPHAN)
		stop(ch);
}

static void woken(struct zv_conn *c)
{
	rung(c->chan);
}

static void over(struct zv_conn *c)
{
	struct chan *ch = c->chan;

	if (ch->over)
		return;
	/* A failure here does not matter: the end of the connection cuts the channel off. */
	if (c->state == VC_CONNECTED && !(c->flags & CF_ORPHAN))
		(void)chan_pull_all(ch);
	if (c->q->session.no_tx && !ch->end_sent && c->shut.peer != VSOCK_SHUTDOWN_BOTH) {
		(void)shm_channel_control(ch->ch, CHAN_CUT, 0);
		chan_tell(ch);
	}
	stop(ch);
}

static void freed(struct zv_conn *c)
{
	struct chan *ch = c->chan;

	stop(ch);
	ch->c = NULL;
	c->chan = NULL;
	if (!ch->lent)
		destroy(ch);
}

static void info(const struct zv_conn *c, struct zv_conn_info *info)
{
	struct chan *ch = c->chan;
	uint64_t room = shm_channel_room(ch->ch);

	info->tx_credit =
		c->state == VC_CONNECTED && vsock_shut_can_send(&c->shut) ? (uint32_t)room : 0;
	info->rx_unread = (uint32_t)ch->unread;
	info->peer_buf_alloc = (uint32_t)ch->room;
	info->tx_unacked = ch->room > room ? (uint32_t)(ch->room - room) : 0;
}

const struct sock_path chan_path = {
	.opened = opened,
	.shut = shut,
	.end = end,
	.woken = woken,
	.over = over,
	.free = freed,
	.info = info,
};
