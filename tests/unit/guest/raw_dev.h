/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device side of a split virtqueue, written by hand for the tests: it does what a device does
 * and, on request, what no device may do.
 */
#ifndef ZV_TEST_RAW_DEV_H
#define ZV_TEST_RAW_DEV_H

#include "virtqueue.h"

#include <stdlib.h>

struct raw_ring {
	struct virtq *vq; /* only for where the rings are and how large */
	uint16_t last_avail;
	uint16_t used_idx;
};

static inline struct raw_ring raw_ring(struct virtq *vq)
{
	return (struct raw_ring){.vq = vq};
}

/* Takes the next available buffer. */
static inline bool raw_pop(struct raw_ring *r, uint16_t *id)
{
	*id = 0;
	if (r->last_avail == shm_load_acquire16(&r->vq->avail->idx))
		return false;
	*id = shm_load16(&r->vq->avail->ring[r->last_avail++ & (r->vq->size - 1)]);
	return true;
}

/* Writes a used entry without publishing it. */
static inline void raw_put(struct raw_ring *r, uint32_t id, uint32_t len)
{
	struct vring_used_elem *e = &r->vq->used->ring[r->used_idx++ & (r->vq->size - 1)];

	shm_store32(&e->id, id);
	shm_store32(&e->len, len);
}

/* Publishes. True: the driver wants an interrupt. */
static inline bool raw_flush(struct raw_ring *r)
{
	uint16_t old = shm_load16(&r->vq->used->idx);

	shm_store_release16(&r->vq->used->idx, r->used_idx);
	shm_mb();
	if (r->vq->event_idx)
		return vring_need_event(shm_load16(virtq_used_event(r->vq)), r->used_idx, old);
	return !(shm_load16(&r->vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

static inline bool raw_push(struct raw_ring *r, uint32_t id, uint32_t len)
{
	raw_put(r, id, len);
	return raw_flush(r);
}

/* Ring memory for a test. */
static inline void *ring_mem(uint32_t size)
{
	return aligned_alloc(VIRTQ_ALIGN, virtq_bytes(size));
}

#endif
