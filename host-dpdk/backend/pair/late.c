/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets to the guest that were committed and cannot be sent yet, because of a pause or a missing
 * translation. See "Late packets" in vhost_pair.h. */
#include "vhost_pair_priv.h"

#include <errno.h>
#include <stdlib.h>

int vhost_pair_late_room(struct vhost_pair *q)
{
	struct vhost_pair_late *late;
	bool needed = q->late_size != 0 || q->to_guest.iommu;

	for (uint32_t i = 0; i < q->nchains && !needed; i++)
		needed = q->chains[i].state == CHAIN_RESERVED;
	if (!needed || q->late_size >= q->nchains)
		return 0;
	late = malloc(q->nchains * sizeof(*late));
	if (!late)
		return -ENOMEM;
	for (uint32_t i = 0; q->late_size && i < q->nlate; i++)
		late[i] = q->late[(q->late_head + i) % q->late_size];
	free(q->late);
	q->late = late;
	q->late_size = q->nchains;
	q->late_head = 0;
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

static void late_push(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
{
	q->chains[token].state = CHAIN_LATE;
	q->late[(q->late_head + q->nlate++) % q->late_size] = (struct vhost_pair_late){*h, token};
}

static void late_pop(struct vhost_pair *q)
{
	uint32_t token = q->late[q->late_head].token;

	q->late_head = (q->late_head + 1) % q->late_size;
	q->nlate--;
	chain_done(q, token);
}

void vhost_pair_late_drop(struct vhost_pair *q)
{
	while (q->nlate)
		late_pop(q);
}

/* A chain that the driver offers now: its token; -1: none, or none that can be taken. */
static int64_t late_chain(struct vhost_pair *q, bool payload)
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
static int copy_late(struct vhost_pair *q, struct vhost_pair_late *l, uint32_t token)
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
static bool late_send_one(struct vhost_pair *q)
{
	struct vhost_pair_late *l = &q->late[q->late_head];

	if (vhost_chain_ours(q, &q->chains[l->token])) /* it has kept its chain */
		return vhost_pair_put_hdr(q, &q->chains[l->token], &l->h) == 0;
	do {
		int64_t token;

		if (q->taken + q->to_guest.walked >= VHOST_WORK)
			return false; /* the next round goes on */
		token = late_chain(q, l->h.len != 0);
		if (token < 0)
			return false;
		if (l->h.len && !q->chains[token].cap)
			vhost_pair_push(q, (uint32_t)token);
		else if (copy_late(q, l, (uint32_t)token) < 0)
			return false;
		else if (!l->h.len)
			return true;
	} while (true);
}

bool vhost_pair_late_send(struct vhost_pair *q)
{
	if (q->to_guest.iommu && vhost_ring_waits(&q->to_guest))
		return false;
	while (q->nlate && late_send_one(q))
		late_pop(q);
	if (q->to_guest.broken && q->ep)
		vhost_pair_break(q, &q->to_guest);
	return q->nlate == 0 && q->ep;
}

void vhost_pair_commit_slow(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
{
	struct vhost_chain *c = &q->chains[token];
	int ret;

	if (!vhost_chain_in_session(q, c)) {
		chain_done(q, token);
		return;
	}
	if (q->nlate || c->ep->returned) {
		late_push(q, token, h);
		if (q->ep)
			(void)vhost_pair_late_send(q);
		return;
	}
	/* The token still holds the memory behind c->hdr: written before it is given up. */
	ret = vhost_pair_put_hdr(q, c, h);
	if (ret == -EAGAIN) {
		late_push(q, token, h);
		return;
	}
	chain_done(q, token);
	if (ret < 0)
		vhost_pair_break(q, &q->to_guest);
}
