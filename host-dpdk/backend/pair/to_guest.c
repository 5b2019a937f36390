/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets to the guest: empty buffers of the driver's receive ring.
 *
 * The first 44 writable bytes of a chain hold the header, wherever descriptors end; payload is
 * offered as the first contiguous piece after it. A driver that posts [44-byte header][4 KiB] and
 * one that posts single buffers are treated alike. The rest of a longer chain is not used.
 */
#include "vhost_pair_priv.h"

#include <errno.h>

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x)   __builtin_expect(!!(x), 1)

/* A header in at most 44 pieces and one segment of payload: the rest of a chain is never looked
 * at. */
#define TX_SEGS (VSOCK_HDR_LEN + 1)

#define VHOST_AHEAD 8u /* chains that are taken when one is wanted */

/*
 * Finds the first segments of a chain, enough for a header and the payload after it. Returns their
 * number, -EAGAIN or -EPROTO. A walk returns -ENOSPC for a longer chain, whose rest is not checked
 * because it is never used.
 */
VHOST_INLINE int first_segs(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg,
			    const struct vhost_ring_verbs *v, const bool iommu)
{
	uint32_t ndesc;
	int n;

	seg[0] = (struct pkt_seg){NULL, 0}; /* a chain may have no segment at all */
	n = v->walk[iommu](r, id, seg, TX_SEGS, &ndesc);
	return n == -ENOSPC ? (int)TX_SEGS : n;
}

/* Finds the buffer of a chain of any shape. 0; -EAGAIN: the ring waits; -EPROTO: it is broken. */
static __attribute__((noinline)) int resolve(struct vhost_pair *q, struct vhost_chain *c,
					     const struct vhost_ring_verbs *v, const bool iommu)
{
	struct vhost_ring *r = &q->to_guest;
	struct pkt_seg seg[TX_SEGS];
	uint64_t have = 0; /* a segment can have 4 GiB - 1 */
	uint32_t last;
	int n = first_segs(r, c->id, seg, v, iommu), i = 0;

	if (n == -EAGAIN)
		vhost_ring_wait(r);
	if (n < 0)
		return n;
	c->ep = q->ep;
	c->hdr = seg[0].len >= VSOCK_HDR_LEN ? seg[0].base : NULL;
	for (; i < n && have + seg[i].len < VSOCK_HDR_LEN; i++)
		have += seg[i].len;
	if (i == n)
		return vhost_ring_break(r, VHOST_RING_SHORT);
	/* seg[i] holds the last byte of the header */
	last = VSOCK_HDR_LEN - (uint32_t)have;
	c->data = seg[i].base + last;
	c->cap = seg[i].len - last;
	if (c->cap == 0 && i + 1 < n) {
		c->data = seg[i + 1].base;
		c->cap = seg[i + 1].len;
	}
	return 0;
}

bool vhost_chain_move(const struct vhost_pair *q, struct vhost_chain *c)
{
	const struct guest_mem *was = c->ep->mem, *now = q->ep->mem;
	uint8_t *hdr = NULL, *data = c->data;

	if (c->hdr && !(hdr = guest_mem_same(was, now, c->hdr, VSOCK_HDR_LEN)))
		return false;
	if (c->cap && !(data = guest_mem_same(was, now, c->data, c->cap)))
		return false;
	c->hdr = hdr;
	c->data = data;
	return true;
}

/* Writes a header that straddles descriptors; the chain is walked, and checked, again. */
static int put_straddling(struct vhost_ring *r, uint16_t id, const struct vsock_hdr *h)
{
	struct pkt_seg seg[TX_SEGS];
	uint8_t wire[VSOCK_HDR_LEN];
	uint32_t done = 0;
	int n = first_segs(r, id, seg, r->layout->verbs, r->iommu != NULL);

	if (n == -EAGAIN)
		vhost_ring_wait(r);
	if (n < 0)
		return n;
	vsock_hdr_put(wire, h);
	for (int i = 0; i < n && done < VSOCK_HDR_LEN; i++) {
		uint32_t part = VSOCK_HDR_LEN - done;

		if (part > seg[i].len)
			part = seg[i].len;
		memcpy(seg[i].base, wire + done, part);
		done += part;
	}
	return done == VSOCK_HDR_LEN ? 0 : vhost_ring_break(r, VHOST_RING_SHORT);
}

int vhost_pair_put_hdr(struct vhost_pair *q, const struct vhost_chain *c, const struct vsock_hdr *h)
{
	int ret = 0;

	if (c->hdr)
		vsock_hdr_put(c->hdr, h);
	else
		ret = put_straddling(&q->to_guest, c->id, h);
	if (ret == 0)
		vhost_ring_put(&q->to_guest, c->id, VSOCK_HDR_LEN + h->len);
	return ret;
}

