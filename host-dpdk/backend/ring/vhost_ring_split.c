/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_ring_split.h"

#include <errno.h>

_Static_assert(sizeof(struct vring_desc) == 16, "descriptor is 16 bytes");

/* A walk: the table it is in, and how many descriptors it may still visit. */
struct walk {
	const uint8_t *table; /* NULL: an indirect one behind an IOMMU, ... */
	struct iova at;	      /* ... where its entries may be in several places */
	uint32_t entries;
	uint32_t left;
	bool indirect;
};

/* Follows descriptor @d into its indirect table. 0 or -EPROTO. */
VHOST_INLINE int enter_indirect(struct vhost_ring *r, const bool iommu, struct walk *w,
				const struct vhost_desc *d)
{
	if (!r->indirect)
		return vhost_ring_break(r, VHOST_RING_IND_OFF);
	if (w->indirect)
		return vhost_ring_break(r, VHOST_RING_IND_NESTED);
	if (d->flags & VRING_DESC_F_NEXT)
		return vhost_ring_break(r, VHOST_RING_IND_NEXT);
	if (d->len == 0 || d->len % sizeof(struct vring_desc))
		return vhost_ring_break(r, VHOST_RING_IND_LEN);
	w->entries = d->len / (uint32_t)sizeof(struct vring_desc);
	if (w->entries > VHOST_RING_CHAIN_MAX)
		return vhost_ring_break(r, VHOST_RING_IND_LONG);
	w->table = iommu ? NULL : guest_mem_gpa(r->mem, &r->hint, gpa_of_iova(d->addr), d->len);
	if (!iommu && !w->table)
		return vhost_ring_break(r, VHOST_RING_IND_ADDR);
	w->at = d->addr;
	w->left = w->entries;
	w->indirect = true;
	return 0;
}

/* Copies entry @i of the table. 0, -EAGAIN, -EPROTO. */
VHOST_INLINE int entry(struct vhost_ring *r, const bool iommu, const struct walk *w, uint32_t i,
		       struct vhost_desc *d)
{
	const size_t off = (size_t)i * sizeof(struct vring_desc);
	uint8_t copy[sizeof(struct vring_desc)];
	int ret;

	if (!iommu || w->table) {
		vhost_split_desc_get(d, w->table + off);
		return 0;
	}
	ret = vhost_ring_copy_in(r, iova_add(w->at, off), copy, sizeof(copy));
	if (ret == -EFAULT)
		return vhost_ring_break(r, VHOST_RING_IND_ADDR);
	if (ret == 0)
		vhost_split_desc_get(d, copy);
	return ret;
}

VHOST_INLINE int walk(struct vhost_ring *r, const bool iommu, uint16_t head, struct vhost_segs *s,
		      uint32_t *ndesc)
{
	struct walk w = {.table = r->area.part[VHOST_DESC_AREA],
			 .entries = r->area.size,
			 .left = vhost_ring_longest(r)};
	uint32_t i = head, ring_descs = 0;

	for (;;) {
		struct vhost_desc d = {0}; /* entry() fills it when it returns 0 */
		int ret;

		if (i >= w.entries)
			return vhost_ring_break(r, w.indirect ? VHOST_RING_IND_BAD_NEXT
							      : VHOST_RING_BAD_NEXT);
		if (w.left-- == 0)
			return vhost_ring_break(r, VHOST_RING_CHAIN_LONG);
		r->walked++;
		ret = entry(r, iommu, &w, i, &d);
		if (ret < 0)
			return ret;
		ring_descs += !w.indirect;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* WRITE is ignored here (section 2.7.5.3.2). */
			if (enter_indirect(r, iommu, &w, &d) < 0)
				return -EPROTO;
			i = 0;
			continue;
		}
		ret = vhost_segs_add(r, iommu, s, &d);
		if (ret < 0)
			return ret;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		i = d.next;
	}
	*ndesc = ring_descs;
	return (int)s->n;
}

int vhost_split_walk(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		     uint32_t *ndesc)
{
	return walk(r, false, id, &(struct vhost_segs){.seg = seg, .max = max}, ndesc);
}

int vhost_split_walk_iommu(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
			   uint32_t *ndesc)
{
	r->lookups = 0;
	return walk(r, true, id, &(struct vhost_segs){.seg = seg, .max = max}, ndesc);
}

static size_t own_bytes(uint32_t size)
{
	size_t lines = (size * sizeof(uint64_t) + SHM_CACHE_LINE - 1) / SHM_CACHE_LINE;

	return lines * SHM_CACHE_LINE;
}

/* The contents of the used ring are unknown. No id is that large. */
static void forget(struct vhost_ring *r)
{
	memset(r->own, 0xff, own_bytes(r->area.size));
}

static void load(struct vhost_ring *r)
{
	uint16_t idx = le16toh(shm_load16(&vhost_split_used(r)->idx));

	r->split = (struct vhost_ring_split){idx, idx, idx, idx};
	forget(r);
	vhost_split_disarm(r);
}

static const char *pos_refused(struct vhost_ring_pos pos, uint32_t size)
{
	(void)size;
	return pos.v > UINT16_MAX ? "an index of a split ring has 16 bits" : NULL;
}

const struct vhost_ring_layout vhost_ring_split = {
	.name = "split",
	.verbs = &vhost_split_verbs,
	.part = {[VHOST_DESC_AREA] = {.per_entry = sizeof(struct vring_desc), .align = 16},
		 /* flags, idx, ring, used_event */
		 [VHOST_DRIVER_AREA] = {.fixed = 6, .per_entry = 2, .align = 2},
		 /* flags, idx, ring, avail_event */
		 [VHOST_DEVICE_AREA] = {.fixed = 6,
					.per_entry = sizeof(struct vring_used_elem),
					.align = 4}},
	.own_bytes = own_bytes,
	.pos_refused = pos_refused,
	.load = load,
	.moved = forget,
};
