/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs of the packed layout (VIRTIO 1.2, section 2.8), device side. Rules and theory of all
 * layouts: vhost_ring.h.
 *
 * Theory of operation
 * -------------------
 * There is one ring. The driver writes available descriptors into it, and we overwrite them with
 * used ones, each side in ring order; two flags and the lap in which they were written (the wrap
 * counter) tell which of the two a descriptor is. A used descriptor stands for a whole list, and
 * the next one is as many places further as that list had descriptors. Lists complete in any order,
 * so a used descriptor may overwrite one of a list that is still in flight, and later be
 * overwritten by the driver's next list.
 *
 * So descriptors are copied when they are first seen (refresh), and peek, walk and put use the
 * copies. One look copies VHOST_PACKED_LOOK of them and the rest of the list that it ends in: a
 * guest may have 32 rings with 32,768 descriptors each, and its lcore serves others too. A copy is
 * a node; there are as many nodes as the ring has descriptors, which is the most that can be
 * available and in flight. A list is identified by the number of its first node. The buffer id is
 * opaque: it is returned as it came, so an id beyond the ring or used twice is the driver's problem
 * only.
 *
 * A descriptor is two words of 64 bits: address; length, id and flags. The second word says whether
 * the descriptor is available, and is loaded once, with acquire, for everything in it. Of the used
 * descriptors between two publishes the first is held back, because the driver checks only that
 * place: writing it publishes all that follow.
 *
 * A full ring is not polled: no place in it belongs to the driver.
 */
#ifndef ZV_VHOST_RING_PACKED_H
#define ZV_VHOST_RING_PACKED_H

#include "vhost_ring.h"

#define VHOST_PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VHOST_PACKED_USED  (1u << VRING_PACKED_DESC_F_USED)
#define VHOST_PACKED_MARKS (VHOST_PACKED_AVAIL | VHOST_PACKED_USED)

#define VHOST_PACKED_LOOK 1024u /* descriptors that one look copies */

#define VHOST_PACKED_ID_SHIFT	 32
#define VHOST_PACKED_FLAGS_SHIFT 48

/* struct vring_packed_desc as loaded and stored; little endian. */
struct vhost_packed_desc {
	uint64_t addr;
	uint64_t word; /* length, id << 32, flags << 48 */
};
_Static_assert(sizeof(struct vhost_packed_desc) == sizeof(struct vring_packed_desc) &&
		       offsetof(struct vring_packed_desc, len) == 8 &&
		       offsetof(struct vring_packed_desc, id) == 12 &&
		       offsetof(struct vring_packed_desc, flags) == 14,
	       "two words");

/* A place in the ring, and the flags of a descriptor there in the current lap. */
struct vhost_packed_pos {
	uint16_t at;
	uint16_t marks;
};

/* A copy of a descriptor, without its available and used flags. */
struct vhost_packed_node {
	uint64_t addr;
	uint64_t word;	/* first of a list: with the id of the list */
	uint16_t next;	/* in the list, or in the free list */
	uint16_t count; /* first of a list: number of descriptors */
};

/* State of the layout, in vhost_ring.own. The counters are free-running, mod 2^16. */
struct vhost_packed {
	struct vhost_packed_pos next_avail; /* where the next available descriptor will be */
	struct vhost_packed_pos used;	    /* where the next used one goes */
	struct vhost_packed_pos signalled;  /* `used` at the last decision whether to notify */
	uint16_t space;	     /* places in the ring for more descriptors of the driver */
	uint16_t free;	     /* first free node; valid if space > 0 */
	uint16_t head, tail; /* lists taken and seen; available ones are in queue[] */
	uint16_t done;	     /* lists put back */
	uint16_t queue_mask;
	uint16_t first_at; /* place of `first` */
	bool held;	   /* `first` is held back */
	bool armed;
	uint64_t first; /* word of the first unpublished used descriptor */
	struct vhost_packed_node *node;
	uint16_t queue[]; /* first nodes of lists */
};

