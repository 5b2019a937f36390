/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device side of a split virtqueue (VIRTIO 1.2, section 2.7).
 *
 * Theory of operation
 * -------------------
 * The driver owns the descriptor table and the avail ring, we own the used ring; all three lie in
 * guest memory and the driver can change any byte at any time. So:
 *
 *  - Positions are private. last_avail and used_idx live here and are never read back; used->idx
 *    is read once, when a session starts, because the vhost-user protocol hands it over there.
 *  - avail->idx is loaded once with acquire (pairs with the driver's release of it, barrier pair
 *    [A]) and checked: what is in flight and what is newly offered cannot exceed the ring.
 *  - A descriptor is copied whole, and the copy is what is checked and used.
 *  - A chain has at most as many descriptors as the ring, a table of indirect descriptors at most
 *    as many as VHOST_RING_INDIRECT_MAX or the ring; a longer walk is a loop.
 *  - Every address is translated with its length, inside one region.
 *
 * A descriptor of length 0 is tolerated and skipped (its address is not looked at), but counts
 * against the length of the chain. A ring has one direction: on the ring that carries packets from
 * the driver every descriptor must be readable, on the other every one must be writable.
 *
 * A violation sets `broken`, which is never cleared; the ring must be loaded again.
 *
 * Notifications: with EVENT_IDX each side writes the index at which it wants to be told; without,
 * a flag. We publish used->idx, run a full barrier, then look at the driver's wish (barrier pair
 * [C]: the driver publishes its wish, runs a barrier, then looks at used->idx again). Asking to be
 * told is the same with the roles turned round.
 */
#ifndef ZV_VHOST_RING_H
#define ZV_VHOST_RING_H

#include "guest_mem.h"
#include "shm_access.h"
#include "transport.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VHOST_RING_SIZE_MAX	32768u
#define VHOST_RING_INDIRECT_MAX 1024u /* least bound of an indirect table, in descriptors */

enum vhost_ring_fault {
	VHOST_RING_OK = 0,
	VHOST_RING_BAD_AVAIL,	 /* avail->idx offers more than the ring holds, or ran backwards */
	VHOST_RING_BAD_HEAD,	 /* head index beyond the descriptor table */
	VHOST_RING_BAD_NEXT,	 /* next index beyond the descriptor table */
	VHOST_RING_CHAIN_LONG,	 /* more descriptors than the table has: a loop */
	VHOST_RING_CHAIN_BYTES,	 /* more than 4 GiB in a chain */
	VHOST_RING_BAD_ADDR,	 /* buffer not wholly inside one region */
	VHOST_RING_NOT_READABLE, /* writable descriptor on a ring of readable ones */
	VHOST_RING_NOT_WRITABLE, /* readable descriptor on a ring of writable ones */
	VHOST_RING_IND_OFF,	 /* indirect descriptor, but the feature was not negotiated */
	VHOST_RING_IND_NESTED,	 /* indirect descriptor inside an indirect table */
	VHOST_RING_IND_NEXT,	 /* INDIRECT and NEXT together */
	VHOST_RING_IND_LEN,	 /* table length 0 or not a multiple of 16 */
	VHOST_RING_IND_LONG,	 /* table too large */
	VHOST_RING_IND_ADDR,	 /* table not wholly inside one region */
	VHOST_RING_IND_BAD_NEXT, /* next index beyond the indirect table */
	VHOST_RING_SHORT,	 /* receive buffer without room for a packet header */
	VHOST_RING_FAULT,	 /* the memory behind the ring or its buffers was cut off */
	VHOST_RING_FAULTS,
};

/* "next index beyond the descriptor table": for logs. */
const char *vhost_ring_fault_text(unsigned fault);

struct vhost_ring {
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	const struct guest_mem *mem; /* for the buffers; not owned */
	uint32_t size;		     /* a power of two */
	uint32_t hint;		     /* guest_mem_gpa */
	uint16_t last_avail;	     /* next entry of the avail ring to take */
	uint16_t shadow;	     /* avail->idx as last loaded and checked */
	uint16_t used_idx;	     /* entries of the used ring filled */
	uint16_t published;	     /* used->idx as the driver knows it */
	bool event_idx;
	bool indirect;
	bool writable;	 /* direction of the ring */
	uint8_t broken;	 /* enum vhost_ring_fault */
	uint32_t most;	 /* most chains the driver has ever had in the ring at once */
	uint32_t walked; /* descriptors that vhost_ring_walk() has looked at; the caller's to reset
			  */
};

/* Where a ring is; the caller has translated and bounded all three areas. */
struct vhost_ring_area {
	struct vring_desc *desc;   /* 16 * size bytes, 16-byte aligned */
	struct vring_avail *avail; /* 6 + 2 * size bytes, 2-byte aligned */
	struct vring_used *used;   /* 6 + 8 * size bytes, 4-byte aligned */
	uint32_t size;
};

/*
 * Starts a session of a ring at the used index found in it: what had been taken and not returned
 * by a predecessor is taken again. -EINVAL: size or alignment.
 */
