/* SPDX-License-Identifier: BSD-3-Clause */
#include "rx_loan.h"

#include "socket/tx/tx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SHARE 8u	  /* part of the descriptors that may be withheld: for a new connection */
#define PRIV_CHUNK  4096u /* least private memory of a copy, so that small packets can share it */
/*
 * Most entries of one connection. Its credit pays for one per CREDIT_MSG_OVERHEAD bytes: as many as
 * a peer may use that charges that much per message. ENTRIES_SPARE more are for a peer that is not
 * zvsock, which does not charge it, and for packets that came in pieces, as long as the receive
 * memory of the queue is not used up. A peer that sends more tiny messages is reset.
 */
#define ENTRIES_SPARE 1024u
#define ENTRY_BYTES   (sizeof(struct rx_entry) + 32) /* plus the smallest block of malloc */
#define DROPS_AT_ONCE 8u			     /* by rx_drop_all() */
#define DROPS_LATER   1024u			     /* by one rx_chores() */

/* ---- entries ---- */

static uint32_t entry_get(struct rx_loans *r)
{
	uint32_t i = r->free;

	if (i != LOAN_NONE)
		r->free = r->e[i].next;
	else if (r->top < r->size || rx_entries_grow(r))
		i = r->top++;
	else
		return LOAN_NONE;
	r->used++;
	return i;
}

static void entry_put(struct rx_loans *r, uint32_t i)
{
	r->e[i].serial = 0; /* in use, so the table is there: NOLINT(clang-analyzer-core.*) */
	r->e[i].conn_id = 0;
	r->e[i].next = r->free;
	r->free = i;
	if (--r->used == 0 && r->top > RX_ENTRIES_KEPT)
		rx_entries_unused(r);
}

static void entry_append(struct zv_conn *c, uint32_t i)
{
	struct rx_entry *e = c->q->rx.e;

	e[i].next = LOAN_NONE;
	if (c->rx.tail == LOAN_NONE)
		c->rx.head = i;
	else
		e[c->rx.tail].next = i;
	c->rx.tail = i;
	c->rx.queued++;
}

static void withhold(struct zv_conn *c, uint32_t ndesc)
{
	if (c->rx.lent_descs == 0)
		c->q->rx.holders++;
	c->rx.lent_descs += ndesc;
	c->q->rx.lent_descs += ndesc;
}

/* All entries of the packet that entry @h holds have been released. */
static inline void holder_put(struct zv_queue *q, struct zv_conn *c, uint32_t h)
{
	struct rx_loans *r = &q->rx;
	struct rx_entry *he = &r->e[h];

	if (he->priv) {
		stats_add(&q->tq->stats.rx_private, -(uint64_t)he->priv_cap);
		free(he->priv);
	} else {
		q->tq->ops->rx_release(q->tq, he->token);
		r->lent_descs -= he->ndesc;
		if (c && c->rx.lent_descs) { /* none: rx_forget() */
			c->rx.lent_descs -= he->ndesc;
			c->rx.returned += he->ndesc;
			if (c->rx.lent_descs == 0)
				r->holders--;
		}
	}
	entry_put(r, h);
}

static inline void release(struct zv_queue *q, struct zv_conn *c, uint32_t i)
{
	struct rx_loans *r = &q->rx;
	uint32_t h = r->e[i].holder;

	if (--r->e[h].refs == 0)
		holder_put(q, c, h);
	if (i != h)
		entry_put(r, i);
}

void rx_release(struct zv_queue *q, struct zv_conn *c, uint32_t i)
{
	release(q, c, i);
}

/* ---- taking a packet ---- */

void rx_drop(struct zv_queue *q, const struct rx_pkt *p)
{
	if (p->nseg)
		q->tq->ops->rx_release(q->tq, p->token);
}

/* The queue may withhold @ndesc more descriptors for @c: see the theory in rx_loan.h. */
static bool may_withhold(const struct zv_conn *c, uint32_t ndesc)
{
	const struct rx_loans *r = &c->q->rx;
	uint32_t limit = c->q->tq->rx_descs / 2, have = c->rx.lent_descs;
	/* One more than hold some, so that the next connection finds descriptors. */
	uint32_t shares = r->holders + (have == 0) + 1;

	return r->lent_descs + ndesc <= limit && (uint64_t)(have + ndesc) * shares <= limit &&
	       (have == 0 || have + ndesc <= limit / FIRST_SHARE + c->rx.returned);
}

