/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets from the guest: chains of the driver's transmit ring.
 *
 * Theory of operation
 * -------------------
 * A burst is handled in two passes, because everything it reads was last written by another CPU.
 * The first pass copies heads and descriptors, translates and prefetches; the cache misses overlap.
 * The second pass parses headers. A chain of one direct descriptor, which is the usual case, never
 * leaves the arrays of the first pass; all others are walked.
 *
 * VIRTIO lets a driver lay out header and payload as it likes: the header may share a descriptor
 * with payload, have its own, or straddle several, and the payload may be in any number of
 * descriptors.
 */
#include "vhost_pair_priv.h"

#include <errno.h>

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x)   __builtin_expect(!!(x), 1)

/* A chain as the first pass sees it. */
struct peeked {
	uint8_t *va; /* NULL: not a single direct readable descriptor, contiguous, of at least a
			header */
	uint32_t len;
	uint16_t id;
};

/* First pass: up to @n chains. Fewer when the ring breaks. */
VHOST_INLINE uint32_t peek_chains(struct vhost_ring *r, struct peeked *pk, uint32_t n,
				  const struct vhost_ring_verbs *v, const bool iommu)
{
	for (uint32_t i = 0; i < n; i++) {
		struct vhost_desc d;
		uint8_t *va;

		if (unlikely(!v->peek(r, i, &pk[i].id, &d)))
			return i;
		va = vhost_ring_at(r, iommu, d.addr, d.len);
		/* header, or (other layouts) an indirect table or part of one: needed soon */
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
 * enough scratch, retry in the next burst; -EAGAIN: a translation is missing; -EPROTO: the ring is
 * broken.
 */
VHOST_INLINE int parse(struct vhost_pair *q, const struct peeked *pk, struct rx_pkt *p,
		       uint32_t *used, const struct vhost_ring_verbs *v, const bool iommu)
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
	ret = v->walk[iommu](&q->from_guest, pk->id, seg, q->nseg - *used, &p->ndesc);
	if (iommu && unlikely(ret == -ENOSPC && *used == 0)) /* it will never fit */
		ret = vhost_ring_break(&q->from_guest, VHOST_RING_PIECES);
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

/* Records the packet's chain, which has been taken, as lent as long as the socket layer holds
 * it. */
VHOST_INLINE void lend(struct vhost_pair *q, struct rx_pkt *p, uint16_t id)
{
	uint32_t token = q->free - 1;
	struct vhost_chain *c = &q->chains[token];

	q->free = c->next;
	c->hdr = p->seg[0].base;
	c->data = p->seg[0].base + p->seg[0].len;
	for (uint32_t i = 1; i < p->nseg; i++) {
		uint8_t *at = p->seg[i].base, *end = at + p->seg[i].len;

		c->hdr = (uintptr_t)at < (uintptr_t)c->hdr ? at : c->hdr;
		c->data = (uintptr_t)end > (uintptr_t)c->data ? end : c->data;
	}
	c->ep = q->ep;
	c->id = id;
	c->state = CHAIN_LENT;
	c->pieces = 0;
	if (unlikely(p->nseg > 1)) {
		c->pieces = 1;
		c->cap = p->hdr.len;
	}
	p->token = token;
}

int vhost_chain_pieces(struct vhost_pair *q, const struct vhost_chain *c,
		       const struct vhost_ring *from, uint32_t *walked)
{
	struct vhost_ring r = *from;
	struct pkt_seg *seg = q->seg;
	struct vsock_hdr h;
	uint32_t ndesc, n;
	int ret;

	r.mem = c->ep->mem; /* whose addresses the owner has got */
	r.hint = 0;
	r.walked = 0;
	if (*walked >= vhost_pair_sweep(q, from))
		return -EPROTO;
	ret = vhost_ring_walk(&r, c->id, q->seg, q->nseg, &ndesc);
	*walked += r.walked;
	if (ret < 0)
		return -EPROTO;
	n = (uint32_t)ret;
	if (!gather_hdr(&h, &seg, &n))
		return -EPROTO;
	ret = cut(seg, n, c->cap);
	if (ret <= 0 || pkt_in_small_pieces((uint32_t)ret, c->cap))
		return -EPROTO;
	memmove(q->seg, seg, (uint32_t)ret * sizeof(*seg));
	return ret;
}

VHOST_INLINE void rx_release(struct vhost_pair *q, uint32_t token, const struct vhost_ring_verbs *v)
{
	struct vhost_chain *c;

	if (unlikely(token >= q->nchains)) {
		vhost_pair_saved_release(q, token);
		return;
	}
	if (unlikely(q->chains[token].state != CHAIN_LENT))
		return;
	c = &q->chains[token];
	if (likely(c->ep == q->ep) || vhost_chain_stale(q, c))
		v->put(&q->from_guest, c->id, 0);
	q->released++;
	vhost_chain_free(q, token);
}

/* A burst has broken a ring. The session is over; packets already found in the burst belong to
 * it. */
static __attribute__((noinline, cold)) void rx_broken(struct vhost_pair *q, struct rx_pkt *pkts,
						      int got)
{
	vhost_pair_break(q, q->from_guest.broken ? &q->from_guest : &q->to_guest);
	while (got)
		if (pkts[--got].nseg)
			q->ops.rx_release(&q->tq, pkts[got].token);
}

VHOST_INLINE int rx_burst(struct vhost_pair *q, struct rx_pkt *pkts, unsigned max,
			  const struct vhost_ring_verbs *v, const bool iommu)
{
	struct vhost_ring *r = &q->from_guest;
	struct peeked pk[VHOST_BURST];
	uint32_t n, used = 0, bytes = 0;
	int got = 0;

	q->taken = q->to_guest.walked = r->walked = q->tq.rx_more = 0;
	if (unlikely(!q->ep)) {
		vhost_pair_idle(q);
		return 0;
	}
	if (unlikely(shm_load32(&q->ep->mem->fault))) {
		(void)vhost_ring_break(r, VHOST_RING_FAULT);
		vhost_pair_break(q, r);
		return 0;
	}
	n = vhost_ready(r, v, iommu);
	if (n == 0)
		n = vhost_ready_now(r, v, iommu);
	if (n)
		q->idle = 0;
	else if (q->released && ++q->idle >= VHOST_IDLE)
		q->released = VHOST_RELEASED;
	n = n < max ? n : max;
	n = peek_chains(r, pk, n < VHOST_BURST ? n : VHOST_BURST, v, iommu);
	for (uint32_t i = 0; i < n; i++) {
		struct rx_pkt *p = &pkts[got];
		int ret;

		/* in flight <= ring size, and there are chains for that: free is never 0 here */
		ret = parse(q, &pk[i], p, &used, v, iommu);
		if (iommu && ret == -EAGAIN)
			vhost_ring_wait(r);
		if (unlikely(ret < 0))
			break;
		v->take(r);
		if (unlikely(r->walked >= q->work)) { /* enough for one burst */
			n = i + 1;
			q->tq.rx_more = 1;
		}
		if (unlikely(ret == 0)) {
			stats_add(&q->tq.stats.rx_bad_hdr, 1);
			v->put(r, pk[i].id, 0);
			q->released++;
			continue;
		}
		got++;
		if (p->nseg) {
			if (unlikely(p->hdr.len >= VHOST_BURST_BYTES - bytes)) {
				n = i + 1;
				q->tq.rx_more = 1;
			}
			bytes += p->hdr.len;
			lend(q, p, pk[i].id);
		} else {
			v->put(r, pk[i].id, 0);
			q->released++;
		}
	}
	if (unlikely(r->broken || q->to_guest.broken)) {
		rx_broken(q, pkts, got);
		return 0;
	}
	return got;
}

bool vhost_pair_rx_intact(struct transport_queue *tq, uint32_t token)
{
	struct vhost_pair *q = vhost_pair_of(tq);

	/* Packets saved at the end of a session are private and intact (vhost_pair_rx_save). */
	return token >= q->nchains || q->chains[token].state != CHAIN_LENT ||
	       !shm_load32(&q->chains[token].ep->mem->fault);
}

/* ---- instances ---- */

#define INSTANCE(instance, layout, iommu)                                                          \
	static int rx_burst_##instance(struct transport_queue *tq, struct rx_pkt *p, unsigned max) \
	{                                                                                          \
		return rx_burst(vhost_pair_of(tq), p, max, &vhost_##layout##_verbs, iommu);        \
	}                                                                                          \
	static void rx_release_##instance(struct transport_queue *tq, uint32_t token)              \
	{                                                                                          \
		rx_release(vhost_pair_of(tq), token, &vhost_##layout##_verbs);                     \
	}
VHOST_PATHS(INSTANCE)

void vhost_from_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			   bool iommu)
{
#define CHOOSE(instance, layout, with_iommu)                                                       \
	if (l == &vhost_ring_##layout && iommu == (with_iommu)) {                                  \
		ops->rx_burst = rx_burst_##instance;                                               \
		ops->rx_release = rx_release_##instance;                                           \
	}
	VHOST_PATHS(CHOOSE)
}
