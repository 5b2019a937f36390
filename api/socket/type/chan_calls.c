/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_calls.h"

#include "socket/rx/rx.h"
#include "socket/tx/tx_buf.h"
#include "socket/tx/tx_data.h"

#include <errno.h>

bool chan_no_packets(struct zv_conn *c, const struct vsock_hdr *h, uint32_t *flags)
{
	(void)c;
	(void)h;
	(void)flags;
	return false;
}

/* ---- reserved buffers ---- */

/* All that the peer holds is part of an unfinished message: nothing will come back. */
static bool nothing_comes_back(struct chan *ch)
{
	struct shm_channel_stats st = {.size = sizeof(st)};

	(void)shm_channel_get_stats(ch->ch, &st);
	(void)chan_entries_refresh(ch, ch->all_entries);
	return st.slots_out <= ch->msg_slots &&
	       ch->all_entries - ch->free_entries <= ch->msg_entries;
}

static int none_left(struct zv_conn *c, size_t len)
{
	if ((!c->tx.loans && !c->tx.msg_pkts) || !nothing_comes_back(c->chan))
		return chan_no_room(c, len, 1);
	if (c->tx.loans)
		return zv_err(
			-ENOBUFS,
			"zv_buf_alloc: %u buffers, all that the connection's channel has, are "
			"reserved and not sent: send or cancel some",
			c->tx.loans);
	return zv_err(-EMSGSIZE,
		      "zv_buf_alloc: the message that zv_buf_send has begun has %u bytes, all that "
		      "the channel can hold before its end",
		      c->tx.msg_bytes);
}

int chan_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len)
{
	int ret = tx_may_send(c);

	if (ret)
		return ret;
	tx_more_end(c); /* keeps the order of bytes */
	ret = chan_reserve(c, bufs, n < ZV_SLOTS ? n : ZV_SLOTS, len);
	if (ret > 0)
		c->flags &= ~CF_WANT_OUT;
	else if (ret < 0)
		ret = chan_broken(c->chan, ret);
	else
		ret = none_left(c, len);
	return ret;
}

unsigned chan_buf_cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	struct chan_outs r = chan_outs(c->chan);
	unsigned odd = n;

	for (unsigned i = 0; i < n; i++) {
		struct chan_out *o = chan_out_find(&r, &bufs[i]);

		if (o)
			chan_out_cancel(c->chan, &bufs[i], o);
		else if (odd == n)
			odd = i;
	}
	return odd;
}

/* 0, or why none of @bufs can be sent. */
static int check_bufs(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	struct chan_outs r = chan_outs(c->chan);
	int ret = tx_may_send(c);

	for (unsigned i = 0; i < n && ret == 0; i++) {
		const struct chan_out *o = chan_out_find(&r, &bufs[i]);
		struct tx_loan l;

		if (__builtin_expect(o && bufs[i].len <= o->capacity &&
					     !(bufs[i].flags & ~(ZV_EOM | ZV_EOR)),
				     1))
			continue;
		l.capacity = o ? o->capacity : 0;
		ret = tx_buf_bad(&bufs[i], o ? &l : NULL, i, n);
	}
	return ret;
}

/* What goes into the ring in one channel call, and its effect on the counters. */
struct batch {
	struct shm_msg m[CHAN_FIFO];
	unsigned n;
	uint32_t entries;  /* that they take */
	uint32_t promised; /* that their buffers had */
	uint32_t *free;	   /* where the next staging buffer that becomes free goes */
	unsigned loans;
	uint64_t bytes;
};

static inline void begin(struct zv_conn *c, struct batch *g)
{
	const struct queue_chans *cs = &c->q->chans;

	g->n = g->entries = g->promised = g->loans = 0;
	g->bytes = 0;
	g->free = cs->staging.free + cs->staging.nfree;
}

/* Of a message that is not ended yet. */
static void count_piece(struct zv_conn *c, const struct shm_msg *m)
{
	struct chan *ch = c->chan;

	if (m->flags) {
		c->tx.msg_bytes = c->tx.msg_pkts = 0;
		ch->msg_slots = ch->msg_entries = 0;
		return;
	}
	c->tx.msg_bytes += m->len;
	c->tx.msg_pkts++;
	if (m->kind == SHM_MSG_SLOT)
		ch->msg_slots++;
	else
		ch->msg_entries += chan_width(m->len);
}

