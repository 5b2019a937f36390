/* SPDX-License-Identifier: BSD-3-Clause */
/* Received payload and reserved buffers; theory in loan.h. */
#include "loan.h"

#include "socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PRIV_CHUNK 4096u /* least private memory of a copy, so that small packets can share it */
/*
 * Entries of one connection. Its credit pays for one each CREDIT_MSG_OVERHEAD bytes: as many as a
 * peer may use that charges so much for each message. ENTRIES_SPARE more are for a stock peer,
 * which does not, and for packets that came in pieces, as long as the receive memory of the queue
 * is not used up. A peer that sends more tiny messages is reset.
 */
#define ENTRIES_SPARE 1024u
#define ENTRY_BYTES   (sizeof(struct rx_entry) + 32) /* and the least that malloc gives */
#define ENTRIES_KEPT  4096u			     /* when none is in use */

/* ---- entries ---- */

/* What is not in use yet is not touched either: some memory of a large array never comes to be. */
static bool entries_grow(struct rx_loans *r)
{
	uint32_t size = r->size ? r->size * 2 : 64;
	struct rx_entry *e = realloc(r->e, (size_t)size * sizeof(*e));

	if (e) {
		r->e = e;
		r->size = size;
	}
	return e != NULL;
}

static uint32_t entry_get(struct rx_loans *r)
{
	uint32_t i = r->free;

	if (i != LOAN_NONE)
		r->free = r->e[i].next;
	else if (r->fresh < r->size || entries_grow(r))
		i = r->fresh++;
	else
		return LOAN_NONE;
	r->used++;
	return i;
}

static __attribute__((cold)) void entries_free(struct rx_loans *r)
{
	free(r->e);
	r->e = NULL;
	r->size = r->fresh = 0;
	r->free = LOAN_NONE;
}

static void entry_put(struct rx_loans *r, uint32_t i)
{
	r->e[i].serial = 0;
	r->e[i].conn_id = 0;
	r->e[i].next = r->free;
	r->free = i;
	if (--r->used == 0 && r->size > ENTRIES_KEPT)
		entries_free(r);
}

static void entry_append(struct zv_conn *c, uint32_t i)
{
	struct rx_entry *e = c->q->rx.e;

	e[i].next = LOAN_NONE;
	if (c->rx_tail == LOAN_NONE)
		c->rx_head = i;
	else
		e[c->rx_tail].next = i;
	c->rx_tail = i;
	c->rx_queued++;
}

static uint32_t entry_pop(struct zv_conn *c)
{
	uint32_t i = c->rx_head;

	c->rx_head = c->q->rx.e[i].next;
	if (c->rx_head == LOAN_NONE)
		c->rx_tail = LOAN_NONE;
	c->rx_queued--;
	return i;
}

static void withhold(struct zv_conn *c, uint32_t ndesc)
{
	if (c->rx_lent == 0)
		c->q->rx.holders++;
	c->rx_lent += ndesc;
	c->q->rx.lent_descs += ndesc;
}

/* Gives an entry back; @c is its connection, or NULL when that is gone. */
static void entry_release(struct zv_queue *q, struct zv_conn *c, uint32_t i)
{
	struct rx_loans *r = &q->rx;
	uint32_t h = r->e[i].holder;
	struct rx_entry *he = &r->e[h];

	if (i != h)
		entry_put(r, i);
	if (--he->refs)
		return;
	if (he->priv) {
		stats_add(&q->tq->stats.rx_private, -(uint64_t)he->priv_cap);
		free(he->priv);
	} else {
		q->tq->ops->rx_release(q->tq, he->token);
		r->lent_descs -= he->ndesc;
		if (c && c->rx_lent) { /* none: loan_forget() */
			c->rx_lent -= he->ndesc;
			if (c->rx_lent == 0)
				r->holders--;
		}
	}
	entry_put(r, h);
}

/* ---- taking a packet ---- */

/* The queue may withhold @ndesc more descriptors for @c: see the theory in loan.h. */
static bool may_withhold(const struct zv_conn *c, uint32_t ndesc)
{
	const struct rx_loans *r = &c->q->rx;
	uint32_t limit = c->q->tq->rx_descs / 2;
	/* One more than there are: whoever comes next finds something. */
	uint32_t share = limit / (r->holders + (c->rx_lent == 0) + 1);

	return r->lent_descs + ndesc <= limit && c->rx_lent + ndesc <= share;
}

static int take_loan(struct zv_conn *c, struct rx_pkt *p, unsigned flags)
{
	struct zv_queue *q = c->q;
	struct rx_loans *r = &q->rx;
	uint32_t holder = LOAN_NONE;

	for (uint32_t s = 0; s < p->nseg; s++) {
		uint32_t i = entry_get(r);
		struct rx_entry *e;

		if (i == LOAN_NONE) {
			if (holder == LOAN_NONE)
				q->tq->ops->rx_release(q->tq, p->token);
			return -ENOMEM; /* the caller resets the connection, which drops the rest */
		}
		if (holder == LOAN_NONE) {
			holder = i;
			withhold(c, p->ndesc);
		}
		e = &r->e[i];
		*e = (struct rx_entry){
			.data = p->seg[s].base,
			.len = p->seg[s].len,
			.holder = holder,
			.refs = i == holder,
			.token = p->token,
			.ndesc = (uint16_t)p->ndesc,
			.flags = (uint8_t)(s + 1 == p->nseg ? flags : 0),
			.conn_id = c->id,
		};
		if (i != holder)
			r->e[holder].refs++;
		entry_append(c, i);
	}
	return 0;
}

