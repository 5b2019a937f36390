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
 *    as many as DVRING_INDIRECT_MAX or the ring; a longer walk is a loop.
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
#ifndef ZV_VRING_H
#define ZV_VRING_H

#include "guest_mem.h"
#include "shm_access.h"
#include "transport.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DVRING_SIZE_MAX	    32768u
#define DVRING_INDIRECT_MAX 1024u /* least bound of an indirect table, in descriptors */

enum dvring_fault {
	DVRING_OK = 0,
	DVRING_BAD_AVAIL,    /* avail->idx offers more than the ring holds, or ran backwards */
	DVRING_BAD_HEAD,     /* head index beyond the descriptor table */
	DVRING_BAD_NEXT,     /* next index beyond the descriptor table */
	DVRING_CHAIN_LONG,   /* more descriptors than the table has: a loop */
	DVRING_CHAIN_BYTES,  /* more than 4 GiB in a chain */
	DVRING_BAD_ADDR,     /* buffer not wholly inside one region */
	DVRING_NOT_READABLE, /* writable descriptor on a ring of readable ones */
	DVRING_NOT_WRITABLE, /* readable descriptor on a ring of writable ones */
	DVRING_IND_OFF,	     /* indirect descriptor, but the feature was not negotiated */
	DVRING_IND_NESTED,   /* indirect descriptor inside an indirect table */
	DVRING_IND_NEXT,     /* INDIRECT and NEXT together */
	DVRING_IND_LEN,	     /* table length 0 or not a multiple of 16 */
	DVRING_IND_LONG,     /* table too large */
	DVRING_IND_ADDR,     /* table not wholly inside one region */
	DVRING_IND_BAD_NEXT, /* next index beyond the indirect table */
	DVRING_SHORT,	     /* receive buffer without room for a packet header */
	DVRING_FAULT,	     /* the memory behind the ring or its buffers was cut off */
	DVRING_FAULTS,
};

/* "next index beyond the descriptor table": for logs. */
const char *dvring_fault_text(unsigned fault);

struct dvring {
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
	uint8_t broken;	 /* enum dvring_fault */
	uint32_t most;	 /* most chains the driver has ever had in the ring at once */
	uint32_t walked; /* descriptors that dvring_walk() has looked at; the caller's to reset */
};

/* Where a ring is; the caller has translated and bounded all three areas. */
struct dvring_area {
	struct vring_desc *desc;   /* 16 * size bytes, 16-byte aligned */
	struct vring_avail *avail; /* 6 + 2 * size bytes, 2-byte aligned */
	struct vring_used *used;   /* 6 + 8 * size bytes, 4-byte aligned */
	uint32_t size;
};

/*
 * Starts a session of a ring at the used index found in it: what had been taken and not returned
 * by a predecessor is taken again. -EINVAL: size or alignment.
 */
int dvring_load(struct dvring *r, const struct dvring_area *a, const struct guest_mem *mem,
		bool event_idx, bool indirect, bool writable);

/* The same ring and session at other addresses (the memory table was replaced). -EINVAL. */
int dvring_move(struct dvring *r, const struct dvring_area *a, const struct guest_mem *mem);

/* Chains taken from the ring and not yet put into the used ring. */
static inline uint32_t dvring_in_flight(const struct dvring *r)
{
	return (uint16_t)(r->last_avail - r->used_idx);
}

/* Chains known to wait. */
static inline uint32_t dvring_pending(const struct dvring *r)
{
	return (uint16_t)(r->shadow - r->last_avail);
}

/* Marks the ring broken; returns -EPROTO. */
int dvring_break(struct dvring *r, enum dvring_fault why);

/* Loads and checks avail->idx; returns the chains that wait, 0 as well when the ring is broken. */
static inline uint32_t dvring_refresh(struct dvring *r)
{
	uint16_t idx = le16toh(shm_load_acquire16(&r->avail->idx)); /* barrier pair [A] */
	uint32_t n = (uint16_t)(idx - r->last_avail);
	uint32_t all = n + dvring_in_flight(r);

	if (__builtin_expect(all > r->size || r->broken, 0)) {
		if (!r->broken)
			(void)dvring_break(r, DVRING_BAD_AVAIL);
		return 0;
	}
	r->shadow = idx;
	if (all > r->most)
		r->most = all;
	return n;
}

/* The head at position @pos of the avail ring, which must have been pending. False: broken. */
static inline bool dvring_head(struct dvring *r, uint16_t pos, uint16_t *head)
{
	uint16_t h = le16toh(shm_load16(&r->avail->ring[pos & (r->size - 1)]));

	if (__builtin_expect(h >= r->size, 0)) {
		(void)dvring_break(r, DVRING_BAD_HEAD);
		return false;
	}
	*head = h;
	return true;
}

/* Copies a descriptor, at any alignment, in CPU byte order. */
static inline void dvring_desc_get(struct vring_desc *d, const void *shared)
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
	       "as dvring_desc_get reads");

/*
 * Walks the chain at @head into at most @max segments. Returns their number (0 is possible), sets
 * *ndesc to the ring descriptors it occupies. -ENOSPC: it needs more segments; nothing is wrong.
 * -EPROTO: the ring is broken.
 */
int dvring_walk(struct dvring *r, uint16_t head, struct pkt_seg *seg, uint32_t max,
		uint32_t *ndesc);

/* Most segments that a chain of this ring can have. */
static inline uint32_t dvring_chain_max(const struct dvring *r)
{
	uint32_t ind = r->size > DVRING_INDIRECT_MAX ? r->size : DVRING_INDIRECT_MAX;

	return r->size - 1 + ind;
}

/* Puts a chain into the used ring; the driver sees it after dvring_publish. */
static inline void dvring_used(struct dvring *r, uint16_t head, uint32_t len)
{
	struct vring_used_elem e = {.id = htole32(head), .len = htole32(len)};

	/* One 8-byte store; the ring is 4-byte aligned only. */
	memcpy(&r->used->ring[r->used_idx & (r->size - 1)], &e, sizeof(e));
	r->used_idx++;
}

/* Publishes used->idx if it has moved. True: it has; after shm_mb() ask dvring_want_call(). */
static inline bool dvring_publish(struct dvring *r)
{
	if (r->used_idx == r->published)
		return false;
	shm_store_release16(&r->used->idx, htole16(r->used_idx)); /* barrier pair [B] */
	return true;
}

/* After dvring_publish() and shm_mb(): does the driver want to be told? Barrier pair [C]. */
static inline bool dvring_want_call(struct dvring *r)
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
void dvring_notify_on(struct dvring *r, uint16_t event);
/* Asks not to be told. */
void dvring_notify_off(struct dvring *r);

#endif