static inline uint8_t end_flags(const struct zv_conn *c, const struct zv_buf *b)
{
	if (!c->sock->framed || !b->flags)
		return 0;
	return (uint8_t)(SHM_EOM | (b->flags & ZV_EOR));
}

/* Adds buffer @b, which the library owns from here on. */
static inline void gather(struct zv_conn *c, struct batch *g, const struct zv_buf *b,
			  struct chan_out *o)
{
	struct shm_msg *m = &g->m[g->n++];

	/*
	 * Assigned field by field: a structure built elsewhere and copied would first have to leave
	 * the CPU's store buffer.
	 */
	m->data = b->data;
	m->len = b->len;
	m->flags = 0;
	m->gen = o->gen;
	m->id = b->cookie;
	m->kind = SHM_MSG_SLOT;
	if (b->cookie & CHAN_COOKIE) {
		m->kind = SHM_MSG_USER;
		*g->free++ = b->cookie & ~CHAN_COOKIE; /* nobody takes it before it is copied */
		g->entries += chan_width(b->len);
	} else {
		g->entries++;
	}
	if (c->sock->framed) {
		m->flags = end_flags(c, b);
		count_piece(c, m);
	}
	o->serial = 0;
	g->promised += o->width;
	g->bytes += b->len;
	g->loans++;
}

/* Counts what has been gathered. */
static void account(struct zv_conn *c, struct batch *g)
{
	struct chan *ch = c->chan;
	struct queue_chans *cs = &ch->q->chans;

	ch->promised -= g->promised;
	c->tx.loans -= g->loans;
	ch->q->tx.app_loans -= g->loans;
	cs->staging.nfree = (uint32_t)(g->free - cs->staging.free);
}

static int not_all_sent(struct zv_conn *c, const struct batch *g, int n)
{
	struct chan *ch = c->chan;

	(void)chan_entries_refresh(ch, ch->all_entries);
	for (unsigned i = n > 0 ? (unsigned)n : 0; i < g->n; i++)
		if (g->m[i].kind == SHM_MSG_SLOT)
			(void)shm_channel_cancel(ch->ch, &g->m[i], 1);
	if (!shm_channel_error(ch->ch))
		return zv_err(-EINVAL, "zv_buf_send: data of a buffer is not what zv_buf_alloc "
				       "gave");
	return -EPROTO;
}

/* 0, or -errno: not all could be sent. */
static int flush(struct zv_conn *c, struct batch *g)
{
	struct chan *ch = c->chan;
	int n = g->n ? shm_channel_send(ch->ch, g->m, g->n) : 0, ret = 0;

	if (__builtin_expect(n == (int)g->n, 1)) {
		ch->free_entries -= g->entries;
		chan_sent(c, g->bytes);
	} else {
		ret = not_all_sent(c, g, n);
	}
	account(c, g);
	return ret == -EPROTO ? chan_broken(ch, ret) : ret;
}

/* An empty buffer: the end of a message, which needs no slot, or nothing at all. */
static int send_empty(struct zv_conn *c, struct batch *g, const struct zv_buf *b,
		      struct chan_out *o)
{
	int ret = flush(c, g);
	uint8_t flags = end_flags(c, b);

	chan_out_cancel(c->chan, b, o);
	begin(c, g);
	if (!flags || ret)
		return ret;
	g->m[g->n] = (struct shm_msg){.kind = SHM_MSG_USER, .flags = flags};
	g->entries++;
	count_piece(c, &g->m[g->n++]);
	return 0;
}

/* The common case: a few buffers of a stream, all of them valid. False: nothing has changed. */
static bool gather_all(struct zv_conn *c, struct batch *g, const struct zv_buf *bufs, unsigned n)
{
	struct chan_outs r = chan_outs(c->chan);
	unsigned i;

	for (i = 0; i < n; i++) {
		struct chan_out *o = chan_out_find(&r, &bufs[i]);

		if (__builtin_expect(!o || !bufs[i].len || bufs[i].len > o->capacity ||
					     (bufs[i].flags & ~(ZV_EOM | ZV_EOR)),
				     0))
			break;
		gather(c, g, &bufs[i], o);
	}
	if (__builtin_expect(i == n, 1))
		return true;
	while (i--)
		chan_out_at(&r, &bufs[i])->serial = bufs[i].serial;
	return false;
}