/* The tail entry, when it is a private chunk of a stream with room for more bytes; or NULL. */
static struct rx_entry *tail_room(struct zv_conn *c)
{
	struct rx_entry *e;

	if (c->type != ZV_STREAM || c->rx_tail == LOAN_NONE)
		return NULL;
	e = &c->q->rx.e[c->rx_tail];
	return e->priv && e->data + e->len < e->priv + e->priv_cap ? e : NULL;
}

static int take_copy(struct zv_conn *c, struct rx_pkt *p, unsigned flags, uint32_t extra)
{
	struct zv_queue *q = c->q;
	struct rx_loans *r = &q->rx;
	struct rx_entry *e = tail_room(c);
	uint32_t seg = 0, off = 0, left = p->hdr.len;

	stats_add(&q->tq->stats.rx_copied, 1);
	do {
		uint32_t room;

		if (!e) {
			uint32_t cap =
				left > PRIV_CHUNK || c->type != ZV_STREAM ? left : PRIV_CHUNK;
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
	if (p->nseg)
		q->tq->ops->rx_release(q->tq, p->token);
	return 0;
nomem:
	if (p->nseg)
		q->tq->ops->rx_release(q->tq, p->token);
	return -ENOMEM;
}

/* Received payload takes all that it may in this queue. */
static bool memory_used_up(const struct zv_queue *q)
{
	return q->tq->stats.rx_private + q->rx.used * (uint64_t)ENTRY_BYTES >
	       q->dev->opts.rx_memory / q->dev->nqueues;
}

/* @c has as many entries as it may have. */
static bool entries_full(const struct zv_conn *c)
{
	uint32_t paid = c->credit.buf_alloc / CREDIT_MSG_OVERHEAD;

	if (__builtin_expect(c->rx_queued < paid, 1))
		return false;
	return c->rx_queued >= paid + ENTRIES_SPARE ||
	       (c->type == ZV_SEQPACKET && memory_used_up(c->q));
}

int loan_take(struct zv_conn *c, struct rx_pkt *p, unsigned flags, uint32_t extra)
{
	bool full = entries_full(c);

	if (full && c->type == ZV_SEQPACKET) {
		if (p->nseg)
			c->q->tq->ops->rx_release(c->q->tq, p->token);
		return -ENOMEM;
	}
	/* A stream that is full of small pieces is gathered into chunks from here on. */
	if (p->nseg && !full && !pkt_in_crumbs(p->nseg, p->hdr.len) && may_withhold(c, p->ndesc))
		return take_loan(c, p, flags);
	return take_copy(c, p, flags, extra);
}

/* ---- giving to the application ---- */

/* Accounts consumed bytes, of SEQPACKET packets too, and tells the peer when that is due. */
static inline void consumed(struct zv_conn *c, uint32_t len, uint32_t pkts)
{
	bool due, stuck;

	credit_rx_consumed(&c->credit, len);
	c->credit.untold_pkts += pkts;
	due = credit_update_due(&c->credit);
	stuck = credit_peer_stuck(&c->credit);
	if (__builtin_expect(!due && !stuck, 1) || c->state != VC_CONNECTED ||
	    c->shut.peer & VSOCK_SHUTDOWN_SEND)
		return;
	if (due)
		tx_ctrl(c, CP_CREDIT_UPDATE);
	else
		conn_tell_soon(c);
}

/* What a receiving call returns when no payload is queued. */
static int empty(struct zv_conn *c)
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

static ssize_t recv_stream(struct zv_conn *c, uint8_t *dst, size_t len, bool peek)
{
	struct rx_loans *r = &c->q->rx;
	uint32_t i = c->rx_head;
	size_t done = 0;

	while (i != LOAN_NONE && done < len) {
		struct rx_entry *e = &r->e[i];
		uint32_t n = len - done < e->len ? (uint32_t)(len - done) : e->len;

		memcpy(dst + done, e->data, n);
		done += n;
		if (peek) {
			i = e->next;
			continue;
		}
		if (n < e->len) {
			e->data += n;
			e->len -= n;
		} else {
			entry_release(c->q, c, entry_pop(c));
		}
		i = c->rx_head;
	}
	if (!peek)
		consumed(c, (uint32_t)done, 0);
	return (ssize_t)done;
}

static ssize_t recv_message(struct zv_conn *c, uint8_t *dst, size_t len, uint32_t *flags, bool peek)
{
	struct rx_loans *r = &c->q->rx;
	uint32_t i = c->rx_head, total = 0, extra = 0, pkts = 0, end = 0;
	size_t done = 0;

	while (i != LOAN_NONE && !(end & ZV_EOM)) {
		struct rx_entry *e = &r->e[i];
		uint32_t n = len - done < e->len ? (uint32_t)(len - done) : e->len;

		if (n)
			memcpy(dst + done, e->data, n);
		done += n;
		total += e->len;
		extra += e->extra;
		pkts++;
		end = e->flags;
		i = e->next;
		if (!peek)
			entry_release(c->q, c, entry_pop(c));
	}
	if (flags)
		*flags = end | (done < total ? ZV_TRUNC : 0);
	if (!peek) {
		seq_rx_consumed(&c->seq);
		consumed(c, total + extra, pkts);
	}
	return (ssize_t)done;
}

ssize_t loan_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	bool peek = flags && (*flags & ZV_PEEK);
	ssize_t n;

	if (flags)
		*flags = 0;
	if (c->rx_head == LOAN_NONE || (c->type == ZV_SEQPACKET && c->seq.msgs == 0))
		return empty(c);
	if (len == 0 && c->type == ZV_STREAM)
		return 0;
	n = c->type == ZV_STREAM ? recv_stream(c, data, len, peek)
				 : recv_message(c, data, len, flags, peek);
	if (c->rx_head == LOAN_NONE)
		(void)conn_drained(c);
	return n;
}

int loan_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	struct rx_loans *r = &c->q->rx;
	unsigned done = 0;

	while (done < n && c->rx_head != LOAN_NONE) {
		uint32_t i = entry_pop(c);
		struct rx_entry *e = &r->e[i];

		e->serial = ++r->serial;
		r->app_loans++;
		bufs[done++] = (struct zv_buf){.data = e->data,
					       .len = e->len,
					       .capacity = e->len,
					       .flags = e->flags,
					       .cookie = i,
					       .serial = e->serial};
		if (e->flags & ZV_EOM)
			seq_rx_consumed(&c->seq);
	}
	return done ? (int)done : empty(c);
}

