/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by the files of a queue pair. Theory: vhost_pair.h.
 */
#ifndef ZV_VHOST_PAIR_PRIV_H
#define ZV_VHOST_PAIR_PRIV_H

#include "ring/vhost_layouts.h"
#include "vhost_pair.h"

/* ---- chains ---- */

/* The session in which the chain was taken is still running. */
static inline bool vhost_chain_in_session(const struct vhost_pair *q, const struct vhost_chain *c)
{
	return q->tq.up && c->ep->session == q->tq.session;
}

/* The chain still belongs to us, even if the memory table has changed. */
static inline bool vhost_chain_ours(const struct vhost_pair *q, const struct vhost_chain *c)
{
	return vhost_chain_in_session(q, c) && !c->ep->returned;
}

/* The owner holds the token of the chain. */
static inline bool vhost_chain_out(const struct vhost_chain *c)
{
	return c->state == CHAIN_LENT || c->state == CHAIN_RESERVED || c->state == CHAIN_DEFERRED;
}

static inline void vhost_chain_free(struct vhost_pair *q, uint32_t token)
{
	q->chains[token].state = CHAIN_FREE;
	q->chains[token].next = q->free;
	q->free = token + 1;
}

/* Gives back a token of an ended epoch. True: the session continues, so the chain still belongs to
 * us. */
bool vhost_chain_stale(struct vhost_pair *q, struct vhost_chain *c);
/* to_guest.c: finds the buffer of @c in the current memory; the chain, which may be long, is not
 * read again. False: not all of it is there. c->ep is unchanged. */
bool vhost_chain_move(const struct vhost_pair *q, struct vhost_chain *c);
/*
 * from_guest.c: finds the pieces of payload that @c has lent, as the chain is in @from now, and
 * puts them in q->seg. Returns their number; -EPROTO: the guest has changed the chain, a
 * translation is missing, or *walked, to which the descriptors are added, exceeds
 * vhost_pair_sweep().
 */
int vhost_chain_pieces(struct vhost_pair *q, const struct vhost_chain *c,
		       const struct vhost_ring *from, uint32_t *walked);

/* ---- epoch.c ---- */

/* NULL: no memory. */
struct vhost_epoch *vhost_epoch_new(struct guest_mem *mem, uint32_t session);
/* Ends the current epoch: from now on it counts its tokens and is kept in q->retired. */
void vhost_epoch_retire(struct vhost_pair *q);
void vhost_epoch_free(struct vhost_epoch *ep);
/* Gives the memory of retired epochs without tokens to q->unmapper, and takes those whose memory is
 * unmapped, or that have no unmapper, out of q->retired. */
struct vhost_epoch *vhost_epochs_ended(struct vhost_pair *q);
/* Frees them; without an unmapper that unmaps, which may take long: control thread, and not while
 * it has stopped the owner. */
void vhost_epochs_free(struct vhost_epoch *ended);
/* Both, for the owner. */
void vhost_epochs_leave(struct vhost_pair *q);
/* Gives the pages of retired epochs whose tokens are out to q->unmapper: guest_mem_strip(). Control
 * thread. */
void vhost_epochs_strip(struct vhost_pair *q);
/*
 * True: @next may be mapped beside what loans keep, the current epoch included if it has any, and
 * what is not unmapped yet since they are back. That are at most @max epochs, within retired_max
 * bytes, and with @next within maps_max mappings; and all pairs together leave mappings for others
 * (map_limit.h).
 */
bool vhost_epochs_fit(const struct vhost_pair *q, unsigned max, const struct guest_mem *next);
/*
 * Replaces all memory on loan in retired epochs by private memory with the same contents, before
 * the guest may reuse its own. Lent chains are looked up in @from. With @now, the guest's memory,
 * buffers reserved for sending can be sent later. False: bytes are lost or still in the guest's
 * hands; counted.
 */
bool vhost_pair_revoke(struct vhost_pair *q, const struct vhost_ring *from,
		       const struct guest_mem *now);

/* ---- session.c ---- */

/* Ends the session because the guest broke a ring. Called by the owner. */
void vhost_pair_break(struct vhost_pair *q, const struct vhost_ring *r);
/* rx_burst of a pair whose rings are stopped. */
void vhost_pair_idle(struct vhost_pair *q) __attribute__((cold));