/* Entry @i gets piece @s of the packet, whose buffer entry @holder holds. */
static inline void entry_fill(struct zv_conn *c, uint32_t i, uint32_t holder,
			      const struct rx_pkt *p, uint32_t s, unsigned flags)
{
	struct rx_entry *e = &c->q->rx.e[i];

	/* Field by field: a structure built elsewhere would be copied. */
	e->data = p->seg[s].base;
	e->len = p->seg[s].len;
	e->holder = holder;
	e->refs = i == holder;
	e->token = p->token;
	e->ndesc = (uint16_t)p->ndesc;
	e->flags = (uint8_t)flags;
	e->conn_id = c->id;
	e->priv = NULL;
	e->priv_cap = e->extra = 0;
	e->serial = 0;
}

static int take_loan(struct zv_conn *c, struct rx_pkt *p, unsigned flags)
{
	struct zv_queue *q = c->q;
	struct rx_loans *r = &q->rx;
	uint32_t holder = LOAN_NONE;

	for (uint32_t s = 0; s < p->nseg; s++) {
		uint32_t i = entry_get(r);

		if (i == LOAN_NONE) {
			if (holder == LOAN_NONE)
				q->tq->ops->rx_release(q->tq, p->token);
			return -ENOMEM; /* the caller resets the connection, which drops the rest */
		}
		if (holder == LOAN_NONE) {
			holder = i;
			withhold(c, p->ndesc);
		}
		entry_fill(c, i, holder, p, s, s + 1 == p->nseg ? flags : 0);
		if (i != holder)
			r->e[holder].refs++;
		entry_append(c, i);
	}
	return 0;
}

/* The tail entry if it is a private chunk of a stream with room left; or NULL. */
static struct rx_entry *tail_room(struct zv_conn *c)
{
	struct rx_entry *e;

	if (c->sock->framed || c->rx.tail == LOAN_NONE)
		return NULL;
	e = &c->q->rx.e[c->rx.tail];
	return e->priv && e->data + e->len < e->priv + e->priv_cap ? e : NULL;
}

static __attribute__((noinline)) int take_copy(struct zv_conn *c, struct rx_pkt *p, unsigned flags,
					       uint32_t extra)
{
	struct zv_queue *q = c->q;
	struct rx_loans *r = &q->rx;
	struct rx_entry *e = tail_room(c);
	uint32_t seg = 0, off = 0, left = p->hdr.len;
	int ret = 0;

	stats_add(&q->tq->stats.rx_copied, 1);
	do {
		uint32_t room;

		if (!e) {
			uint32_t cap = left > PRIV_CHUNK || c->sock->framed ? left : PRIV_CHUNK;
			uint8_t *priv = malloc(cap ? cap : 1);
			uint32_t i = priv ? entry_get(r) : LOAN_NONE;

			if (i == LOAN_NONE) {
				free(priv);
				goto nomem;
			}
			stats_add(&q->tq->stats.rx_private, cap);
			e = &r->e[i];
			*e = (struct rx_entry){.data = priv,
					       .holder = i,
					       .refs = 1,
					       .priv = priv,
					       .priv_cap = cap,
					       .extra = extra,
					       .conn_id = c->id};
			entry_append(c, i);
		}
		room = (uint32_t)(e->priv + e->priv_cap - (e->data + e->len));
		while (left && room) {
			uint32_t n = p->seg[seg].len - off;

			n = n < room ? n : room;
			memcpy(e->data + e->len, p->seg[seg].base + off, n);
			rx_copied(e->data);
			e->len += n;
			room -= n;
			left -= n;
			off += n;
			if (off == p->seg[seg].len) {
				seg++;
				off = 0;
			}
		}
		if (!left)
			e->flags = (uint8_t)flags;
		e = NULL;
	} while (left);
	if (__builtin_expect(shm_load32(r->faults) != r->faults_seen, 0) && p->nseg &&
	    !q->tq->ops->rx_intact(q->tq, p->token)) {
		rx_drop_all(c); /* earlier copies may share a chunk with it */
		c->rx.seq.msgs = 0;
		ret = -ECONNRESET;
	}
	rx_drop(q, p);
	return ret;
nomem:
	rx_drop(q, p);
	return -ENOMEM;
}

