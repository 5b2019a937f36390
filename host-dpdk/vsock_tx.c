/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets to the guest: the empty buffers of its receive ring.
 *
 * The first 44 writable bytes of a chain hold the header, wherever descriptors end; payload is
 * offered as the first contiguous piece behind it. A driver that posts [44-byte header][4 KiB] and
 * one that posts single buffers get the same treatment. The rest of a longer chain is not used.
 */
#include "vsock_dev.h"

#include <errno.h>
#include <stdlib.h>

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x)   __builtin_expect(!!(x), 1)

/* A header in at most 44 pieces and one segment of payload: more of a chain is never looked at. */
#define TX_SEGS (VSOCK_HDR_LEN + 1)

/*
 * The first segments of a chain, enough for a header and the payload behind it. Their number, or
 * -EPROTO. dvring_walk() says -ENOSPC for the rest of a longer chain, which is left unchecked
 * because it is never used.
 */
static int first_segs(struct hq *q, uint16_t head, struct pkt_seg *seg)
{
	uint32_t ndesc;
	int n;

	seg[0] = (struct pkt_seg){NULL, 0}; /* a chain may have no segment at all */
	n = dvring_walk(&q->rx, head, seg, TX_SEGS, &ndesc);
	return n == -ENOSPC ? (int)TX_SEGS : n;
}

bool hq_tx_resolve(struct hq *q, struct hq_rec *rec)
{
	struct pkt_seg seg[TX_SEGS];
	uint64_t have = 0; /* a segment can have 4 GiB - 1 */
	uint32_t last;
	int n = first_segs(q, rec->head, seg), i = 0;

	if (n < 0)
		return false;
	rec->ep = q->ep;
	rec->hdr = seg[0].len >= VSOCK_HDR_LEN ? seg[0].base : NULL;
	for (; i < n && have + seg[i].len < VSOCK_HDR_LEN; i++)
		have += seg[i].len;
	if (i == n) {
		(void)dvring_break(&q->rx, DVRING_SHORT);
		return false;
	}
	/* seg[i] holds the last byte of the header */
	last = VSOCK_HDR_LEN - (uint32_t)have;
	rec->data = seg[i].base + last;
	rec->cap = seg[i].len - last;
	if (rec->cap == 0 && i + 1 < n) {
		rec->data = seg[i + 1].base;
		rec->cap = seg[i + 1].len;
	}
	return true;
}

bool hq_tx_move(const struct hq *q, struct hq_rec *rec)
{
	const struct guest_mem *was = rec->ep->mem, *now = q->ep->mem;
	uint8_t *hdr = NULL, *data = rec->data;

	if (rec->hdr && !(hdr = guest_mem_same(was, now, rec->hdr, VSOCK_HDR_LEN)))
		return false;
	if (rec->cap && !(data = guest_mem_same(was, now, rec->data, rec->cap)))
		return false;
	rec->hdr = hdr;
	rec->data = data;
	return true;
}

/* Writes a header that straddles descriptors; the chain is walked, and checked, again. */
static bool put_straddling(struct hq *q, uint16_t head, const struct vsock_hdr *h)
{
	struct pkt_seg seg[TX_SEGS];
	uint8_t wire[VSOCK_HDR_LEN];
	uint32_t done = 0;
	int n = first_segs(q, head, seg);

	if (n < 0)
		return false;
	vsock_hdr_put(wire, h);
	for (int i = 0; i < n && done < VSOCK_HDR_LEN; i++) {
		uint32_t part = VSOCK_HDR_LEN - done;

		if (part > seg[i].len)
			part = seg[i].len;
		memcpy(seg[i].base, wire + done, part);
		done += part;
	}
	if (done < VSOCK_HDR_LEN)
		(void)dvring_break(&q->rx, DVRING_SHORT);
	return done == VSOCK_HDR_LEN;
}

/* Takes the next chain off the ring. Returns its token, or -1 when the ring is broken. */
static inline __attribute__((always_inline)) int64_t take(struct hq *q)
{
	struct dvring *r = &q->rx;
	uint32_t token = q->free - 1;
	struct hq_rec *rec = &q->rec[token];
	struct vring_desc d;
	uint16_t head;

	if (unlikely(!dvring_head(r, r->last_avail, &head)))
		return -1;
	/* in flight <= ring size, and there are records for that: free is never 0 here */
	q->free = rec->next;
	rec->head = head;
	rec->state = HQ_TX_OUT;
	dvring_desc_get(&d, &r->desc[head]);
	rec->hdr = NULL;
	if (likely(d.flags == VRING_DESC_F_WRITE && d.len >= VSOCK_HDR_LEN))
		rec->hdr = guest_mem_gpa(r->mem, &r->hint, d.addr, d.len);
	if (likely(rec->hdr != NULL)) {
		rec->ep = q->ep;
		rec->data = rec->hdr + VSOCK_HDR_LEN;
		rec->cap = d.len - VSOCK_HDR_LEN;
	} else if (!hq_tx_resolve(q, rec)) {
		hq_rec_free(q, token);
		return -1;
	}
	shm_prefetch_write(rec->hdr);
	shm_prefetch_write(rec->data);
	r->last_avail++;
	q->taken++;
	return (int64_t)token;
}