int vhost_ring_load(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem, bool event_idx, bool indirect, bool writable);

/* The same ring and session at other addresses (the memory table was replaced). -EINVAL. */
int vhost_ring_move(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem);

/* Chains taken from the ring and not yet put into the used ring. */
static inline uint32_t vhost_ring_in_flight(const struct vhost_ring *r)
{
	return (uint16_t)(r->last_avail - r->used_idx);
}

/* Chains known to wait. */
static inline uint32_t vhost_ring_pending(const struct vhost_ring *r)
{
	return (uint16_t)(r->shadow - r->last_avail);
}

/* Marks the ring broken; returns -EPROTO. */
int vhost_ring_break(struct vhost_ring *r, enum vhost_ring_fault why);

/* Loads and checks avail->idx; returns the chains that wait, 0 as well when the ring is broken. */
static inline uint32_t vhost_ring_refresh(struct vhost_ring *r)
{
	uint16_t idx = le16toh(shm_load_acquire16(&r->avail->idx)); /* barrier pair [A] */
	uint32_t n = (uint16_t)(idx - r->last_avail);
	uint32_t all = n + vhost_ring_in_flight(r);

	if (__builtin_expect(all > r->size || r->broken, 0)) {
		if (!r->broken)
			(void)vhost_ring_break(r, VHOST_RING_BAD_AVAIL);
		return 0;
	}
	r->shadow = idx;
	if (all > r->most)
		r->most = all;
	return n;
}

/* The head at position @pos of the avail ring, which must have been pending. False: broken. */
static inline bool vhost_ring_head(struct vhost_ring *r, uint16_t pos, uint16_t *head)
{
	uint16_t h = le16toh(shm_load16(&r->avail->ring[pos & (r->size - 1)]));

	if (__builtin_expect(h >= r->size, 0)) {
		(void)vhost_ring_break(r, VHOST_RING_BAD_HEAD);
		return false;
	}
	*head = h;
	return true;
}

/* Copies a descriptor, at any alignment, in CPU byte order. */
static inline void vhost_ring_desc_get(struct vring_desc *d, const void *shared)
{
	uint64_t addr = le64toh(shm_load64_any(shared));
	uint64_t rest = le64toh(shm_load64_any((const uint8_t *)shared + 8));

	d->addr = addr;
	d->len = (uint32_t)rest;
	d->flags = (uint16_t)(rest >> 32);
	d->next = (uint16_t)(rest >> 48);
}
_Static_assert(offsetof(struct vring_desc, len) == 8 && offsetof(struct vring_desc, flags) == 12 &&
		       offsetof(struct vring_desc, next) == 14,
	       "as vhost_ring_desc_get reads");

/*
 * Walks the chain at @head into at most @max segments. Returns their number (0 is possible), sets
 * *ndesc to the ring descriptors it occupies. -ENOSPC: it needs more segments; nothing is wrong.
 * -EPROTO: the ring is broken.
 */
int vhost_ring_walk(struct vhost_ring *r, uint16_t head, struct pkt_seg *seg, uint32_t max,
		    uint32_t *ndesc);

/* Most segments that a chain of this ring can have. */
static inline uint32_t vhost_ring_chain_max(const struct vhost_ring *r)
{
	uint32_t ind = r->size > VHOST_RING_INDIRECT_MAX ? r->size : VHOST_RING_INDIRECT_MAX;

	return r->size - 1 + ind;
}

/* Puts a chain into the used ring; the driver sees it after vhost_ring_publish. */
static inline void vhost_ring_used(struct vhost_ring *r, uint16_t head, uint32_t len)
{
	struct vring_used_elem e = {.id = htole32(head), .len = htole32(len)};

	/* One 8-byte store; the ring is 4-byte aligned only. */
	memcpy(&r->used->ring[r->used_idx & (r->size - 1)], &e, sizeof(e));
	r->used_idx++;
}

/* Publishes used->idx if it has moved. True: it has; after shm_mb() ask vhost_ring_want_call(). */
static inline bool vhost_ring_publish(struct vhost_ring *r)
{
	if (r->used_idx == r->published)
		return false;
	shm_store_release16(&r->used->idx, htole16(r->used_idx)); /* barrier pair [B] */
	return true;
}

/* After vhost_ring_publish() and shm_mb(): does the driver want to be told? Barrier pair [C]. */
static inline bool vhost_ring_want_call(struct vhost_ring *r)
{
	uint16_t old = r->published;

	r->published = r->used_idx;
	if (r->event_idx)
		return vring_need_event(le16toh(shm_load16(&r->avail->ring[r->size])), r->used_idx,
					old);
	return !(le16toh(shm_load16(&r->avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
}

/* Asks to be told when the driver offers the chain at avail index @event; then shm_mb(), pair [C].
 */
void vhost_ring_notify_on(struct vhost_ring *r, uint16_t event);
/* Asks not to be told. */
void vhost_ring_notify_off(struct vhost_ring *r);

#endif