static inline struct vhost_packed_desc *vhost_packed_ring(const struct vhost_ring *r)
{
	return r->area.part[VHOST_DESC_AREA];
}

/* @n: at most the size of the ring. */
VHOST_INLINE void vhost_packed_advance(struct vhost_packed_pos *p, uint16_t n, uint32_t size)
{
	uint32_t at = p->at + (uint32_t)n;
	bool wraps = at >= size;

	p->at = (uint16_t)(wraps ? at - size : at);
	p->marks ^= wraps ? VHOST_PACKED_MARKS : 0;
}

VHOST_INLINE uint32_t vhost_packed_pending(const struct vhost_ring *r)
{
	return (uint16_t)(r->packed->tail - r->packed->head);
}

VHOST_INLINE uint16_t vhost_packed_offered(const struct vhost_ring *r)
{
	return r->packed->tail;
}

/* The flags of the word @w are those of an available descriptor at @p. */
VHOST_INLINE bool vhost_packed_is_avail(uint64_t w, const struct vhost_packed_pos *p)
{
	return (w >> VHOST_PACKED_FLAGS_SHIFT & VHOST_PACKED_MARKS) == p->marks;
}

VHOST_INLINE uint64_t vhost_packed_load(const struct vhost_ring *r, uint16_t at)
{
	return le64toh(shm_load_acquire64(&vhost_packed_ring(r)[at].word)); /* barrier pair [A] */
}

/* Copies available descriptors, the first of which has the word @w. Returns as refresh(). */
uint32_t vhost_packed_copy(struct vhost_ring *r, uint64_t w);

VHOST_INLINE uint32_t vhost_packed_refresh(struct vhost_ring *r)
{
	const struct vhost_packed *b = r->packed;
	uint64_t w;

	if (__builtin_expect(r->broken, 0))
		return 0;
	if (!b->space)
		return vhost_packed_pending(r);
	w = vhost_packed_load(r, b->next_avail.at);
	if (!vhost_packed_is_avail(w, &b->next_avail))
		return vhost_packed_pending(r);
	return vhost_packed_copy(r, w);
}

VHOST_INLINE bool vhost_packed_peek(struct vhost_ring *r, uint32_t i, uint16_t *id,
				    struct vhost_desc *d)
{
	const struct vhost_packed *b = r->packed;
	const struct vhost_packed_node *n;

	*id = b->queue[(uint16_t)(b->head + i) & b->queue_mask];
	n = &b->node[*id];
	d->addr.v = n->addr;
	d->len = (uint32_t)n->word;
	d->flags = (uint16_t)(n->word >> VHOST_PACKED_FLAGS_SHIFT);
	d->next = 0;
	return true;
}

int vhost_packed_walk(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		      uint32_t *ndesc);
int vhost_packed_walk_iommu(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
			    uint32_t *ndesc);

VHOST_INLINE void vhost_packed_take(struct vhost_ring *r)
{
	r->packed->head++;
}

/* Frees the nodes of the list @id. */
VHOST_INLINE void vhost_packed_free(struct vhost_packed *b, uint16_t id)
{
	uint16_t last = id;

	for (uint16_t left = b->node[id].count; __builtin_expect(left > 1, 0); left--)
		last = b->node[last].next;
	b->node[last].next = b->free;
	b->free = id;
}

VHOST_INLINE void vhost_packed_put(struct vhost_ring *r, uint16_t id, uint32_t len)
{
	struct vhost_packed *b = r->packed;
	const struct vhost_packed_node *n = &b->node[id];
	uint16_t flags = b->used.marks | (len ? VRING_DESC_F_WRITE : 0), count = n->count;
	uint64_t w = (n->word & (uint64_t)UINT16_MAX << VHOST_PACKED_ID_SHIFT) |
		     (uint64_t)flags << VHOST_PACKED_FLAGS_SHIFT | len;

	if (b->held) {
		shm_store64(&vhost_packed_ring(r)[b->used.at].word, htole64(w));
	} else {
		b->held = true;
		b->first = w;
		b->first_at = b->used.at;
	}
	vhost_packed_advance(&b->used, count, r->area.size);
	b->space += count;
	b->done++;
	vhost_packed_free(b, id);
}

