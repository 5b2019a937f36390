/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets to the guest: the empty buffers of its receive ring.
 *
 * The first 44 writable bytes of a chain hold the header, wherever descriptors end; payload is
 * offered as the first contiguous piece behind it. A driver that posts [44-byte header][4 KiB] and
 * one that posts single buffers get the same treatment. The rest of a longer chain is not used.
 */
#include "vhost_pair.h"

#include <errno.h>
#include <stdlib.h>

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x)   __builtin_expect(!!(x), 1)

/* A header in at most 44 pieces and one segment of payload: more of a chain is never looked at. */
#define TX_SEGS (VSOCK_HDR_LEN + 1)

/*
 * The first segments of a chain, enough for a header and the payload behind it. Their number, or
 * -EPROTO. vhost_ring_walk() says -ENOSPC for the rest of a longer chain, which is left unchecked
 * because it is never used.
 */
static int first_segs(struct vhost_pair *q, uint16_t head, struct pkt_seg *seg)
{
	uint32_t ndesc;
	int n;

	seg[0] = (struct pkt_seg){NULL, 0}; /* a chain may have no segment at all */
	n = vhost_ring_walk(&q->to_guest, head, seg, TX_SEGS, &ndesc);
	return n == -ENOSPC ? (int)TX_SEGS : n;
}

bool vhost_pair_tx_resolve(struct vhost_pair *q, struct vhost_chain *rec)
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
		(void)vhost_ring_break(&q->to_guest, VHOST_RING_SHORT);
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

bool vhost_pair_tx_move(const struct vhost_pair *q, struct vhost_chain *rec)
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
static bool put_straddling(struct vhost_pair *q, uint16_t head, const struct vsock_hdr *h)
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
		(void)vhost_ring_break(&q->to_guest, VHOST_RING_SHORT);
	return done == VSOCK_HDR_LEN;
}

/* Takes the next chain off the ring. Returns its token, or -1 when the ring is broken. */
static inline __attribute__((always_inline)) int64_t take(struct vhost_pair *q)
{
	struct vhost_ring *r = &q->to_guest;
	uint32_t token = q->free - 1;
	struct vhost_chain *rec = &q->rec[token];
	struct vring_desc d;
	uint16_t head;

	if (unlikely(!vhost_ring_head(r, r->last_avail, &head)))
		return -1;
	/* in flight <= ring size, and there are records for that: free is never 0 here */
	q->free = rec->next;
	rec->head = head;
	rec->state = CHAIN_TX_OUT;
	vhost_ring_desc_get(&d, &r->desc[head]);
	rec->hdr = NULL;
	if (likely(d.flags == VRING_DESC_F_WRITE && d.len >= VSOCK_HDR_LEN))
		rec->hdr = guest_mem_gpa(r->mem, &r->hint, (struct gpa){d.addr}, d.len);
	if (likely(rec->hdr != NULL)) {
		rec->ep = q->ep;
		rec->data = rec->hdr + VSOCK_HDR_LEN;
		rec->cap = d.len - VSOCK_HDR_LEN;
	} else if (!vhost_pair_tx_resolve(q, rec)) {
		vhost_chain_free(q, token);
		return -1;
	}
	shm_prefetch_write(rec->hdr);
	shm_prefetch_write(rec->data);
	r->last_avail++;
	q->taken++;
	return (int64_t)token;
}

static void stack_push(struct vhost_pair *q, uint32_t token)
{
	struct vhost_chain *rec = &q->rec[token];

	rec->state = CHAIN_STACK;
	rec->ctrl = rec->cap == 0;
	if (rec->ctrl)
		q->ctrl[q->nctrl++] = token;
	else
		q->stack[q->nstack++] = token;
}

/*
 * How many of @want chains can be had without touching those kept back (@kept: vhost_pair_keep
 * counts). A look at the driver's index may raise what is kept, so that comes first.
 */