/* Received payload has used up the receive memory of this queue. */
static bool memory_used_up(const struct zv_queue *q)
{
	return q->tq->stats.rx_private + q->rx.used * (uint64_t)ENTRY_BYTES >
	       q->dev->opts.rx_memory / q->dev->nqueues;
}

/* Entries that the credit of @c pays for. */
static inline uint32_t entries_paid(const struct zv_conn *c)
{
	return c->credit.buf_alloc / CREDIT_MSG_OVERHEAD;
}

/* @c has as many entries as it may have. */
static bool entries_full(const struct zv_conn *c)
{
	uint32_t paid = entries_paid(c);

	if (__builtin_expect(c->rx.queued < paid, 1))
		return false;
	return c->rx.queued >= paid + ENTRIES_SPARE || (c->sock->framed && memory_used_up(c->q));
}

/* The slow half of rx_take(): a packet of any shape. */
static __attribute__((noinline)) int take_any(struct zv_conn *c, struct rx_pkt *p, unsigned flags,
					      uint32_t extra)
{
	bool full = entries_full(c);

	if (full && c->sock->framed) {
		if (p->nseg)
			c->q->tq->ops->rx_release(c->q->tq, p->token);
		return -ENOMEM;
	}
	/* A stream with many small pieces is copied into chunks from here on. */
	if (p->nseg && !full && !pkt_in_small_pieces(p->nseg, p->hdr.len) &&
	    may_withhold(c, p->ndesc))
		return take_loan(c, p, flags);
	return take_copy(c, p, flags, extra);
}

int rx_take(struct zv_conn *c, struct rx_pkt *p, unsigned flags, uint32_t extra)
{
	struct rx_loans *r = &c->q->rx;
	uint32_t i = r->free;

	if (__builtin_expect(p->nseg != 1 || i == LOAN_NONE || entries_paid(c) <= c->rx.queued ||
				     !may_withhold(c, p->ndesc),
			     0))
		return take_any(c, p, flags, extra);
	r->free = r->e[i].next;
	r->used++;
	withhold(c, p->ndesc);
	entry_fill(c, i, i, p, 0, flags);
	entry_append(c, i);
	return 0;
}

/* ---- giving to the application ---- */

void rx_report_credit(struct zv_conn *c, bool due)
{
	if (c->state != VC_CONNECTED || c->shut.peer & VSOCK_SHUTDOWN_SEND)
		return;
	if (due)
		tx_ctrl(c, CP_CREDIT_UPDATE);
	else
		credit_update_later(c);
}

int rx_empty(struct zv_conn *c)
{
	if (c->state == VC_CONNECTING || c->state == VC_REQUESTED)
		return -ENOTCONN;
	if (c->state == VC_CLOSED && c->err)
		return c->err;
	if (c->state == VC_CLOSED || !vsock_shut_can_recv(&c->shut)) {
		c->flags |= CF_EOF_SEEN;
		return 0;
	}
	return -EAGAIN;
}

int rx_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct rx_loans *r = &c->q->rx;
	unsigned done = 0;

	while (done < n && c->rx.head != LOAN_NONE) {
		uint32_t i = rx_pop(c);
		struct rx_entry *e = &r->e[i];

		e->serial = ++r->serial;
		r->app_loans++;
		c->rx.app_bytes += e->len + e->extra;
		bufs[done++] = (struct zv_buf){.data = e->data,
					       .len = e->len,
					       .capacity = e->len,
					       .flags = e->flags,
					       .cookie = i,
					       .serial = e->serial};
		if (e->flags & ZV_EOM)
			seq_rx_consumed(&c->rx.seq);
	}
	return done ? (int)done : rx_empty(c);
}