VHOST_INLINE bool vhost_packed_publish(struct vhost_ring *r)
{
	struct vhost_packed *b = r->packed;

	if (!b->held)
		return false;
	b->held = false;
	shm_store_release64(&vhost_packed_ring(r)[b->first_at].word,
			    htole64(b->first)); /* barrier pair [B] */
	return true;
}

/* Event suppression: offset and wrap counter in the lower half, flags in the upper half. */
VHOST_INLINE bool vhost_packed_want_call(struct vhost_ring *r)
{
	struct vhost_packed *b = r->packed;
	uint32_t wish = le32toh(shm_load32(r->area.part[VHOST_DRIVER_AREA]));
	uint16_t old = b->signalled.at, now = b->used.at, event = wish & INT16_MAX;
	bool same_lap = !(wish >> VRING_PACKED_EVENT_F_WRAP_CTR & 1) == !b->used.marks;

	b->signalled = b->used;
	if ((wish >> 16 & 3) != VRING_PACKED_EVENT_FLAG_DESC)
		return (wish >> 16 & 3) != VRING_PACKED_EVENT_FLAG_DISABLE;
	/* Make all three relative to our current lap: at least one chain and at most a lap was
	 * returned. */
	if (now <= old)
		old -= (uint16_t)r->area.size;
	if (!same_lap)
		event -= (uint16_t)r->area.size;
	return vring_need_event(event, now, old);
}

static inline void vhost_packed_arm(struct vhost_ring *r, uint32_t more)
{
	struct vhost_packed *b = r->packed;
	struct vhost_packed_pos p = b->next_avail;
	uint32_t wish = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (r->event_idx) {
		/* With lists of several descriptors this is too early: we are woken in vain. */
		vhost_packed_advance(&p, (uint16_t)(more < r->area.size ? more : r->area.size - 1),
				     r->area.size);
		wish = VRING_PACKED_EVENT_FLAG_DESC << 16 | p.at |
		       (p.marks == VHOST_PACKED_AVAIL) << VRING_PACKED_EVENT_F_WRAP_CTR;
	}
	b->armed = true;
	shm_store32(r->area.part[VHOST_DEVICE_AREA], htole32(wish));
}

static inline void vhost_packed_disarm(struct vhost_ring *r)
{
	if (!r->packed->armed)
		return;
	r->packed->armed = false;
	shm_store32(r->area.part[VHOST_DEVICE_AREA],
		    htole32((uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16));
}

/* With nothing in flight both indices are at the next used descriptor. */
static inline struct vhost_ring_pos vhost_packed_position(const struct vhost_ring *r)
{
	const struct vhost_packed_pos *p = &r->packed->used;
	uint32_t half = p->at | (p->marks ? 1u << VRING_PACKED_EVENT_F_WRAP_CTR : 0);

	return (struct vhost_ring_pos){half << 16 | half};
}

static const struct vhost_ring_verbs vhost_packed_verbs = {
	.pending = vhost_packed_pending,
	.refresh = vhost_packed_refresh,
	.offered = vhost_packed_offered,
	.peek = vhost_packed_peek,
	.walk = {vhost_packed_walk, vhost_packed_walk_iommu},
	.take = vhost_packed_take,
	.put = vhost_packed_put,
	.publish = vhost_packed_publish,
	.want_call = vhost_packed_want_call,
	.arm = vhost_packed_arm,
	.disarm = vhost_packed_disarm,
	.position = vhost_packed_position,
};

extern const struct vhost_ring_layout vhost_ring_packed;

#endif
