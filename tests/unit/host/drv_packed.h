/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's half of a packed ring, for tests that are written for split ones: the descriptors
 * that they write are their own, and drv_offer() copies a chain of them into the ring. The chain's
 * first descriptor is its id. See guest_fix.h, which includes this.
 */
#ifndef DRV_PACKED_H
#define DRV_PACKED_H

#include "guest_ram.h"
#include "ring/vhost_ring_packed.h"

#define DRV_LAYOUT VSOCK_FEATURE_RING_PACKED
#define DRV_MAX	   258u

#define PACKED_AVAIL ((uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL))
#define PACKED_USED  ((uint16_t)(1u << VRING_PACKED_DESC_F_USED))
#define PACKED_MARKS ((uint16_t)(PACKED_AVAIL | PACKED_USED))
#define PACKED_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

struct drv {
	struct vring_desc desc[DRV_MAX];
	uint16_t count[DRV_MAX]; /* descriptors in the ring, by id */
	struct vring_packed_desc *ring;
	uint32_t *driver, *device; /* event suppression: offset, wrap counter, flags */
	uint32_t posted, seen;	   /* descriptors, since the ring is there */
	uint16_t size;
	uint64_t off; /* of the ring in guest memory */
};

static inline void drv_make(struct drv *d, const struct guest *g, unsigned no, uint16_t size)
{
	memset(d, 0, sizeof(*d));
	d->off = no * G_RING;
	d->ring = (void *)(g->mem + d->off);
	d->driver = (void *)(g->mem + d->off + DRV_AVAIL);
	d->device = (void *)(g->mem + d->off + DRV_USED);
	d->size = size;
	memset(g->mem + d->off, 0, G_RING);
}

static inline bool drv_first_lap(const struct drv *d, uint32_t n)
{
	return n / d->size % 2 == 0;
}

/* The marks of an available descriptor at the @n-th place; of a used one. */
static inline uint16_t drv_avail_marks(const struct drv *d, uint32_t n)
{
	return drv_first_lap(d, n) ? PACKED_AVAIL : PACKED_USED;
}

static inline uint16_t drv_used_marks(const struct drv *d, uint32_t n)
{
	return drv_first_lap(d, n) ? PACKED_MARKS : 0;
}

static inline bool drv_is_used(const struct drv *d, uint32_t n)
{
	uint16_t flags = __atomic_load_n(&d->ring[n % d->size].flags, __ATOMIC_ACQUIRE);

	return n != d->posted && (flags & PACKED_MARKS) == drv_used_marks(d, n);
}

/* The @n-th place, as event suppression says it. */
static inline uint32_t drv_place(const struct drv *d, uint32_t n)
{
	return n % d->size | (drv_first_lap(d, n) ? PACKED_WRAP : 0);
}

/* Where the device stands that has returned all that it has taken, as in SET_VRING_BASE. */
static inline uint32_t drv_returned(const struct drv *d)
{
	uint32_t n = d->seen;

	while (drv_is_used(d, n))
		n += d->count[d->ring[n % d->size].id];
	return drv_place(d, n) << 16 | drv_place(d, n);
}

/* The same after @n chains of one descriptor. */
static inline uint32_t drv_base(const struct drv *d, uint32_t n)
{
	return drv_place(d, n) << 16 | drv_place(d, n);
}

/* The device's view of the same ring. */
static inline struct vhost_ring_area drv_area(const struct drv *d, const struct guest_mem *gm)
{
	uint8_t *base = gm->r[0].va + d->off;

	return (struct vhost_ring_area){.part = {base, base + DRV_AVAIL, base + DRV_USED},
					.size = d->size,
					.pos = {drv_returned(d)}};
}

/* Of a chain that is too long, or loops, there is as much in the ring as has room. */
static inline void drv_offer(struct drv *d, uint16_t head)
{
	struct vring_packed_desc *first = &d->ring[d->posted % d->size];
	uint32_t room = d->size - (d->posted - d->seen);
	uint16_t i = head, n = 0, first_flags = 0;
	bool more = true;

	for (; more && n < room; n++) {
		struct vring_packed_desc *to = &d->ring[d->posted % d->size];
		uint16_t flags = d->desc[i].flags | drv_avail_marks(d, d->posted);

		more = flags & VRING_DESC_F_NEXT;
		to->addr = d->desc[i].addr;
		to->len = d->desc[i].len;
		to->id = more ? 0xffff : head;
		if (n == 0)
			first_flags = flags;
		else
			to->flags = flags;
		d->posted++;
		i = d->desc[i].next;
	}
	d->count[head] = n;
	__atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

/* Takes the next used element. False: none. */
static inline bool drv_used(struct drv *d, uint32_t *id, uint32_t *len)
{
	const struct vring_packed_desc *used = &d->ring[d->seen % d->size];

	if (!drv_is_used(d, d->seen))
		return false;
	*id = used->id;
	*len = used->len;
	d->seen += d->count[used->id];
	return true;
}

/* Where the device asks to be kicked, with EVENT_IDX: after how many descriptors. */
static inline uint16_t drv_avail_event(const struct drv *d)
{
	uint32_t wish = *d->device, at = wish & (PACKED_WRAP - 1);

	assert_int_equal(wish >> 16, VRING_PACKED_EVENT_FLAG_DESC);
	return (uint16_t)(wish & PACKED_WRAP ? at : at + d->size);
}

/* Asks to be called for the one after @n. */
static inline void drv_used_event(struct drv *d, uint16_t n)
{
	*d->driver = VRING_PACKED_EVENT_FLAG_DESC << 16 | drv_place(d, n);
}

/* The driver changes the ring although the device has it: it has let it go. */
static inline void drv_let_go(struct drv *d)
{
	d->ring[0].addr++;
}

/* What no driver may do: the ring breaks at the next look. */
static inline void drv_lie(struct drv *d)
{
	for (unsigned i = 0; i < d->size; i++)
		d->desc[i] = (struct vring_desc){0, 0, VRING_DESC_F_NEXT, (uint16_t)(i + 1)};
	d->desc[d->size] = (struct vring_desc){0};
	drv_offer(d, 0);
}

/* The ring is as a driver makes it; what the device has had of it is forgotten. */
static inline void drv_begin_anew(struct drv *d)
{
	memset(d->ring, 0, d->size * sizeof(*d->ring));
	d->posted = d->seen = 0;
}

/* Chains that the device has taken and not put back. */
#define ring_in_flight(r) ((uint16_t)((r)->packed->head - (r)->packed->done))

/* Entry @i of an indirect table at @table. Its flags beside WRITE mean nothing, nor does its id. */
static inline void drv_table(void *table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	const struct vring_packed_desc d = {addr, len, 0xffff,
					    (uint16_t)(flags | (i % 2 ? PACKED_MARKS : 0))};

	memcpy((struct vring_packed_desc *)table + i, &d, sizeof(d));
}

#endif
