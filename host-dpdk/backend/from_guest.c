/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets from the guest: chains of its transmit ring.
 *
 * Theory of operation
 * -------------------
 * A burst is handled in two passes, because everything it reads was last written by another CPU.
 * The first copies heads and descriptors, translates and prefetches; the cache misses overlap. The
 * second parses headers. A chain of one direct descriptor, which is what most packets are, never
 * leaves the first pass' arrays; anything else goes through vhost_ring_walk().
 *
 * VIRTIO lets a driver lay out header and payload as it likes: the header may share a descriptor
 * with payload, have its own, or straddle several, and the payload may be in any number of them.
 */
#include "vhost_pair.h"

#include <errno.h>

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x)   __builtin_expect(!!(x), 1)

/* A chain as the first pass sees it. */
struct peek {
	uint8_t *va; /* NULL: not one direct readable descriptor of at least a header */
	uint32_t len;
	uint16_t head;
};

/* First pass: up to @n chains. Fewer when the ring breaks. */
static uint32_t peek_chains(struct vhost_pair *q, struct peek *pk, uint32_t n)
{
	struct vhost_ring *r = &q->from_guest;

	for (uint32_t i = 0; i < n; i++) {
		struct vring_desc d;
		uint8_t *va;

		if (unlikely(!vhost_ring_head(r, (uint16_t)(r->last_avail + i), &pk[i].head)))
			return i;
		vhost_ring_desc_get(&d, &r->desc[pk[i].head]);
		va = guest_mem_gpa(r->mem, &r->hint, (struct gpa){d.addr}, d.len);
		/* a header, or, in front of other shapes, a table or a part of one: wanted soon */
		if (likely(va != NULL)) {
			shm_prefetch(va);
			shm_prefetch(va + VSOCK_HDR_LEN);
		}
		pk[i].va = likely(d.flags == 0 && d.len >= VSOCK_HDR_LEN) ? va : NULL;
		pk[i].len = d.len;
	}
	return n;
}

/*
 * Copies the header out of the first segments and advances *seg and *n behind it. False: the chain
 * has fewer than 44 bytes.
 */
static bool gather_hdr(struct vsock_hdr *h, struct pkt_seg **seg, uint32_t *n)
{
	uint8_t wire[VSOCK_HDR_LEN];
	uint32_t have = 0;

	while (have < VSOCK_HDR_LEN) {
		uint32_t part;

		if (*n == 0)
			return false;
		part = VSOCK_HDR_LEN - have;
		if (part > (*seg)->len)
			part = (*seg)->len;
		shm_copy_in(wire + have, (*seg)->base, part);
		have += part;
		(*seg)->base += part;
		(*seg)->len -= part;
		if ((*seg)->len == 0) {
			(*seg)++;
			(*n)--;
		}
	}
	vsock_hdr_get(h, wire);
	return true;
}

/* Cuts the segments to @len bytes. Returns how many are left, or -1 when there are fewer bytes. */
static int cut(struct pkt_seg *seg, uint32_t n, uint32_t len)
{
	uint32_t i;

	if (len == 0)
		return 0;
	for (i = 0; i < n; i++) {
		if (seg[i].len >= len) {
			seg[i].len = len;
			return (int)i + 1;
		}
		len -= seg[i].len;
	}
	return -1;
}

/*
 * Parses the chain @pk into @p, using scratch from *used on. 1: a packet; 0: dropped; -ENOSPC: not
 * enough scratch, try it in the next burst; -EPROTO: the ring is broken.
 */
static int parse(struct vhost_pair *q, const struct peek *pk, struct rx_pkt *p, uint32_t *used)
{
	struct pkt_seg *seg = q->seg + *used;
	uint32_t n = 1;
	int ret;

	if (likely(pk->va != NULL)) {
		if (unlikely(*used == q->nseg))
			return -ENOSPC;
		vsock_hdr_get(&p->hdr, pk->va);
		p->ndesc = 1;
		seg->base = pk->va + VSOCK_HDR_LEN;
		seg->len = pk->len - VSOCK_HDR_LEN;
		if (unlikely(p->hdr.len > seg->len))
			return 0;
		seg->len = p->hdr.len;
		p->seg = seg;
		p->nseg = p->hdr.len != 0;
		*used += p->nseg;
		return 1;
	}
	ret = vhost_ring_walk(&q->from_guest, pk->head, seg, q->nseg - *used, &p->ndesc);
	if (ret < 0)
		return ret;
	n = (uint32_t)ret;
	if (!gather_hdr(&p->hdr, &seg, &n))
		return 0;
	ret = cut(seg, n, p->hdr.len);
	if (ret < 0)
		return 0;
	p->seg = seg;
	p->nseg = (uint32_t)ret;
	*used = (uint32_t)(seg - q->seg) + p->nseg;
	return 1;
}

