/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's half of packed rings, for fuzz_dev_ring.c. */
#ifndef ZV_FUZZ_DEV_RING_PACKED_H
#define ZV_FUZZ_DEV_RING_PACKED_H

#include "dev_ring.h"

#define LAYOUT		  VSOCK_FEATURE_RING_PACKED
#define ring_in_flight(r) ((uint16_t)((r)->packed->head - (r)->packed->done))

static inline void put_desc(struct state *s, struct fz *z, uint8_t *at)
{
	struct vring_packed_desc d = {.addr = address(s, z)};
	uint8_t how = fz_u8(z);

	d.flags = (uint16_t)((how & 7) | (how & 32 ? VHOST_PACKED_AVAIL : 0) |
			     (how & 64 ? VHOST_PACKED_USED : 0));
	d.len = how & 8 ? fz_u32(z) : fz_u8(z);
	d.id = how & 16 ? fz_u16(z) : (uint16_t)fz_below(z, s->w.ring_size);
	if ((d.flags & VRING_DESC_F_INDIRECT) && !(how & 8))
		d.len *= 16;
	memcpy(at, &d, sizeof(d));
}

/* Where the device looks next, or @ahead behind that; what was seen there is made available. */
static inline uint8_t *place(struct state *s, unsigned ring, uint32_t ahead, uint16_t *marks)
{
	const struct vhost_ring *r = ring == VHOST_TO_GUEST ? &s->q->to_guest : &s->q->from_guest;
	struct vhost_packed_pos p = r->packed->next_avail;

	vhost_packed_advance(&p, (uint16_t)(ahead % s->w.ring_size), s->w.ring_size);
	*marks = p.marks;
	return s->w.view[ring * 3] + 16u * p.at;
}

static inline void offer(struct state *s, unsigned ring, uint16_t ahead)
{
	struct vring_packed_desc d;
	uint16_t marks;
	uint8_t *at = place(s, ring, ahead % 4, &marks);

	memcpy(&d, at, sizeof(d));
	d.flags = (uint16_t)((d.flags & 7) | marks);
	memcpy(at, &d, sizeof(d));
}

/* A descriptor, whole and available; the @k-th of those that the caller puts there. */
static inline void give(struct state *s, unsigned ring, uint32_t k, const struct vring_desc *from)
{
	uint16_t marks;
	uint8_t *at = place(s, ring, k, &marks);
	const struct vring_packed_desc d = {from->addr, from->len, (uint16_t)k,
					    (uint16_t)(from->flags | marks)};

	memcpy(at, &d, sizeof(d));
}

static inline void tell_wish(struct state *s, unsigned ring, uint8_t v)
{
	s->w.view[ring * 3 + 1][v & 3] = (uint8_t)(v >> 2);
}

#endif