/* Takes the next chain from the ring. Returns its token; -1: the ring waits, or is broken. */
VHOST_INLINE int64_t take(struct vhost_pair *q, const struct vhost_ring_verbs *v, const bool iommu)
{
	struct vhost_ring *r = &q->to_guest;
	uint32_t token = q->free - 1;
	struct vhost_chain *c = &q->chains[token];
	struct vhost_desc d;
	uint16_t id;

	if (unlikely(!v->peek(r, 0, &id, &d)))
		return -1;
	/* in flight <= ring size, and there are chains for that: free is never 0 here */
	q->free = c->next;
	c->id = id;
	c->state = CHAIN_RESERVED;
	c->hdr = NULL;
	if (likely(d.flags == VRING_DESC_F_WRITE && d.len >= VSOCK_HDR_LEN))
		c->hdr = vhost_ring_at(r, iommu, d.addr, d.len);
	if (likely(c->hdr != NULL)) {
		c->ep = q->ep;
		c->data = c->hdr + VSOCK_HDR_LEN;
		c->cap = d.len - VSOCK_HDR_LEN;
	} else if (resolve(q, c, v, iommu) < 0) {
		vhost_chain_free(q, token);
		return -1;
	}
	shm_prefetch_write(c->hdr);
	shm_prefetch_write(c->data);
	v->take(r);
	q->taken++;
	return (int64_t)token;
}

int64_t vhost_pair_take(struct vhost_pair *q)
{
	return take(q, q->to_guest.layout->verbs, q->to_guest.iommu != NULL);
}

VHOST_INLINE void push(struct vhost_pair *q, uint32_t token)
{
	struct vhost_chain *c = &q->chains[token];

	c->state = CHAIN_CANCELLED;
	c->ctrl = c->cap == 0;
	if (c->ctrl)
		q->ctrl[q->nctrl++] = token;
	else
		q->stack[q->nstack++] = token;
}

void vhost_pair_push(struct vhost_pair *q, uint32_t token)
{
	push(q, token);
}

/*
 * Takes the next chain and a few more, which go on the stack in the same order. With one chain per
 * call, a sender of single packets would wait at the barrier of each publish for the cache lines of
 * each buffer, which were last in the driver's cache; taken together, these misses overlap. Returns
 * as take().
 */
VHOST_INLINE int64_t take_ahead(struct vhost_pair *q, const struct vhost_ring_verbs *v,
				const bool iommu)
{
	uint32_t n = vhost_ready(&q->to_guest, v, iommu), got = 0;
	int64_t token[VHOST_AHEAD];

	n = n < VHOST_AHEAD ? n : VHOST_AHEAD;
	while (got < n && (token[got] = take(q, v, iommu)) >= 0)
		got++;
	if (unlikely(!got))
		return -1;
	for (uint32_t i = got; --i;)
		push(q, (uint32_t)token[i]);
	return token[0];
}

/*
 * How many of @want chains are available without using the reserved ones (@saved:
 * vhost_pair_ctrl_reserve() counts). A refresh of the ring may raise the reserve, so it comes
 * first.
 */
VHOST_INLINE uint32_t tx_have(struct vhost_pair *q, uint32_t want, bool saved,
			      const struct vhost_ring_verbs *v, const bool iommu)
{
	uint32_t reserve = saved ? vhost_pair_ctrl_reserve(q) : 0;
	uint32_t have = q->nstack + vhost_ready(&q->to_guest, v, iommu);

	if (have < want + reserve) {
		have = q->nstack + vhost_ready_now(&q->to_guest, v, iommu);
		reserve = saved ? vhost_pair_ctrl_reserve(q) : 0;
	}
	have = have > reserve ? have - reserve : 0;
	return have < want ? have : want;
}