/* @c has @len bytes in @n buffers less on loan to the application. */
static inline void consumed(struct zv_conn *c, uint32_t len, unsigned n, struct zv_conn **drained)
{
	c->rx.app_bytes -= len;
	rx_consumed(c, len, c->sock->framed ? n : 0);
	if (__builtin_expect(rx_drained(c) && !(c->flags & CF_DRAINED), 0)) {
		c->flags |= CF_DRAINED;
		c->drained_next = *drained;
		*drained = c;
	}
}

unsigned rx_buf_release(struct zv_queue *q, const struct zv_buf *bufs, unsigned n,
			struct zv_conn **drained)
{
	struct rx_loans *r = &q->rx;
	uint64_t id = 0; /* of c */
	struct zv_conn *c = NULL;
	uint32_t len = 0; /* of the buffers from @from on, all of c */
	unsigned k, from = 0;

	for (k = 0; k < n; k++) {
		uint32_t i = bufs[k].cookie;
		struct rx_entry *e;

		if (i >= r->top || !bufs[k].serial || r->e[i].serial != bufs[k].serial)
			break;
		e = &r->e[i];
		if (e->conn_id != id) {
			if (c)
				consumed(c, len, k - from, drained);
			id = e->conn_id;
			c = (struct zv_conn *)conn_table_get(&q->conns, id);
			len = 0;
			from = k;
		}
		len += e->len + e->extra;
		e->serial = 0;
		r->app_loans--;
		release(q, c, i);
	}
	if (c)
		consumed(c, len, k - from, drained);
	return k;
}

void rx_drop_all(struct zv_conn *c)
{
	struct rx_loans *r = &c->q->rx;

	for (unsigned n = 0; c->rx.head != LOAN_NONE && n < DROPS_AT_ONCE; n++)
		rx_release(c->q, c, rx_pop(c));
	if (c->rx.head == LOAN_NONE)
		return;
	if (r->drop == LOAN_NONE)
		r->drop = c->rx.head;
	else
		r->e[r->drop_last].next = c->rx.head;
	r->drop_last = c->rx.tail;
	c->rx.head = c->rx.tail = LOAN_NONE;
	c->rx.queued = 0;
	r->chores = true;
}

static void drop_some(struct zv_queue *q, uint32_t most)
{
	struct rx_loans *r = &q->rx;

	while (r->drop != LOAN_NONE && most--) {
		uint32_t i = r->drop;

		r->drop = r->e[i].next;
		/* Its connection may go on: it has lost what it had received, and is about to end.
		 */
		release(q, (struct zv_conn *)conn_table_get(&q->conns, r->e[i].conn_id), i);
	}
}

void rx_chores(struct zv_queue *q)
{
	drop_some(q, DROPS_LATER);
	q->rx.chores = rx_entries_trim(&q->rx) || q->rx.drop != LOAN_NONE;
}

bool rx_intact(const struct zv_queue *q, const struct rx_entry *e)
{
	const struct rx_entry *holder = &q->rx.e[e->holder];

	return holder->priv || q->tq->ops->rx_intact(q->tq, holder->token);
}

bool rx_drop_lost(struct zv_conn *c)
{
	const struct rx_entry *e = c->q->rx.e;
	uint32_t i = c->rx.head;

	while (i != LOAN_NONE && e[e[i].holder].priv)
		i = e[i].next;
	if (i == LOAN_NONE)
		return false;
	rx_drop_all(c);
	c->rx.seq.msgs = 0;
	return true;
}

void rx_forget(struct zv_conn *c)
{
	if (c->rx.lent_descs)
		c->q->rx.holders--;
	c->rx.lent_descs = 0;
}

void rx_init(struct zv_queue *q)
{
	static const uint32_t never;

	q->rx.free = q->rx.drop = LOAN_NONE;
	q->rx.faults = q->tq->faults ? q->tq->faults : &never;
	q->rx.faults_seen = shm_load32(q->rx.faults);
}

void rx_fini(struct zv_queue *q)
{
	drop_some(q, UINT32_MAX);
	rx_entries_fini(&q->rx);
}
