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

#define TICK_NS	     1000000000u
#define TICK_ENTRIES 1024u /* entries of the table checked in one poll */

/* ---- active, armed, inactive ---- */

void chan_activate(struct chan *ch)
{
	ch->idle = 0;
	if (ch->activity == CHAN_ACTIVE || ch->over)
		return;
	if (ch->activity == CHAN_ARMED)
		shm_channel_disarm(ch->ch);
	ch->activity = CHAN_ACTIVE;
	TAILQ_INSERT_TAIL(&ch->q->chans.active, ch, link);
	ch->q->chans.nactive++;
}

static void deactivate(struct chan *ch, enum chan_activity to)
{
	if (ch->activity == CHAN_ACTIVE) {
		TAILQ_REMOVE(&ch->q->chans.active, ch, link);
		ch->q->chans.nactive--;
	} else if (ch->activity == CHAN_ARMED && to != CHAN_ARMED) {
		shm_channel_disarm(ch->ch);
	}
	ch->activity = (uint8_t)to;
}

/* Nothing more is received, and the peer need not wake this side. */
static void stop(struct chan *ch)
{
	ch->over = true;
	deactivate(ch, CHAN_INACTIVE);
}

int chan_broken(struct chan *ch, int err)
{
	struct shm_channel_stats st = {.size = sizeof(st)};
	struct zv_conn *c = ch->c;
	struct zv_queue *q = ch->q;

	if (ch->over) { /* already over: what was left to read is lost */
		if (c->state == VC_CLOSED)
			c->err = -ECONNRESET;
		return -ECONNRESET;
	}
	stop(ch);
	/* CHAN_ABORT: the backend may have died, which only a packet can show. */
	if (err == -ECONNRESET && q->dev->t->end == END_MISSED)
		tx_probe(q);
	if (err == -EPROTO) {
		(void)shm_channel_get_stats(ch->ch, &st);
		if (chan_is_truncated(ch))
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

/* ---- polling ---- */

/* True: newly arrived data would be reported. */
static bool wants_data(const struct chan *ch)
{
	return !ch->over && !ch->ended && !conn_has_data(ch->c);
}

static bool wants_room(const struct chan *ch)
{
	return (ch->c->flags & CF_WANT_OUT) && !ch->room_reported;
}

/*
 * Checks for data, and for room if that is wanted. 1: something new; 0: nothing; -errno: see
 * chan_pull().
 */
static int check(struct chan *ch)
{
	struct zv_conn *c = ch->c;
	int found = 0;

	if (chan_is_truncated(ch))
		return -EPROTO;
	if (wants_data(ch)) {
		found = chan_pull(ch);
		if (found < 0)
			return found;
	}
	if (wants_room(ch) && chan_has_room(c)) {
		ch->room_reported = true;
		found = 1;
	}
	if (found)
		conn_ready(c);
	return found;
}

/*
 * Takes @ch off the active list if nothing is new: it becomes armed, or inactive if there is
 * nothing to wait for. 1: done; 0: something is new, and @ch stays active; -errno.
 */
static int settle(struct chan *ch)
{
	unsigned want = (wants_data(ch) ? SHM_WANT_DATA : 0) | (wants_room(ch) ? SHM_WANT_ROOM : 0);
	int ret;

	if (!want) {
		chan_notify(ch);
		deactivate(ch, CHAN_INACTIVE);
		return 1;
	}
	ch->unnotified = 0;
	/*
	 * shm_channel_arm() cannot know how much room is wanted, so check() must come after its
	 * barrier. If the peer cannot be woken now, that is no fault of the channel.
	 */
	(void)shm_channel_arm(ch->ch, want, ch->c->blocked.bytes);
	ret = shm_channel_error(ch->ch);
	if (!ret)
		ret = check(ch);
	if (ret < 0)
		return ret;
	deactivate(ch, CHAN_ARMED);
	if (ret)
		chan_activate(ch);
	return !ret;
}

/* Handles a wake-up by the peer. */
static void on_wakeup(struct chan *ch)
{
	int ret;

	if (!ch || !ch->c || ch->activity != CHAN_ARMED)
		return; /* active channels are polled, and inactive ones wait for nothing */
	ret = check(ch);
	if (ret > 0)
		chan_activate(ch);
	else if (!ret)
		ret = settle(ch); /* the peer rings once per arming */
	if (ret < 0)
		(void)chan_broken(ch, ret);
}

static void serve_bells(struct chan_bells *b)
{
	uint32_t first;
	uint64_t bits;

	if (!bells_take(&b->owner, &first, &bits))
		return;
	for (; bits; bits &= bits - 1)
		on_wakeup(b->of[first + (uint32_t)__builtin_ctzll(bits)]);
}

static inline void poll_one(struct chan *ch)
{
	int ret = check(ch);

	if (ret < 0) {
		(void)chan_broken(ch, ret);
		return;
	}
	/* A few released ring entries are reported when a poll finds nothing new, a slot at
	 * once. */
	if (ch->unnotified && (!ret || ch->unnotified >= CHAN_NOTIFY_SLOT))
		chan_notify(ch);
	if (ret)
		ch->idle = 0;
	else if (++ch->idle * ch->q->chans.nactive > CHAN_IDLE_POLLS && settle(ch) < 0)
		(void)chan_broken(ch, -EPROTO);
}

void chans_poll(struct zv_queue *q)
{
	struct queue_chans *cs = &q->chans;
	uint32_t n = cs->nactive < CHAN_POLL_MAX ? cs->nactive : CHAN_POLL_MAX;
	bool all = n == cs->nactive;
	struct chan *ch, *next;

	if (__builtin_expect(chan_bells_any(q), 0))
		serve_bells(cs->bells);
	for (ch = TAILQ_FIRST(&cs->active); ch && n--; ch = next) {
		next = TAILQ_NEXT(ch, link);
		if (!all) { /* the others have their turn next time */
			TAILQ_REMOVE(&cs->active, ch, link);
			TAILQ_INSERT_TAIL(&cs->active, ch, link);
		}
		poll_one(ch);
	}
}

bool chans_arm(struct zv_queue *q)
{
	struct chan *ch, *next;
	bool work = false;

	for (ch = TAILQ_FIRST(&q->chans.active); ch; ch = next) {
		int ret;

		next = TAILQ_NEXT(ch, link);
		ret = settle(ch);
		if (ret < 0)
			(void)chan_broken(ch, ret);
		work |= ret != 1;
	}
	return work || chan_bells_arm(q);
}

/* ---- changes that no peer reports ---- */

static void schedule_tick(struct zv_queue *q, uint64_t now)
{
	q->chans.next_tick = now - now % TICK_NS + TICK_NS;
	q->chans.tick_pos = 0;
}

void chans_tick(struct zv_queue *q)
{
	struct queue_chans *cs = &q->chans;
	uint32_t to =
		cs->size - cs->tick_pos < TICK_ENTRIES ? cs->size : cs->tick_pos + TICK_ENTRIES;

	if (cs->tick_pos == 0 && q->dev->t->end == END_MISSED)
		tx_probe(q);
	while (cs->tick_pos < to)
		on_wakeup(cs->tab[cs->tick_pos++]);
	if (cs->n && cs->tick_pos == cs->size)
		schedule_tick(q, q->clock.now);
}

void chan_was_read(struct chan *ch)
{
	if (ch->activity != CHAN_ACTIVE || ch->idle)
		chan_activate(ch);
}

/* ---- life cycle ---- */

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
			q->chans.next_tick = UINT64_MAX;
		stats_add(&q->tq->stats.chans, -(uint64_t)1);
	}
	chan_bell_leave(ch);
	if (ch->gone)
		ch->gone(ch->gone_arg);
	free(ch);
}