/* Takes the packet's chain out of the ring for as long as the socket layer holds it. */
static void lend(struct vhost_pair *q, struct rx_pkt *p, uint16_t head)
{
	uint32_t token = q->free - 1;
	struct vhost_chain *rec = &q->rec[token];

	q->free = rec->next;
	rec->hdr = p->seg[0].base;
	rec->data = p->seg[0].base + p->seg[0].len;
	for (uint32_t i = 1; i < p->nseg; i++) {
		uint8_t *at = p->seg[i].base, *end = at + p->seg[i].len;

		rec->hdr = (uintptr_t)at < (uintptr_t)rec->hdr ? at : rec->hdr;
		rec->data = (uintptr_t)end > (uintptr_t)rec->data ? end : rec->data;
	}
	rec->ep = q->ep;
	rec->head = head;
	rec->state = CHAIN_RX_OUT;
	rec->pieces = 0;
	if (unlikely(p->nseg > 1)) {
		rec->pieces = 1;
		rec->cap = p->hdr.len;
	}
	p->token = token;
}

int vhost_pair_rx_pieces(struct vhost_pair *q, const struct vhost_chain *rec,
			 const struct vhost_ring *tx, uint32_t *walked)
{
	struct vhost_ring r = *tx;
	struct pkt_seg *seg = q->seg;
	struct vsock_hdr h;
	uint32_t ndesc, n;
	int ret;

	r.mem = rec->ep->mem; /* whose addresses the owner has got */
	r.hint = 0;
	r.walked = 0;
	if (*walked >= vhost_pair_sweep(tx))
		return -EPROTO;
	ret = vhost_ring_walk(&r, rec->head, q->seg, q->nseg, &ndesc);
	*walked += r.walked;
	if (ret < 0)
		return -EPROTO;
	n = (uint32_t)ret;
	if (!gather_hdr(&h, &seg, &n))
		return -EPROTO;
	ret = cut(seg, n, rec->cap);
	if (ret <= 0 || pkt_in_small_pieces((uint32_t)ret, rec->cap))
		return -EPROTO;
	memmove(q->seg, seg, (uint32_t)ret * sizeof(*seg));
	return ret;
}

int vhost_pair_rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct vhost_ring *r = &q->from_guest;
	struct peek pk[VHOST_BURST];
	uint32_t n, used = 0;
	int got = 0;

	q->taken = q->to_guest.walked = r->walked = 0;
	if (unlikely(!q->ep)) {
		vhost_pair_idle(q);
		return 0;
	}
	if (unlikely(shm_load32(&q->ep->mem->fault))) {
		(void)vhost_ring_break(r, VHOST_RING_FAULT);
		vhost_pair_break(q, r);
		return 0;
	}
	n = vhost_ring_pending(r);
	if (n == 0)
		n = vhost_ring_refresh(r);
	n = n < max ? n : max;
	n = peek_chains(q, pk, n < VHOST_BURST ? n : VHOST_BURST);
	for (uint32_t i = 0; i < n; i++) {
		struct rx_pkt *p = &pkts[got];
		int ret;

		/* in flight <= ring size, and there are records for that: free is never 0 here */
		ret = parse(q, &pk[i], p, &used);
		if (unlikely(ret < 0))
			break;
		r->last_avail++;
		if (unlikely(r->walked >= VHOST_WORK))
			n = i + 1; /* enough for one burst */
		if (unlikely(ret == 0)) {
			stats_add(&tq->stats.rx_bad_hdr, 1);
			vhost_ring_used(r, pk[i].head, 0);
			continue;
		}
		got++;
		if (p->nseg)
			lend(q, p, pk[i].head);
		else
			vhost_ring_used(r, pk[i].head, 0);
	}
	if (unlikely(r->broken || q->to_guest.broken)) {
		/* The session is over: what this burst has found belongs to it. */
		vhost_pair_break(q, r->broken ? r : &q->to_guest);
		while (got)
			if (pkts[--got].nseg)
				vhost_pair_rx_release(tq, pkts[got].token);
	}
	return got;
}

void vhost_pair_rx_release(struct transport_queue *tq, uint32_t token)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct vhost_chain *rec;

	if (unlikely(token >= q->nrec)) {
		vhost_pair_kept_release(q, token);
		return;
	}
	if (unlikely(q->rec[token].state != CHAIN_RX_OUT))
		return;
	rec = &q->rec[token];
	if (likely(rec->ep == q->ep) || vhost_pair_stale(q, rec))
		vhost_ring_used(&q->from_guest, rec->head, 0);
	vhost_chain_free(q, token);
}
