/* SPDX-License-Identifier: BSD-3-Clause */
/* Epochs of a queue pair, and revocation of loans when the guest's memory goes. Theory:
 * vhost_pair.h. */
#include "map_limit.h"
#include "vhost_pair_priv.h"

#include <stdlib.h>

#define TX_PRESERVE_MAX (1u << 20) /* bytes: no packet is larger */

/* ---- epochs ---- */

struct vhost_epoch *vhost_epoch_new(struct guest_mem *mem, uint32_t session)
{
	struct vhost_epoch *ep = calloc(1, sizeof(*ep));

	if (ep) {
		ep->mem = guest_mem_get(mem);
		ep->session = session;
	}
	return ep;
}

void vhost_epoch_retire(struct vhost_pair *q)
{
	struct vhost_epoch *ep = q->ep;

	for (uint32_t i = 0; i < q->nchains; i++)
		ep->out += vhost_chain_out(&q->chains[i]) && q->chains[i].ep == ep;
	ep->next = q->retired;
	q->retired = ep;
	q->ep = NULL;
}

void vhost_epoch_free(struct vhost_epoch *ep)
{
	if (ep->left)
		guest_mem_forget(ep->mem);
	else
		guest_mem_put(ep->mem);
	free(ep);
}

/* Nobody uses the memory any more, but the unmapper has not unmapped it yet. */
static bool still_mapped(const struct vhost_epoch *ep)
{
	return ep->left && !ep->shared && !guest_mem_unmapped(ep->mem);
}

static void leave(struct vhost_pair *q)
{
	struct unmapper *u = __atomic_load_n(&q->unmapper, __ATOMIC_ACQUIRE);

	for (struct vhost_epoch *ep = q->retired; ep && u; ep = ep->next) {
		if (ep->out || ep->left)
			continue;
		ep->left = true;
		ep->shared = !guest_mem_leave(ep->mem);
		if (!ep->shared)
			unmapper_add(u, ep->mem);
	}
}

struct vhost_epoch *vhost_epochs_ended(struct vhost_pair *q)
{
	struct vhost_epoch *ended = NULL;

	leave(q);
	for (struct vhost_epoch **p = &q->retired; *p;) {
		struct vhost_epoch *ep = *p;

		if (ep->out || still_mapped(ep)) {
			p = &ep->next;
			continue;
		}
		*p = ep->next;
		ep->next = ended;
		ended = ep;
	}
	return ended;
}

void vhost_epochs_free(struct vhost_epoch *ep)
{
	while (ep) {
		struct vhost_epoch *next = ep->next;

		vhost_epoch_free(ep);
		ep = next;
	}
}

void vhost_epochs_leave(struct vhost_pair *q)
{
	vhost_epochs_free(vhost_epochs_ended(q));
}

/* The pages of @ep, in an epoch of their own, which counts until they are unmapped. */
static void strip(struct vhost_pair *q, struct vhost_epoch *ep)
{
	struct vhost_epoch *pages = calloc(1, sizeof(*pages));

	if (pages)
		pages->mem = guest_mem_strip(ep->mem);
	if (!pages || !pages->mem) {
		free(pages);
		return;
	}
	ep->stripped = true;
	pages->left = true;
	pages->next = q->retired;
	q->retired = pages;
	unmapper_add(q->unmapper, pages->mem);
}

void vhost_epochs_strip(struct vhost_pair *q)
{
	for (struct vhost_epoch *ep = q->retired; ep && q->unmapper; ep = ep->next)
		if (ep->out && !ep->stripped && !ep->revoked)
			strip(q, ep);
}

/* What retired epochs keep. */
struct kept {
	uint64_t bytes;
	uint32_t maps;
	unsigned epochs;
};

static void keep(struct kept *k, const struct guest_mem *mem)
{
	for (uint32_t i = 0; i < mem->nregions; i++)
		k->bytes += mem->map[i].len;
	k->maps += mem->nregions;
	k->epochs++;
}

/* A table of @nregions may be mapped beside @k. */
static bool within(const struct vhost_pair *q, const struct kept *k, unsigned max,
		   uint32_t nregions)
{
	return k->epochs <= max && k->bytes <= q->retired_max && k->maps + nregions <= q->maps_max;
}

/* The current epoch has tokens that are out. */
static bool current_has_loans(const struct vhost_pair *q)
{
	for (uint32_t i = 0; q->ep && i < q->nchains; i++)
		if (vhost_chain_out(&q->chains[i]) && q->chains[i].ep == q->ep)
			return true;
	return false;
}