/* One by one, after checking all of them. */
static int send_each(struct zv_conn *c, struct batch *g, const struct zv_buf *bufs, unsigned n)
{
	int ret = check_bufs(c, bufs, n);
	struct chan_outs r;

	tx_more_end(c); /* keeps the order of bytes */
	r = chan_outs(c->chan);
	begin(c, g);
	for (unsigned i = 0; i < n && !ret; i++) {
		struct chan_out *o = chan_out_find(&r, &bufs[i]);

		if (!o) /* the same buffer twice in one call */
			continue;
		if (bufs[i].len)
			gather(c, g, &bufs[i], o);
		else
			ret = send_empty(c, g, &bufs[i], o);
		if (g->n == CHAN_FIFO) {
			ret = flush(c, g);
			begin(c, g);
		}
	}
	return ret ? ret : flush(c, g);
}

int chan_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct batch g;
	int ret;

	begin(c, &g);
	if (n <= CHAN_FIFO && !c->sock->framed && !(c->flags & CF_MORE) && !tx_may_send(c) &&
	    gather_all(c, &g, bufs, n))
		ret = flush(c, &g);
	else
		ret = send_each(c, &g, bufs, n);
	tx_credit_back(c);
	chan_notify(c->chan);
	if (!ret)
		return (int)n;
	(void)chan_buf_cancel(c, bufs, n);
	return ret;
}

/* ---- ZV_MORE: a slot that is being filled ---- */

void chan_more_end(struct zv_conn *c)
{
	struct chan *ch = c->chan;
	struct shm_msg m = ch->more;

	TAILQ_REMOVE(&c->q->more, c, more.link);
	c->flags &= ~CF_MORE;
	ch->promised--;
	m.len = c->more.len;
	if (m.len && shm_channel_send(ch->ch, &m, 1) == 1) {
		ch->free_entries--;
		chan_sent(c, m.len);
		chan_notify(ch);
		return;
	}
	(void)shm_channel_cancel(ch->ch, &m, 1);
	if (m.len)
		chan_activate(ch); /* the next look finds the channel broken */
}

/* ---- received buffers ---- */

int chan_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct chan *ch = c->chan;
	unsigned got = 0;
	int ret = 0;

	if (chan_is_truncated(ch))
		return chan_broken(ch, -EPROTO);
	if (!chan_fifo_empty(ch) && !chan_may_lend(ch))
		return -ENOMEM;
	while (got < n) {
		if (chan_fifo_empty(ch)) {
			ret = chan_pull(ch);
			if (ret <= 0 || chan_fifo_empty(ch))
				break;
			if (!chan_may_lend(ch))
				return -ENOMEM;
		}
		c->rx.seq.msgs -= ch->fifo[ch->head].flags & SHM_EOM;
		chan_lend(ch, &bufs[got++]);
	}
	c->rx.queued = ch->tail - ch->head;
	ch->lent += got;
	ch->q->rx.app_loans += got;
	if (got) {
		if (ch->activity != CHAN_ACTIVE || ch->idle)
			chan_activate(ch);
		return (int)got;
	}
	if (ret < 0)
		return chan_broken(ch, ret);
	return rx_empty(c);
}

unsigned chan_buf_release(struct zv_queue *q, const struct zv_buf *bufs, unsigned n,
			  struct zv_conn **drained)
{
	struct chan *ch = chan_of(q, bufs->cookie);
	unsigned k = ch ? chan_take_back(ch, bufs, n) : 0;
	struct zv_conn *c = k ? ch->c : NULL;

	if (!k)
		return 0;
	if (c && __builtin_expect(rx_drained(c) && !(c->flags & CF_DRAINED), 0)) {
		c->flags |= CF_DRAINED;
		c->drained_next = *drained;
		*drained = c;
	}
	chan_loans_back(ch);
	return k;
}