VHOST_INLINE unsigned tx_reserve(struct vhost_pair *q, struct tx_slot *slots, unsigned n,
				 unsigned flags, const struct vhost_ring_verbs *v, const bool iommu)
{
	uint32_t have;
	unsigned got = 0;

	if (unlikely(!q->ep || (q->ndeferred && !vhost_pair_deferred_send(q))))
		return 0;
	if (unlikely(flags & TX_CTRL))
		for (; got < n && q->nctrl; got++) {
			struct vhost_chain *c = &q->chains[q->ctrl[--q->nctrl]];

			c->state = CHAIN_RESERVED;
			slots[got] = (struct tx_slot){c->data, 0, (uint32_t)(c - q->chains)};
		}
	for (have = tx_have(q, n - got, !(flags & TX_CTRL), v, iommu); have; have--) {
		struct vhost_chain *c;
		int64_t token;

		if (unlikely(q->taken + q->to_guest.walked >= q->work && !(flags & TX_CTRL)))
			break; /* the next round goes on */
		token = q->nstack ? (int64_t)q->stack[--q->nstack]
			: n == 1  ? take_ahead(q, v, iommu)
				  : take(q, v, iommu);
		c = &q->chains[token < 0 ? 0 : token];
		if (unlikely(token < 0))
			break;
		c->state = CHAIN_RESERVED;
		if (unlikely(c->cap == 0 && !(flags & TX_CTRL))) {
			vhost_pair_push(q, (uint32_t)token);
			continue;
		}
		slots[got++] = (struct tx_slot){c->data, c->cap, (uint32_t)token};
	}
	if (unlikely(q->to_guest.broken)) {
		vhost_pair_break(q, &q->to_guest);
		while (got)
			q->ops.tx_cancel(&q->tq, slots[--got].token);
	}
	return got;
}

VHOST_INLINE void tx_commit(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h,
			    const struct vhost_ring_verbs *v)
{
	struct vhost_chain *c;

	if (unlikely(token >= q->nchains || q->chains[token].state != CHAIN_RESERVED))
		return;
	c = &q->chains[token];
	if (unlikely(c->ep != q->ep || q->ndeferred || !c->hdr)) {
		vhost_pair_commit_slow(q, token, h);
		return;
	}
	/* The token still holds the memory behind c->hdr: write it before the token is released. */
	vsock_hdr_put(c->hdr, h);
	v->put(&q->to_guest, c->id, VSOCK_HDR_LEN + h->len);
	vhost_chain_free(q, token);
}

static void tx_cancel(struct transport_queue *tq, uint32_t token)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct vhost_chain *c;

	if (unlikely(token >= q->nchains || q->chains[token].state != CHAIN_RESERVED))
		return;
	c = &q->chains[token];
	if (likely(c->ep == q->ep)) {
		vhost_pair_push(q, token);
	} else {
		/* The memory table was replaced meanwhile. Its map may be freed with this token. */
		bool there = q->ep && vhost_chain_move(q, c), ours = vhost_chain_stale(q, c);

		if (ours && there) {
			c->ep = q->ep;
			vhost_pair_push(q, token);
			return;
		}
		vhost_chain_free(q, token);
		if (ours) {
			(void)vhost_ring_break(&q->to_guest, VHOST_RING_BAD_ADDR);
			vhost_pair_break(q, &q->to_guest);
		}
	}
}

static unsigned tx_max(struct transport_queue *tq)
{
	uint32_t reserve =
		tq->tx_descs / 8 < VHOST_CTRL_RESERVE ? tq->tx_descs / 8 : VHOST_CTRL_RESERVE;

	return tq->tx_descs - reserve;
}

VHOST_INLINE unsigned tx_ready(struct vhost_pair *q, const struct vhost_ring_verbs *v,
			       const bool iommu)
{
	return q->ep && !q->ndeferred ? tx_have(q, q->tq.tx_descs, true, v, iommu) : 0;
}

/* ---- instances ---- */

/* @len is not used: the guest has chosen the size of its buffers. */
#define INSTANCE(instance, layout, iommu)                                                          \
	static unsigned tx_reserve_##instance(struct transport_queue *tq, struct tx_slot *slots,   \
					      unsigned n, uint32_t len, unsigned flags)            \
	{                                                                                          \
		(void)len;                                                                         \
		return tx_reserve(vhost_pair_of(tq), slots, n, flags, &vhost_##layout##_verbs,     \
				  iommu);                                                          \
	}                                                                                          \
	static void tx_commit_##instance(struct transport_queue *tq, uint32_t token,               \
					 const struct vsock_hdr *h)                                \
	{                                                                                          \
		tx_commit(vhost_pair_of(tq), token, h, &vhost_##layout##_verbs);                   \
	}                                                                                          \
	static unsigned tx_ready_##instance(struct transport_queue *tq)                            \
	{                                                                                          \
		return tx_ready(vhost_pair_of(tq), &vhost_##layout##_verbs, iommu);                \
	}
VHOST_PATHS(INSTANCE)

void vhost_to_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			 bool iommu)
{
	ops->tx_cancel = tx_cancel;
	ops->tx_max = tx_max;
#define CHOOSE(instance, layout, with_iommu)                                                       \
	if (l == &vhost_ring_##layout && iommu == (with_iommu)) {                                  \
		ops->tx_reserve = tx_reserve_##instance;                                           \
		ops->tx_commit = tx_commit_##instance;                                             \
		ops->tx_ready = tx_ready_##instance;                                               \
	}
	VHOST_PATHS(CHOOSE)
}