static uint32_t tx_have(struct vhost_pair *q, uint32_t want, bool kept)
{
	uint32_t keep = kept ? vhost_pair_keep(q) : 0;
	uint32_t have = q->nstack + vhost_ring_pending(&q->to_guest);

	if (have < want + keep) {
		have = q->nstack + vhost_ring_refresh(&q->to_guest);
		keep = kept ? vhost_pair_keep(q) : 0;
	}
	have = have > keep ? have - keep : 0;
	return have < want ? have : want;
}

unsigned vhost_pair_tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
			       uint32_t len, unsigned flags)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	uint32_t have;
	unsigned got = 0;

	(void)len; /* the guest has chosen its buffers' size */
	if (unlikely(!q->ep || (q->nlate && !vhost_pair_late_send(q))))
		return 0;
	if (unlikely(flags & TX_CTRL))
		for (; got < n && q->nctrl; got++) {
			struct vhost_chain *rec = &q->rec[q->ctrl[--q->nctrl]];

			rec->state = CHAIN_TX_OUT;
			slots[got] = (struct tx_slot){rec->data, 0, (uint32_t)(rec - q->rec)};
		}
	for (have = tx_have(q, n - got, !(flags & TX_CTRL)); have; have--) {
		struct vhost_chain *rec;
		int64_t token;

		if (unlikely(q->taken + q->to_guest.walked >= VHOST_WORK && !(flags & TX_CTRL)))
			break; /* the next round goes on */
		token = q->nstack ? (int64_t)q->stack[--q->nstack] : take(q);
		rec = &q->rec[token < 0 ? 0 : token];
		if (unlikely(token < 0))
			break;
		rec->state = CHAIN_TX_OUT;
		if (unlikely(rec->cap == 0 && !(flags & TX_CTRL))) {
			stack_push(q, (uint32_t)token);
			continue;
		}
		slots[got++] = (struct tx_slot){rec->data, rec->cap, (uint32_t)token};
	}
	if (unlikely(q->to_guest.broken)) {
		vhost_pair_break(q, &q->to_guest);
		while (got)
			vhost_pair_tx_cancel(tq, slots[--got].token);
	}
	return got;
}

/* ---- packets that were committed after a pause ---- */