void loan_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n)
{
	struct rx_loans *r = &q->rx;
	struct zv_conn *c = NULL;

	for (unsigned k = 0; k < n; k++) {
		uint32_t i = bufs[k].cookie, len;
		struct rx_entry *e;

		if (i >= r->fresh || !bufs[k].serial || r->e[i].serial != bufs[k].serial) {
			zv_err(-EINVAL,
			       "zv_buf_release: buffer %u of %u is not on loan from this queue "
			       "(released twice, or of another queue): ignored",
			       k, n);
			continue;
		}
		e = &r->e[i];
		if (!c || c->id != e->conn_id)
			c = (struct zv_conn *)conn_table_get(&q->conns, e->conn_id);
		len = e->len + e->extra;
		e->serial = 0;
		r->app_loans--;
		entry_release(q, c, i);
		if (c) {
			consumed(c, len, c->type == ZV_SEQPACKET);
			if (c->rx_head == LOAN_NONE && conn_drained(c))
				c = NULL;
		}
	}
}

void loan_drop_all(struct zv_conn *c)
{
	while (c->rx_head != LOAN_NONE)
		entry_release(c->q, c, entry_pop(c));
}

bool loan_drop_lost(struct zv_conn *c)
{
	const struct rx_entry *e = c->q->rx.e;
	uint32_t i = c->rx_head;

	while (i != LOAN_NONE && e[e[i].holder].priv)
		i = e[i].next;
	if (i == LOAN_NONE)
		return false;
	loan_drop_all(c);
	c->seq.msgs = 0;
	return true;
}

void loan_forget(struct zv_conn *c)
{
	if (c->rx_lent)
		c->q->rx.holders--;
	c->rx_lent = 0;
}

void loan_fini(struct zv_queue *q)
{
	free(q->rx.e);
	free(q->tx.l);
}

/* ---- buffers reserved for sending ---- */

uint32_t loan_tx_get(struct tx_loans *t, const struct tx_loan *loan)
{
	uint32_t i;

	if (t->free == LOAN_NONE) {
		uint32_t size = t->size ? t->size * 2 : 64;
		struct tx_loan *l = realloc(t->l, (size_t)size * sizeof(*l));

		if (!l)
			return LOAN_NONE;
		t->l = l;
		for (i = t->size; i < size; i++) {
			l[i].next = i + 1 < size ? i + 1 : LOAN_NONE;
			l[i].serial = 0;
		}
		t->free = t->size;
		t->size = size;
	}
	i = t->free;
	t->free = t->l[i].next;
	t->l[i] = *loan;
	t->l[i].serial = ++t->serial;
	t->l[i].next = LOAN_NONE;
	t->app_loans++;
	return i;
}

void loan_tx_put(struct tx_loans *t, uint32_t cookie)
{
	t->l[cookie].serial = 0;
	t->l[cookie].next = t->free;
	t->free = cookie;
	t->app_loans--;
}
