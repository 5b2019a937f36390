/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device side of a virtqueue, written by hand for the tests: it does what a device does and, on
 * request, what no device may do. Of a split ring here; raw_packed.c and ring_toy.c have others.
 */
#ifndef ZV_TEST_RAW_DEV_H
#define ZV_TEST_RAW_DEV_H

#include "vsock_rings.h"

#include <linux/virtio_ring.h>
#include <stdlib.h>

struct raw_ring;

struct raw_ops {
	/* Takes the next available buffer. False: there is none. */
	bool (*pop)(struct raw_ring *r, uint16_t *id);
	/* Writes that a buffer has been used, without publishing it. */
	void (*put)(struct raw_ring *r, uint32_t id, uint32_t len);
	/* Publishes. True: the driver wants an interrupt. */
	bool (*flush)(struct raw_ring *r);
};

/* Where the ring is, and the device's own positions. */
struct raw_ring {
	const struct raw_ops *ops;
	struct vring_desc *desc; /* of all layouts: by buffer */
	struct vring_avail *avail;
	struct vring_used *used;
	uint32_t *driver_event, *device_event; /* of packed rings */
	uint32_t size;
	bool event_idx;
	uint16_t last_avail;
	uint16_t used_idx;
	uint16_t flushed;
};

static inline bool raw_pop(struct raw_ring *r, uint16_t *id)
{
	*id = 0;
	return r->ops->pop(r, id);
}

static inline void raw_put(struct raw_ring *r, uint32_t id, uint32_t len)
{
	r->ops->put(r, id, len);
}

static inline bool raw_flush(struct raw_ring *r)
{
	return r->ops->flush(r);
}

static inline bool raw_push(struct raw_ring *r, uint32_t id, uint32_t len)
{
	raw_put(r, id, len);
	return raw_flush(r);
}

/* ---- split ---- */

static inline uint16_t *raw_used_event(const struct raw_ring *r)
{
	return &r->avail->ring[r->size];
}

static inline uint16_t *raw_avail_event(const struct raw_ring *r)
{
	return (uint16_t *)&r->used->ring[r->size];
}

static inline bool raw_split_pop(struct raw_ring *r, uint16_t *id)
{
	if (r->last_avail == shm_load_acquire16(&r->avail->idx))
		return false;
	*id = shm_load16(&r->avail->ring[r->last_avail++ & (r->size - 1)]);
	return true;
}

static inline void raw_split_put(struct raw_ring *r, uint32_t id, uint32_t len)
{
	struct vring_used_elem *e = &r->used->ring[r->used_idx++ & (r->size - 1)];

	shm_store32(&e->id, id);
	shm_store32(&e->len, len);
}

static inline bool raw_split_flush(struct raw_ring *r)
{
	uint16_t old = shm_load16(&r->used->idx);

	shm_store_release16(&r->used->idx, r->used_idx);
	shm_mb();
	if (r->event_idx)
		return vring_need_event(shm_load16(raw_used_event(r)), r->used_idx, old);
	return !(shm_load16(&r->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

static const struct raw_ops raw_split_ops = {raw_split_pop, raw_split_put, raw_split_flush};

/* The device's side of a fresh split ring. */
static inline struct raw_ring raw_split(const struct virtq *vq, bool event_idx)
{
	struct virtq_areas a;

	vsock_rings_split.layout->areas(vq, &a);
	return (struct raw_ring){.ops = &raw_split_ops,
				 .desc = a.desc,
				 .avail = a.driver,
				 .used = a.device,
				 .size = a.size,
				 .event_idx = event_idx};
}

#endif
