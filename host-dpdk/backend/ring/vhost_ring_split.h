/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verbs of the split layout (VIRTIO 1.2, section 2.7), device side. Rules and theory: vhost_ring.h.
 *
 * The driver owns the descriptor table and the avail ring, we own the used ring. last_avail and
 * used_idx are private. used->idx is read once, when a session starts, because it gives the
 * position of the ring even after a backend has died. The id of a chain is the index of its first
 * descriptor.
 *
 * A copy of what we have written to the used ring is kept in `own`, and an entry is written again
 * only if it differs: buffers that circulate in a fixed order return to the same places, and then
 * the driver keeps these lines in its cache. The used ring itself is never read, so what a driver
 * writes there affects only the driver.
 *
 * With EVENT_IDX each side writes the index at which it wants to be notified behind the last entry
 * of its ring; without it, a flag.
 */
#ifndef ZV_VHOST_RING_SPLIT_H
#define ZV_VHOST_RING_SPLIT_H

#include "vhost_ring.h"

static inline const struct vring_desc *vhost_split_table(const struct vhost_ring *r)
{
	return r->area.part[VHOST_DESC_AREA];
}

static inline struct vring_avail *vhost_split_avail(const struct vhost_ring *r)
{
	return r->area.part[VHOST_DRIVER_AREA];
}

static inline struct vring_used *vhost_split_used(const struct vhost_ring *r)
{
	return r->area.part[VHOST_DEVICE_AREA];
}

/* Chains taken and not yet put back. */
VHOST_INLINE uint32_t vhost_split_in_flight(const struct vhost_ring *r)
{
	return (uint16_t)(r->split.last_avail - r->split.used_idx);
}

VHOST_INLINE uint32_t vhost_split_pending(const struct vhost_ring *r)
{
	return (uint16_t)(r->split.shadow - r->split.last_avail);
}

VHOST_INLINE uint16_t vhost_split_offered(const struct vhost_ring *r)
{
	return r->split.shadow;
}

VHOST_INLINE uint32_t vhost_split_refresh(struct vhost_ring *r)
{
	const struct vring_avail *avail = vhost_split_avail(r);
	uint16_t idx = le16toh(shm_load_acquire16(&avail->idx)); /* barrier pair [A] */
	uint32_t n = (uint16_t)(idx - r->split.last_avail);
	uint32_t all = n + vhost_split_in_flight(r);

	if (__builtin_expect(all > r->area.size || r->broken, 0)) {
		if (!r->broken)
			(void)vhost_ring_break(r, VHOST_RING_BAD_AVAIL);
		return 0;
	}
	r->split.shadow = idx;
	if (all > r->max_pending)
		r->max_pending = all;
	return n;
}

/* Copies a descriptor, at any alignment, in CPU byte order. */
static inline void vhost_split_desc_get(struct vhost_desc *d, const void *shared)
{
	uint64_t addr = le64toh(shm_load64_any(shared));
	uint64_t rest = le64toh(shm_load64_any((const uint8_t *)shared + 8));

	d->addr.v = addr;
	d->len = (uint32_t)rest;
	d->flags = (uint16_t)(rest >> 32);
	d->next = (uint16_t)(rest >> 48);
}
_Static_assert(offsetof(struct vring_desc, len) == 8 && offsetof(struct vring_desc, flags) == 12 &&
		       offsetof(struct vring_desc, next) == 14,
	       "as vhost_split_desc_get reads");

VHOST_INLINE bool vhost_split_peek(struct vhost_ring *r, uint32_t i, uint16_t *id,
				   struct vhost_desc *d)
{
	const struct vring_avail *avail = vhost_split_avail(r);
	uint32_t slot = (r->split.last_avail + i) & (r->area.size - 1);
	uint16_t head = le16toh(shm_load16(&avail->ring[slot]));

	if (__builtin_expect(head >= r->area.size, 0)) {
		(void)vhost_ring_break(r, VHOST_RING_BAD_HEAD);
		return false;
	}
	*id = head;
	vhost_split_desc_get(d, &vhost_split_table(r)[head]);
	return true;
}

int vhost_split_walk(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		     uint32_t *ndesc);
int vhost_split_walk_iommu(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
			   uint32_t *ndesc);

VHOST_INLINE void vhost_split_take(struct vhost_ring *r)
{
	r->split.last_avail++;
}

VHOST_INLINE void vhost_split_put(struct vhost_ring *r, uint16_t id, uint32_t len)
{
	struct vring_used_elem e = {.id = htole32(id), .len = htole32(len)};
	uint32_t at = r->split.used_idx++ & (r->area.size - 1);
	uint64_t *wrote = (uint64_t *)r->own + at, now;

	memcpy(&now, &e, sizeof(now));
	if (*wrote == now)
		return;
	*wrote = now;
	/* One 8-byte store; the ring is 4-byte aligned only. */
	memcpy(&vhost_split_used(r)->ring[at], &now, sizeof(now));
}
_Static_assert(sizeof(struct vring_used_elem) == 8, "used element is 8 bytes");

VHOST_INLINE bool vhost_split_publish(struct vhost_ring *r)
{
	struct vring_used *used = vhost_split_used(r);

	if (r->split.used_idx == r->split.published)
		return false;
	shm_store_release16(&used->idx, htole16(r->split.used_idx)); /* barrier pair [B] */
	return true;
}

VHOST_INLINE bool vhost_split_want_call(struct vhost_ring *r)
{
	const struct vring_avail *avail = vhost_split_avail(r);
	uint16_t old = r->split.published;

	r->split.published = r->split.used_idx;
	if (r->event_idx)
		return vring_need_event(le16toh(shm_load16(&avail->ring[r->area.size])),
					r->split.used_idx, old);
	return !(le16toh(shm_load16(&avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
}

static inline void vhost_split_arm(struct vhost_ring *r, uint32_t more)
{
	struct vring_used *used = vhost_split_used(r);
	uint16_t event = (uint16_t)(r->split.shadow + more);

	if (r->event_idx)
		/* avail_event is behind the last element; 2-byte aligned because the ring is 4. */
		shm_store16((uint16_t *)(void *)&used->ring[r->area.size], htole16(event));
	else
		shm_store16(&used->flags, 0);
}

static inline void vhost_split_disarm(struct vhost_ring *r)
{
	struct vring_used *used = vhost_split_used(r);

	/* With EVENT_IDX an index that has been passed suppresses until the counter wraps. */
	if (!r->event_idx)
		shm_store16(&used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}

static inline struct vhost_ring_pos vhost_split_position(const struct vhost_ring *r)
{
	return (struct vhost_ring_pos){r->split.last_avail};
}

static const struct vhost_ring_verbs vhost_split_verbs = {
	.pending = vhost_split_pending,
	.refresh = vhost_split_refresh,
	.offered = vhost_split_offered,
	.peek = vhost_split_peek,
	.walk = {vhost_split_walk, vhost_split_walk_iommu},
	.take = vhost_split_take,
	.put = vhost_split_put,
	.publish = vhost_split_publish,
	.want_call = vhost_split_want_call,
	.arm = vhost_split_arm,
	.disarm = vhost_split_disarm,
	.position = vhost_split_position,
};

extern const struct vhost_ring_layout vhost_ring_split;

#endif
