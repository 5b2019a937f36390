/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's half of a split ring. See guest_fix.h, which includes this. */
#ifndef DRV_SPLIT_H
#define DRV_SPLIT_H

#include "guest_ram.h"
#include "ring/vhost_ring_split.h"

#define DRV_LAYOUT 0u

struct drv {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size, avail_idx, seen;
	uint64_t off; /* of the ring in guest memory */
};

static inline void drv_make(struct drv *d, const struct guest *g, unsigned no, uint16_t size)
{
	memset(d, 0, sizeof(*d));
	d->off = no * G_RING;
	d->desc = (void *)(g->mem + d->off);
	d->avail = (void *)(g->mem + d->off + DRV_AVAIL);
	d->used = (void *)(g->mem + d->off + DRV_USED);
	d->size = size;
	memset(g->mem + d->off, 0, G_RING);
}

/* The device's view of the same ring. */
static inline struct vhost_ring_area drv_area(const struct drv *d, const struct guest_mem *gm)
{
	uint8_t *base = gm->r[0].va + d->off;

	return (struct vhost_ring_area){.part = {base, base + DRV_AVAIL, base + DRV_USED},
					.size = d->size};
}

/* Where the device stands that has returned all that it has taken, as in SET_VRING_BASE. */
static inline uint32_t drv_returned(const struct drv *d)
{
	return d->used->idx;
}

/* The same after @n chains of one descriptor. */
static inline uint32_t drv_base(const struct drv *d, uint32_t n)
{
	(void)d;
	return n & UINT16_MAX;
}

static inline void drv_offer(struct drv *d, uint16_t head)
{
	d->avail->ring[d->avail_idx & (d->size - 1)] = head;
	__atomic_store_n(&d->avail->idx, ++d->avail_idx, __ATOMIC_RELEASE);
}

/* Takes the next used element. False: none. */
static inline bool drv_used(struct drv *d, uint32_t *id, uint32_t *len)
{
	if (__atomic_load_n(&d->used->idx, __ATOMIC_ACQUIRE) == d->seen)
		return false;
	*id = d->used->ring[d->seen & (d->size - 1)].id;
	*len = d->used->ring[d->seen & (d->size - 1)].len;
	d->seen++;
	return true;
}

/* Where the device asks to be kicked, with EVENT_IDX. */
static inline uint16_t drv_avail_event(const struct drv *d)
{
	uint16_t v;

	memcpy(&v, &d->used->ring[d->size], sizeof(v));
	return v;
}

/* Asks to be called for the one after @n. */
static inline void drv_used_event(struct drv *d, uint16_t n)
{
	d->avail->ring[d->size] = n;
}

/* The driver changes the ring although the device has it: it has let it go. */
static inline void drv_let_go(struct drv *d)
{
	d->avail->idx++;
}

/* What no driver may do: the ring breaks at the next look. */
static inline void drv_lie(struct drv *d)
{
	d->avail->idx = (uint16_t)(d->avail_idx + d->size + 1);
}

/* The ring is as a driver makes it; what the device has had of it is forgotten. */
static inline void drv_begin_anew(struct drv *d)
{
	d->used->idx = 0;
}

/* Chains that the device has taken and not put back. */
#define ring_in_flight(r) vhost_split_in_flight(r)

/* Entry @i of an indirect table at @table; with NEXT the following one is the next. */
static inline void drv_table(void *table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	const struct vring_desc d = {addr, len, flags, (uint16_t)(i + 1)};

	memcpy((struct vring_desc *)table + i, &d, sizeof(d));
}

#endif