/*
 * Number of chains and descriptors that the control thread looks at in one go: more than needed by
 * any driver that fills its ring with packets in as many pieces as a kernel makes (17 fragments and
 * a header).
 */
static inline uint32_t vhost_pair_sweep(const struct vhost_pair *q, const struct vhost_ring *r)
{
	uint32_t most = VHOST_WORK + 32 * r->area.size;

	return most < q->sweep_max ? most : q->sweep_max;
}

/* ---- from_guest.c: transport_queue_ops.rx_intact ---- */

bool vhost_pair_rx_intact(struct transport_queue *tq, uint32_t token);

/* ---- saved.c ---- */

/* Takes what the guest has sent, for vhost_pair_rx_rest. Control thread; the owner is stopped. */
void vhost_pair_rx_save(struct vhost_pair *q);
int vhost_pair_rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max);
/* Gives back a token of vhost_pair_rx_rest; ignores other tokens. */
void vhost_pair_saved_release(struct vhost_pair *q, uint32_t token);
void vhost_pair_saved_fini(struct vhost_pair *q);

/* ---- deferred.c: packets that were committed and cannot be sent yet ---- */

/* Makes room in q->deferred for every chain if it may be needed. 0 or -ENOMEM. */
int vhost_pair_deferred_reserve(struct vhost_pair *q);
/* Sends the packets in q->deferred. False: some remain, or the ring has broken. */
bool vhost_pair_deferred_send(struct vhost_pair *q);
/* Drops the packets in q->deferred. */
void vhost_pair_deferred_drop(struct vhost_pair *q);
/* tx_commit for all but the simple case: packets in q->deferred, changed memory, or a header that
 * straddles. */
void vhost_pair_commit_slow(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
	__attribute__((cold));

/* ---- to_guest.c ---- */

/* Takes the next chain from the ring. Returns its token; -1: it waits for a translation, or the
 * ring is broken. */
int64_t vhost_pair_take(struct vhost_pair *q) __attribute__((cold));
/* Puts a chain that was taken and not used on the stack of its kind. */
void vhost_pair_push(struct vhost_pair *q, uint32_t token);
/* Writes the header of a chain that already contains its payload. 0, -EAGAIN, -EPROTO. */
int vhost_pair_put_hdr(struct vhost_pair *q, const struct vhost_chain *c,
		       const struct vsock_hdr *h);

/* Buffers reserved for control packets: VHOST_CTRL_RESERVE, or an eighth of the most buffers that
 * this guest has ever offered at once, so that a guest with few buffers still gets data. */
static inline uint32_t vhost_pair_ctrl_reserve(const struct vhost_pair *q)
{
	uint32_t eighth = q->to_guest.max_pending / 8;

	return eighth < VHOST_CTRL_RESERVE ? eighth : VHOST_CTRL_RESERVE;
}

/* ---- vhost_pair.c, and the data path of the rings' layout ---- */

/* Makes vhost_pair_fd() readable whenever @fd is. 0 or -errno. */
int vhost_pair_watch_fd(struct vhost_pair *q, int fd);
/* Publishes and notifies in any state of the session. */
void vhost_pair_notify(struct vhost_pair *q);

/* Fill in their part of *ops for rings of layout @l. */
void vhost_from_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			   bool iommu);
void vhost_to_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			 bool iommu);
void vhost_notify_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
		       bool iommu);
/* All three parts. */
static inline void vhost_pair_path(struct vhost_pair *q, const struct vhost_ring_layout *l,
				   bool iommu)
{
	vhost_from_guest_path(&q->ops, l, iommu);
	vhost_to_guest_path(&q->ops, l, iommu);
	vhost_notify_path(&q->ops, l, iommu);
}

/* Number of available chains that can be taken: 0 while the first one waits for its translation. @v
 * and @iommu are constant. */
VHOST_INLINE uint32_t vhost_ready(const struct vhost_ring *r, const struct vhost_ring_verbs *v,
				  const bool iommu)
{
	return iommu && vhost_ring_waits(r) ? 0 : v->pending(r);
}

/* The same after a refresh. */
VHOST_INLINE uint32_t vhost_ready_now(struct vhost_ring *r, const struct vhost_ring_verbs *v,
				      const bool iommu)
{
	uint32_t n = v->refresh(r);

	return iommu && vhost_ring_waits(r) ? 0 : n;
}

#endif