bool vhost_epochs_fit(const struct vhost_pair *q, unsigned max, const struct guest_mem *next)
{
	struct kept k = {0};

	for (const struct vhost_epoch *ep = q->retired; ep; ep = ep->next)
		if (ep->out || still_mapped(ep))
			keep(&k, ep->mem);
	if (current_has_loans(q))
		keep(&k, q->ep->mem);
	return k.epochs == 0 ||
	       (within(q, &k, max, next->nregions) && guest_mem_maps() <= map_limit_loans());
}

bool vhost_pair_unmaps(struct vhost_pair *q)
{
	struct kept k = {0};
	bool unmaps = false;

	if (!unmapper_count(q->unmapper))
		return false;
	vhost_owner_stop(&q->tq.qs);
	for (const struct vhost_epoch *ep = q->retired; ep; ep = ep->next) {
		unmaps |= still_mapped(ep);
		keep(&k, ep->mem);
	}
	if (q->ep)
		keep(&k, q->ep->mem);
	quiesce_resume(&q->tq.qs);
	return unmaps && !within(q, &k, VHOST_RETIRED - 1, GUEST_MEM_REGIONS);
}

bool vhost_chain_stale(struct vhost_pair *q, struct vhost_chain *c)
{
	struct vhost_epoch *ep = c->ep;
	bool alive = vhost_chain_ours(q, c);

	if (--ep->out == 0)
		vhost_epochs_leave(q);
	c->ep = NULL;
	return alive;
}

/* ---- revocation ---- */

/* What one revocation may still do. */
struct sweep {
	uint32_t walked; /* descriptors */
	uint32_t tx;	 /* bytes of buffers to the guest that may still be copied */
};

static uint32_t tx_len(const struct vhost_chain *c)
{
	return c->cap < TX_PRESERVE_MAX ? c->cap : TX_PRESERVE_MAX;
}

/* Copies the contents of a token's buffer. False: it cannot be found any more, or is too large. */
static bool chain_preserve(struct vhost_pair *q, const struct vhost_chain *c,
			   const struct vhost_ring *from, struct sweep *s)
{
	struct guest_mem *mem = c->ep->mem;
	int n;

	if (c->state != CHAIN_LENT) {
		if (tx_len(c) > s->tx)
			return false;
		s->tx -= tx_len(c);
		guest_mem_preserve(mem, c->data, tx_len(c));
		return true;
	}
	if (!c->pieces) {
		guest_mem_preserve(mem, c->hdr, (size_t)(c->data - c->hdr));
		return true;
	}
	n = vhost_chain_pieces(q, c, from, &s->walked);
	for (int i = 0; i < n; i++)
		guest_mem_preserve(mem, q->seg[i].base, q->seg[i].len);
	return n > 0;
}

/*
 * Replaces buffers of @ep on loan by private memory with the same contents. With @now (the guest's
 * memory) those reserved for sending can be sent later. Lent ones are looked up in @from. False:
 * bytes are lost, or still in the guest's hands.
 */
static bool epoch_revoke(struct vhost_pair *q, struct vhost_epoch *ep,
			 const struct vhost_ring *from, const struct guest_mem *now,
			 struct sweep *s)
{
	bool good = !shm_load32(&ep->mem->fault);
	int ret = guest_mem_revoke_begin(ep->mem, now != NULL);

	for (uint32_t i = 0; i < q->nchains && ret == 0; i++)
		if (vhost_chain_out(&q->chains[i]) && q->chains[i].ep == ep)
			good &= chain_preserve(q, &q->chains[i], from, s);
	if (ret == 0)
		ret = guest_mem_revoke_end(ep->mem);
	for (uint32_t i = 0; i < q->nchains && ret == 0 && now && good; i++) {
		const struct vhost_chain *c = &q->chains[i];

		if (vhost_chain_out(c) && c->ep == ep && c->state != CHAIN_LENT)
			good &= guest_mem_catch_up(ep->mem, now, c->data, tx_len(c));
	}
	guest_mem_revoke_done(ep->mem);
	if (ret < 0)
		zv_log(ZV_LOG_WARN,
		       "%s: queue %u: buffers on loan cannot be copied out of guest memory: %s",
		       q->name, q->index, zv_strerror(ret));
	return good && ret == 0;
}

bool vhost_pair_revoke(struct vhost_pair *q, const struct vhost_ring *from,
		       const struct guest_mem *now)
{
	struct sweep s = {.tx = VHOST_TX_COPY_MAX};
	bool good = true;

	vhost_epochs_strip(q);
	for (struct vhost_epoch *ep = q->retired; ep; ep = ep->next) {
		if (!ep->revoked && ep->out)
			good &= epoch_revoke(q, ep, from, now, &s);
		ep->revoked = true;
	}
	if (!good)
		q->tq.lost++;
	return good;
}
