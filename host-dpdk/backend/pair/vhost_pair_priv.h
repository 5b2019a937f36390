/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of a queue pair have of each other. Theory: vhost_pair.h. */
#ifndef ZV_VHOST_PAIR_PRIV_H
#define ZV_VHOST_PAIR_PRIV_H

#include "ring/vhost_layouts.h"
#include "vhost_pair.h"

/* ---- chains ---- */

/* The session in which it was taken goes on. */
static inline bool vhost_chain_in_session(const struct vhost_pair *q, const struct vhost_chain *c)
{
	return q->tq.up && c->ep->session == q->tq.session;
}

/* It is still ours, whatever happened to the memory table. */
static inline bool vhost_chain_ours(const struct vhost_pair *q, const struct vhost_chain *c)
{
	return vhost_chain_in_session(q, c) && !c->ep->returned;
}

/* The owner has its token. */
static inline bool vhost_chain_out(const struct vhost_chain *c)
{
	return c->state == CHAIN_LENT || c->state == CHAIN_RESERVED || c->state == CHAIN_LATE;
}

static inline void vhost_chain_free(struct vhost_pair *q, uint32_t token)
{
	q->chains[token].state = CHAIN_FREE;
	q->chains[token].next = q->free;
	q->free = token + 1;
}

/* Gives a token of an ended epoch back. True: the session goes on, so the chain is still ours. */
bool vhost_chain_stale(struct vhost_pair *q, struct vhost_chain *c);
/*
 * to_guest.c: finds the buffer of @c in the current memory; the chain, which may be long, is not
 * read again. False: it is not all there. c->ep stays.
 */
bool vhost_chain_move(const struct vhost_pair *q, struct vhost_chain *c);
/*
 * from_guest.c: the pieces of payload that @c has lent, as the chain is in @from now; they are in
 * q->seg. Their number; -EPROTO: the guest has changed the chain, a translation is not there, or
 * *walked, to which the descriptors are added, is beyond vhost_pair_sweep().
 */
int vhost_chain_pieces(struct vhost_pair *q, const struct vhost_chain *c,
		       const struct vhost_ring *from, uint32_t *walked);

/* ---- epoch.c ---- */

/* NULL: no memory. */
struct vhost_epoch *vhost_epoch_new(struct guest_mem *mem, uint32_t session);
/* Ends the current epoch: from now on it counts its tokens. It stays in q->retired meanwhile. */
void vhost_epoch_retire(struct vhost_pair *q);
/* Frees the retired epochs that no token refers to any more. */
void vhost_epochs_sweep(struct vhost_pair *q);
/* There are no more than @max of them, and their maps are no larger than they may be. */
bool vhost_epochs_fit(const struct vhost_pair *q, unsigned max);
/*
 * All that is on loan in retired epochs becomes private memory that holds the same, before the
 * guest may reuse its own. Lent chains are looked up in @from. With @now, the guest's memory,
 * buffers reserved for sending can be sent later. False: bytes are lost, or still in the guest's
 * hands; counted.
 */
bool vhost_pair_revoke(struct vhost_pair *q, const struct vhost_ring *from,
		       const struct guest_mem *now);

/* ---- session.c ---- */

/* Ends the session because the guest broke a ring. Owner. */
void vhost_pair_break(struct vhost_pair *q, const struct vhost_ring *r);
/* rx_burst of a pair whose rings do not run. */
void vhost_pair_idle(struct vhost_pair *q) __attribute__((cold));

/*
 * Chains and descriptors that the control thread looks at in one go: more than any driver needs
 * that fills its ring with packets in as many pieces as a kernel makes (17 fragments and a header).
 */
static inline uint32_t vhost_pair_sweep(const struct vhost_ring *r)
{
	return VHOST_WORK + 32 * r->area.size;
}

/* ---- from_guest.c: transport_queue_ops.rx_intact ---- */

bool vhost_pair_rx_intact(struct transport_queue *tq, uint32_t token);

/* ---- kept.c ---- */

/* Control thread, the owner is stopped: takes what the guest has sent, for vhost_pair_rx_rest. */
void vhost_pair_rx_keep(struct vhost_pair *q);
int vhost_pair_rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max);
/* Gives a token of vhost_pair_rx_rest back; others are not its own. */
void vhost_pair_kept_release(struct vhost_pair *q, uint32_t token);
void vhost_pair_kept_fini(struct vhost_pair *q);

/* ---- late.c: packets that were committed and cannot be sent yet ---- */

/* Room in q->late for every chain, when there may be need of it. 0 or -ENOMEM. */
int vhost_pair_late_room(struct vhost_pair *q);
/* Sends what waits there. False: some still does, or the ring has broken. */
bool vhost_pair_late_send(struct vhost_pair *q);
/* Forgets it. */
void vhost_pair_late_drop(struct vhost_pair *q);
/* tx_commit of all but the simple case: others wait, the memory has changed, an odd header. */
void vhost_pair_commit_slow(struct vhost_pair *q, uint32_t token, const struct vsock_hdr *h)
	__attribute__((cold));

/* ---- to_guest.c ---- */

/* Takes the next chain off the ring. Its token; -1: it waits for a translation, or is broken. */
int64_t vhost_pair_take(struct vhost_pair *q) __attribute__((cold));
/* A chain that was taken and not used, onto the stack of its kind. */
void vhost_pair_push(struct vhost_pair *q, uint32_t token);
/* Writes the header of a chain whose payload is there. 0, -EAGAIN, -EPROTO. */
int vhost_pair_put_hdr(struct vhost_pair *q, const struct vhost_chain *c,
		       const struct vsock_hdr *h);

/*
 * Buffers kept back for control packets: VHOST_CTRL_KEEP, or an eighth of what this guest has ever
 * offered at once, so that a guest with few buffers still gets data.
 */
static inline uint32_t vhost_pair_ctrl_keep(const struct vhost_pair *q)
{
	uint32_t eighth = q->to_guest.most / 8;

	return eighth < VHOST_CTRL_KEEP ? eighth : VHOST_CTRL_KEEP;
}

/* ---- vhost_pair.c, and the data path of the rings' layout ---- */

/* Makes vhost_pair_fd() readable whenever @fd becomes so. 0 or -errno. */
int vhost_pair_watch_fd(struct vhost_pair *q, int fd);
/* Publishes and notifies, whatever the state of the session. */
void vhost_pair_tell(struct vhost_pair *q);

/* Fill in their part of *ops for rings of layout @l. */
void vhost_from_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			   bool iommu);
void vhost_to_guest_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
			 bool iommu);
void vhost_notify_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
		       bool iommu);
/* All of it. */
static inline void vhost_pair_path(struct vhost_pair *q, const struct vhost_ring_layout *l,
				   bool iommu)
{
	vhost_from_guest_path(&q->ops, l, iommu);
	vhost_to_guest_path(&q->ops, l, iommu);
	vhost_notify_path(&q->ops, l, iommu);
}

/*
 * Chains that wait and can be taken: none while the first one waits for its translation. @v, @iommu
 * constant.
 */
VHOST_INLINE uint32_t vhost_ready(const struct vhost_ring *r, const struct vhost_ring_verbs *v,
				  const bool iommu)
{
	return iommu && vhost_ring_waits(r) ? 0 : v->pending(r);
}

/* After a look for more. */
VHOST_INLINE uint32_t vhost_ready_now(struct vhost_ring *r, const struct vhost_ring_verbs *v,
				      const bool iommu)
{
	uint32_t n = v->refresh(r);

	return iommu && vhost_ring_waits(r) ? 0 : n;
}

#endif