static void stack_push(struct hq *q, uint32_t token)
{
	struct hq_rec *rec = &q->rec[token];

	rec->state = HQ_STACK;
	rec->ctrl = rec->cap == 0;
	if (rec->ctrl)
		q->ctrl[q->nctrl++] = token;
	else
		q->stack[q->nstack++] = token;
}

/*
 * How many of @want chains can be had without touching those kept back (@kept: hq_keep counts). A
 * look at the driver's index may raise what is kept, so that comes first.
 */
static uint32_t tx_have(struct hq *q, uint32_t want, bool kept)
{
	uint32_t keep = kept ? hq_keep(q) : 0;
	uint32_t have = q->nstack + dvring_pending(&q->rx);

	if (have < want + keep) {
		have = q->nstack + dvring_refresh(&q->rx);
		keep = kept ? hq_keep(q) : 0;
	}
	have = have > keep ? have - keep : 0;
	return have < want ? have : want;
}

unsigned hq_tx_reserve(struct tq *tq, struct tx_slot *slots, unsigned n, uint32_t len,
		       unsigned flags)
{
	struct hq *q = hq_of(tq);
	uint32_t have;
	unsigned got = 0;

	(void)len; /* the guest has chosen its buffers' size */
	if (unlikely(!q->ep || (q->nlate && !hq_late_send(q))))
		return 0;
	if (unlikely(flags & TX_CTRL))
		for (; got < n && q->nctrl; got++) {
			struct hq_rec *rec = &q->rec[q->ctrl[--q->nctrl]];

			rec->state = HQ_TX_OUT;
			slots[got] = (struct tx_slot){rec->data, 0, (uint32_t)(rec - q->rec)};
		}
	for (have = tx_have(q, n - got, !(flags & TX_CTRL)); have; have--) {
		struct hq_rec *rec;
		int64_t token;

		if (unlikely(q->taken + q->rx.walked >= HQ_WORK && !(flags & TX_CTRL)))
			break; /* the next round goes on */
		token = q->nstack ? (int64_t)q->stack[--q->nstack] : take(q);
		rec = &q->rec[token < 0 ? 0 : token];
		if (unlikely(token < 0))
			break;
		rec->state = HQ_TX_OUT;
		if (unlikely(rec->cap == 0 && !(flags & TX_CTRL))) {
			stack_push(q, (uint32_t)token);
			continue;
		}
		slots[got++] = (struct tx_slot){rec->data, rec->cap, (uint32_t)token};
	}
	if (unlikely(q->rx.broken)) {
		hq_break(q, &q->rx);
		while (got)
			hq_tx_cancel(tq, slots[--got].token);
	}
	return got;
}

/* ---- packets that were committed after a pause ---- */

int hq_late_room(struct hq *q)
{
	struct hq_late *late;
	bool needed = q->late_size != 0;

	for (uint32_t i = 0; i < q->nrec && !needed; i++)
		needed = q->rec[i].state == HQ_TX_OUT;
	if (!needed || q->late_size >= q->nrec)
		return 0;
	late = malloc(q->nrec * sizeof(*late));
	if (!late)
		return -ENOMEM;
	for (uint32_t i = 0; q->late_size && i < q->nlate; i++)
		late[i] = q->late[(q->late_head + i) % q->late_size];
	free(q->late);
	q->late = late;
	q->late_size = q->nrec;
	q->late_head = 0;
	return 0;
}

/* The record is in no session's hands any more. */
static void rec_done(struct hq *q, uint32_t token)
{
	struct hq_rec *rec = &q->rec[token];

	if (rec->ep != q->ep)
		(void)hq_stale(q, rec);
	hq_rec_free(q, token);
}

static void late_pop(struct hq *q)
{
	uint32_t token = q->late[q->late_head].token;

	q->late_head = (q->late_head + 1) % q->late_size;
	q->nlate--;
	rec_done(q, token);
}

void hq_late_drop(struct hq *q)
{
	while (q->nlate)
		late_pop(q);
}

/* A chain that the driver offers now: its token; -1: none, or the ring is broken. */
static __attribute__((noinline, cold)) int64_t late_chain(struct hq *q, bool payload)
{
	if (!payload && q->nctrl)
		return q->ctrl[--q->nctrl];
	if (q->nstack)
		return q->stack[--q->nstack];
	return dvring_pending(&q->rx) || dvring_refresh(&q->rx) ? take(q) : -1;
}