int vhost_pair_late_room(struct vhost_pair *q)
{
	struct vhost_pair_late *late;
	bool needed = q->late_size != 0;

	for (uint32_t i = 0; i < q->nrec && !needed; i++)
		needed = q->rec[i].state == CHAIN_TX_OUT;
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
static void rec_done(struct vhost_pair *q, uint32_t token)
{
	struct vhost_chain *rec = &q->rec[token];

	if (rec->ep != q->ep)
		(void)vhost_pair_stale(q, rec);
	vhost_chain_free(q, token);
}

static void late_pop(struct vhost_pair *q)
{
	uint32_t token = q->late[q->late_head].token;

	q->late_head = (q->late_head + 1) % q->late_size;
	q->nlate--;
	rec_done(q, token);
}

void vhost_pair_late_drop(struct vhost_pair *q)
{
	while (q->nlate)
		late_pop(q);
}

/* A chain that the driver offers now: its token; -1: none, or the ring is broken. */
static __attribute__((noinline, cold)) int64_t late_chain(struct vhost_pair *q, bool payload)
{
	if (!payload && q->nctrl)
		return q->ctrl[--q->nctrl];
	if (q->nstack)
		return q->stack[--q->nstack];
	return vhost_ring_pending(&q->to_guest) || vhost_ring_refresh(&q->to_guest) ? take(q) : -1;
}

/* Writes the header of a chain whose payload is there. False: the ring is broken. */
static bool put_hdr(struct vhost_pair *q, const struct vhost_chain *rec, const struct vsock_hdr *h)
{
	if (likely(rec->hdr != NULL))
		vsock_hdr_put(rec->hdr, h);
	else if (!put_straddling(q, rec->head, h))
		return false;
	vhost_ring_used(&q->to_guest, rec->head, VSOCK_HDR_LEN + h->len);
	return true;
}

/* The first packet that waits, or as much of it as the driver has room for. True: all of it. */
static __attribute__((noinline, cold)) bool late_send_one(struct vhost_pair *q)
{
	struct vhost_pair_late *l = &q->late[q->late_head];
	struct vhost_chain *from = &q->rec[l->token];

	if (vhost_pair_alive(q, from)) /* it has kept its chain, and only waits its turn */
		return put_hdr(q, from, &l->h);
	for (;;) {
		struct vsock_hdr h = l->h;
		struct vhost_chain *to;
		int64_t token;

		if (q->taken + q->to_guest.walked >= VHOST_WORK)
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
		vhost_chain_free(q, (uint32_t)token);
		if (!put_hdr(q, to, &h))
			return false;
		if (!l->h.len)
			return true;
	}
}

bool vhost_pair_late_send(struct vhost_pair *q)
{
	while (q->nlate && late_send_one(q))
		late_pop(q);
	if (unlikely(q->to_guest.broken && q->ep))
		vhost_pair_break(q, &q->to_guest);
	return q->nlate == 0 && q->ep;
}

/* A commit while others wait, of a token from before a change of the memory, of an odd header. */
static __attribute__((noinline, cold)) void commit_slow(struct vhost_pair *q, uint32_t token,
							const struct vsock_hdr *h)
{
	struct vhost_chain *rec = &q->rec[token];
	bool ok = true;

	if (!vhost_pair_same_session(q, rec)) {
		rec_done(q, token);
		return;
	}
	if (q->nlate || rec->ep->returned) {
		rec->state = CHAIN_TX_LATE;
		q->late[(q->late_head + q->nlate++) % q->late_size] =
			(struct vhost_pair_late){*h, token};
		if (q->ep)
			(void)vhost_pair_late_send(q);
		return;
	}
	/* The token still holds the memory behind rec->hdr: written before it is given up. */
	ok = put_hdr(q, rec, h);
	rec_done(q, token);
	if (!ok)
		vhost_pair_break(q, &q->to_guest);
}

void vhost_pair_tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct vhost_chain *rec;

	if (unlikely(token >= q->nrec || q->rec[token].state != CHAIN_TX_OUT))
		return;
	rec = &q->rec[token];
	if (unlikely(rec->ep != q->ep || q->nlate || !rec->hdr)) {
		commit_slow(q, token, h);
		return;
	}
	/* The token still holds the memory behind rec->hdr: written before it is given up. */
	vsock_hdr_put(rec->hdr, h);
	vhost_ring_used(&q->to_guest, rec->head, VSOCK_HDR_LEN + h->len);
	vhost_chain_free(q, token);
}

void vhost_pair_tx_cancel(struct transport_queue *tq, uint32_t token)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct vhost_chain *rec;

	if (unlikely(token >= q->nrec || q->rec[token].state != CHAIN_TX_OUT))
		return;
	rec = &q->rec[token];
	if (likely(rec->ep == q->ep)) {
		stack_push(q, token);
	} else {
		/* The memory table was replaced meanwhile. Its map may go with this token. */
		bool there = q->ep && vhost_pair_tx_move(q, rec), alive = vhost_pair_stale(q, rec);

		if (alive && there) {
			rec->ep = q->ep;
			stack_push(q, token);
			return;
		}
		vhost_chain_free(q, token);
		if (alive) {
			(void)vhost_ring_break(&q->to_guest, VHOST_RING_BAD_ADDR);
			vhost_pair_break(q, &q->to_guest);
		}
	}
}

unsigned vhost_pair_tx_max(struct transport_queue *tq)
{
	uint32_t keep = tq->tx_descs / 8 < VHOST_CTRL_KEEP ? tq->tx_descs / 8 : VHOST_CTRL_KEEP;

	return tq->tx_descs - keep;
}

unsigned vhost_pair_tx_ready(struct transport_queue *tq)
{
	struct vhost_pair *q = vhost_pair_of(tq);

	return q->ep && !q->nlate ? tx_have(q, tq->tx_descs, true) : 0;
}
