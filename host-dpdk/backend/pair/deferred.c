/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets to the guest that were committed and cannot be sent yet, because of a pause or a missing
 * translation. See "Deferred packets" in vhost_pair.h. */
#include "vhost_pair_priv.h"

#include <errno.h>
#include <stdlib.h>

int vhost_pair_deferred_reserve(struct vhost_pair *q)
{
	struct vhost_pair_deferred *deferred;
	bool needed = q->deferred_size != 0 || q->to_guest.iommu;

	for (uint32_t i = 0; i < q->nchains && !needed; i++)
		needed = q->chains[i].state == CHAIN_RESERVED;
	if (!needed || q->deferred_size >= q->nchains)
		return 0;
	deferred = malloc(q->nchains * sizeof(*deferred));
	if (!deferred)
		return -ENOMEM;
	for (uint32_t i = 0; q->deferred_size && i < q->ndeferred; i++)
		deferred[i] = q->deferred[(q->deferred_head + i) % q->deferred_size];
	free(q->deferred);
	q->deferred = deferred;
	q->deferred_size = q->nchains;
	q->deferred_head = 0;
	return 0;
}

/* The token is given back. */
static void chain_done(struct vhost_pair *q, uint32_t token)
{
	struct vhost_chain *c = &q->chains[token];

	if (c->ep != q->ep)
		(void)vhost_chain_stale(q, c);
	vhost_chain_free(q, token);
}

static void deferred_push(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
{
	q->chains[token].state = CHAIN_DEFERRED;
	q->deferred[(q->deferred_head + q->ndeferred++) % q->deferred_size] =
		(struct vhost_pair_deferred){*h, token};
}

static void deferred_pop(struct vhost_pair *q)
{
	uint32_t token = q->deferred[q->deferred_head].token;

	q->deferred_head = (q->deferred_head + 1) % q->deferred_size;
	q->ndeferred--;
	chain_done(q, token);
}

void vhost_pair_deferred_drop(struct vhost_pair *q)
{
	while (q->ndeferred)
		deferred_pop(q);
}

/* A chain that the driver offers now: its token; -1: none, or none that can be taken. */
static int64_t deferred_chain(struct vhost_pair *q, bool payload)
{
	if (!payload && q->nctrl)
		return q->ctrl[--q->nctrl];
	if (q->nstack)
		return q->stack[--q->nstack];
	return vhost_ring_pending(&q->to_guest) || vhost_ring_refresh(&q->to_guest)
		       ? vhost_pair_take(q)
		       : -1;
}

/* As much of @l, whose chain is the driver's again, as the chain @token has room for. 0, or why
 * not. */
static int copy_deferred(struct vhost_pair *q, struct vhost_pair_deferred *l, uint32_t token)
{
	struct vhost_chain *from = &q->chains[l->token], *to = &q->chains[token];
	struct vsock_hdr h = l->h;
	int ret;

	if (h.len > to->cap && h.type == VSOCK_TYPE_DGRAM) { /* whole or not at all */
		stats_add(&q->tq.stats.dgram_dropped, 1);
		vhost_pair_push(q, token);
		l->h.len = 0;
		return 0;
	}
	if (h.len > to->cap) {
		h.len = to->cap;
		h.flags = 0; /* of SEQPACKET: the end of the message is in the last piece */
	}
	memcpy(to->data, from->data, h.len);
	ret = vhost_pair_put_hdr(q, to, &h);
	if (ret == -EAGAIN) {
		vhost_pair_push(q, token);
		return ret;
	}
	vhost_chain_free(q, token);
	if (ret < 0)
		return ret;
	from->data += h.len;
	from->cap -= h.len;
	l->h.len -= h.len;
	return 0;
}

/* The first packet that waits, or as much of it as the driver has room for. True: all of it. */
static bool deferred_send_one(struct vhost_pair *q)
{
	struct vhost_pair_deferred *l = &q->deferred[q->deferred_head];

	if (vhost_chain_ours(q, &q->chains[l->token])) /* it has kept its chain */
		return vhost_pair_put_hdr(q, &q->chains[l->token], &l->h) == 0;
	do {
		int64_t token;

		if (q->taken + q->to_guest.walked >= q->work)
			return false; /* the next round goes on */
		token = deferred_chain(q, l->h.len != 0);
		if (token < 0)
			return false;
		if (l->h.len && !q->chains[token].cap)
			vhost_pair_push(q, (uint32_t)token);
		else if (copy_deferred(q, l, (uint32_t)token) < 0)
			return false;
		else if (!l->h.len)
			return true;
	} while (true);
}

bool vhost_pair_deferred_send(struct vhost_pair *q)
{
	if (q->to_guest.iommu && vhost_ring_waits(&q->to_guest))
		return false;
	while (q->ndeferred && deferred_send_one(q))
		deferred_pop(q);
	if (q->to_guest.broken && q->ep)
		vhost_pair_break(q, &q->to_guest);
	return q->ndeferred == 0 && q->ep;
}

void vhost_pair_commit_slow(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
{
	struct vhost_chain *c = &q->chains[token];
	int ret;

	if (!vhost_chain_in_session(q, c)) {
		chain_done(q, token);
		return;
	}
	if (q->ndeferred || c->ep->returned) {
		deferred_push(q, token, h);
		if (q->ep)
			(void)vhost_pair_deferred_send(q);
		return;
	}
	/* The token still holds the memory behind c->hdr: written before it is given up. */
	ret = vhost_pair_put_hdr(q, c, h);
	if (ret == -EAGAIN) {
		deferred_push(q, token, h);
		return;
	}
	chain_done(q, token);
	if (ret < 0)
		vhost_pair_break(q, &q->to_guest);
}
