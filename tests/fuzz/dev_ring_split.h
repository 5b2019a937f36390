/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's half of split rings, for fuzz_dev_ring.c. */
#ifndef ZV_FUZZ_DEV_RING_SPLIT_H
#define ZV_FUZZ_DEV_RING_SPLIT_H

#include "dev_ring.h"

#define LAYOUT		  0u
#define ring_in_flight(r) vhost_split_in_flight(r)

static inline struct vring_avail *avail_of(struct state *s, unsigned ring)
{
	return (struct vring_avail *)(void *)s->w.view[ring * 3 + 1];
}

static inline void put_desc(struct state *s, struct fz *z, uint8_t *at)
{
	struct vring_desc d = {.addr = address(s, z)};
	uint8_t how = fz_u8(z);

	d.flags = how & 7;
	d.len = how & 8 ? fz_u32(z) : fz_u8(z);
	d.next = how & 16 ? fz_u16(z) : (uint16_t)fz_below(z, s->w.ring_size);
	if ((d.flags & VRING_DESC_F_INDIRECT) && !(how & 8))
		d.len *= 16;
	memcpy(at, &d, sizeof(d));
}

static inline void offer(struct state *s, unsigned ring, uint16_t head)
{
	struct vring_avail *a = avail_of(s, ring);

	a->ring[a->idx & (s->w.ring_size - 1)] = head;
	a->idx++;
}

static inline void give(struct state *s, unsigned ring, uint32_t k, const struct vring_desc *d)
{
	uint16_t i = (uint16_t)(k % s->w.ring_size);

	memcpy(s->w.view[ring * 3] + 16u * i, d, sizeof(*d));
	offer(s, ring, i);
}

static inline void tell_wish(struct state *s, unsigned ring, uint8_t v)
{
	avail_of(s, ring)->idx = (uint16_t)(avail_of(s, ring)->idx + v);
}

#endif