void chan_loans_back(struct chan *ch)
{
	if (ch->activity != CHAN_ACTIVE)
		chan_notify(ch);
	if (!ch->c && !ch->lent)
		destroy(ch);
}

/* Enters @ch into the queue's table and so gives it a number. */
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
	if (q->chans.n++ == 0 && q->dev->t->end != END_REPORTED)
		schedule_tick(q, queue_clock(q));
	ch->index = i;
	stats_add(&q->tq->stats.chans, 1);
	return 0;
}

static const uint32_t never_truncated;

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
	chan_activate(c->chan);
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
		ch->bell = 0; /* the bell may belong to another channel */
		destroy(ch);
		return ret;
	}
	ch->gone = o->gone;
	ch->truncated = o->truncated ? o->truncated : &never_truncated;
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
	chan_staging_fini(q);
}

/* ---- events of the connection ---- */

static bool shut(struct zv_conn *c, uint32_t flags)
{
	struct chan *ch = c->chan;
	int ret = 0;

	/*
	 * A connection that the application has closed reads nothing, so CHAN_END need not have
	 * arrived.
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
	 * shm-ring reserves ring entries for control messages. If this fails, the peer has broken
	 * the channel, and the next poll finds that out.
	 */
	if (!ch->end_sent)
		(void)shm_channel_control(ch->ch, CHAN_END, 0);
	ch->end_sent = true;
	chan_notify(ch);
	if (c->flags & CF_ORPHAN)
		stop(ch);
}

static void woken(struct zv_conn *c)
{
	on_wakeup(c->chan);
}

static void over(struct zv_conn *c)
{
	struct chan *ch = c->chan;

	if (ch->over)
		return;
	/* A failure is ignored: the connection ends anyway. */
	if (c->state == VC_CONNECTED && !(c->flags & CF_ORPHAN))
		(void)chan_pull_all(ch);
	if (c->q->session.no_tx && !ch->end_sent && c->shut.peer != VSOCK_SHUTDOWN_BOTH) {
		(void)shm_channel_control(ch->ch, CHAN_ABORT, 0);
		chan_notify(ch);
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

	info->flags |= ZV_CONN_CHANNEL;
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