/* Writes the header of a chain whose payload is there. False: the ring is broken. */
static bool put_hdr(struct hq *q, const struct hq_rec *rec, const struct vsock_hdr *h)
{
	if (likely(rec->hdr != NULL))
		vsock_hdr_put(rec->hdr, h);
	else if (!put_straddling(q, rec->head, h))
		return false;
	dvring_used(&q->rx, rec->head, VSOCK_HDR_LEN + h->len);
	return true;
}

/* The first packet that waits, or as much of it as the driver has room for. True: all of it. */
static __attribute__((noinline, cold)) bool late_send_one(struct hq *q)
{
	struct hq_late *l = &q->late[q->late_head];
	struct hq_rec *from = &q->rec[l->token];

	if (hq_alive(q, from)) /* it has kept its chain, and only waits its turn */
		return put_hdr(q, from, &l->h);
	for (;;) {
		struct vsock_hdr h = l->h;
		struct hq_rec *to;
		int64_t token;

		if (q->taken + q->rx.walked >= HQ_WORK)
			return false; /* the next round goes on */
		token = late_chain(q, l->h.len != 0);
		if (token < 0)
			return false;
		to = &q->rec[token];
		if (h.len && !to->cap) {
			stack_push(q, (uint32_t)token);
			continue;
		}
		if (h.len > to->cap) {
			h.len = to->cap;
			h.flags = 0; /* of SEQPACKET: the end of the message is in the last piece */
		}
		memcpy(to->data, from->data, h.len);
		from->data += h.len;
		from->cap -= h.len;
		l->h.len -= h.len;
		hq_rec_free(q, (uint32_t)token);
		if (!put_hdr(q, to, &h))
			return false;
		if (!l->h.len)
			return true;
	}
}

bool hq_late_send(struct hq *q)
{
	while (q->nlate && late_send_one(q))
		late_pop(q);
	if (unlikely(q->rx.broken && q->ep))
		hq_break(q, &q->rx);
	return q->nlate == 0 && q->ep;
}

/* A commit while others wait, of a token from before a change of the memory, of an odd header. */
static __attribute__((noinline, cold)) void commit_slow(struct hq *q, uint32_t token,
							const struct vsock_hdr *h)
{
	struct hq_rec *rec = &q->rec[token];
	bool ok = true;

	if (!hq_same_session(q, rec)) {
		rec_done(q, token);
		return;
	}
	if (q->nlate || rec->ep->returned) {
		rec->state = HQ_TX_LATE;
		q->late[(q->late_head + q->nlate++) % q->late_size] = (struct hq_late){*h, token};
		if (q->ep)
			(void)hq_late_send(q);
		return;
	}
	/* The token still holds the memory behind rec->hdr: written before it is given up. */
	ok = put_hdr(q, rec, h);
	rec_done(q, token);
	if (!ok)
		hq_break(q, &q->rx);
}

void hq_tx_commit(struct tq *tq, uint32_t token, const struct vsock_hdr *h)
{
	struct hq *q = hq_of(tq);
	struct hq_rec *rec;

	if (unlikely(token >= q->nrec || q->rec[token].state != HQ_TX_OUT))
		return;
	rec = &q->rec[token];
	if (unlikely(rec->ep != q->ep || q->nlate || !rec->hdr)) {
		commit_slow(q, token, h);
		return;
	}
	/* The token still holds the memory behind rec->hdr: written before it is given up. */
	vsock_hdr_put(rec->hdr, h);
	dvring_used(&q->rx, rec->head, VSOCK_HDR_LEN + h->len);
	hq_rec_free(q, token);
}

void hq_tx_cancel(struct tq *tq, uint32_t token)
{
	struct hq *q = hq_of(tq);
	struct hq_rec *rec;

	if (unlikely(token >= q->nrec || q->rec[token].state != HQ_TX_OUT))
		return;
	rec = &q->rec[token];
	if (likely(rec->ep == q->ep)) {
		stack_push(q, token);
	} else {
		/* The memory table was replaced meanwhile. Its map may go with this token. */
		bool there = q->ep && hq_tx_move(q, rec), alive = hq_stale(q, rec);

		if (alive && there) {
			rec->ep = q->ep;
			stack_push(q, token);
			return;
		}
		hq_rec_free(q, token);
		if (alive) {
			(void)dvring_break(&q->rx, DVRING_BAD_ADDR);
			hq_break(q, &q->rx);
		}
	}
}

unsigned hq_tx_max(struct tq *tq)
{
	uint32_t keep = tq->tx_descs / 8 < HQ_CTRL_KEEP ? tq->tx_descs / 8 : HQ_CTRL_KEEP;

	return tq->tx_descs - keep;
}

unsigned hq_tx_ready(struct tq *tq)
{
	struct hq *q = hq_of(tq);

	return q->ep && !q->nlate ? tx_have(q, tq->tx_descs, true) : 0;
}
