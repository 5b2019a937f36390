/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw_packed.h"

#include <string.h>

#define AVAIL ((uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL))
#define USED  ((uint16_t)(1u << VRING_PACKED_DESC_F_USED))

struct vring_packed_desc *raw_packed_at(const struct raw_ring *r, uint16_t n)
{
	return (struct vring_packed_desc *)(void *)r->avail + (n & (r->size - 1));
}

static bool wrap_of(const struct raw_ring *r, uint16_t n)
{
	return !(n & r->size);
}

uint32_t raw_packed_place(const struct raw_ring *r, uint16_t n)
{
	return (n & (r->size - 1)) | (uint32_t)wrap_of(r, n) << VRING_PACKED_EVENT_F_WRAP_CTR;
}

static bool dev_pop(struct raw_ring *r, uint16_t *id)
{
	struct vring_packed_desc *d = raw_packed_at(r, r->last_avail);
	uint16_t flags = shm_load_acquire16(&d->flags);

	if ((flags & (AVAIL | USED)) != (wrap_of(r, r->last_avail) ? AVAIL : USED))
		return false;
	r->last_avail++;
	*id = d->id;
	r->desc[*id] = (struct vring_desc){
		.addr = d->addr, .len = d->len, .flags = flags & (uint16_t) ~(AVAIL | USED)};
	return true;
}

static void dev_put(struct raw_ring *r, uint32_t id, uint32_t len)
{
	struct vring_packed_desc *d = raw_packed_at(r, r->used_idx++);

	d->addr = UINT64_MAX; /* of a used descriptor it means nothing */
	shm_store16(&d->id, (uint16_t)id);
	shm_store32(&d->len, len);
}

static bool dev_flush(struct raw_ring *r)
{
	uint16_t old = r->flushed;
	uint32_t wish;

	for (; r->flushed != r->used_idx; r->flushed++)
		shm_store_release16(&raw_packed_at(r, r->flushed)->flags,
				    wrap_of(r, r->flushed) ? AVAIL | USED : 0);
	shm_mb();
	wish = shm_load32(r->driver_event);
	if (wish >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return wish >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	for (; old != r->flushed; old++)
		if (raw_packed_place(r, old) == (wish & UINT16_MAX))
			return true;
	return false;
}

static const struct raw_ops dev_ops = {dev_pop, dev_put, dev_flush};

/* The device's own table of descriptors, by buffer: one for each ring there has ever been. */
static struct vring_desc *table_of(const void *ring, uint32_t size)
{
	static struct table {
		const void *ring;
		struct vring_desc *desc;
	} known[64];
	static unsigned next;
	unsigned i = 0;

	while (i < 64 && known[i].ring != ring)
		i++;
	if (i == 64)
		i = next++ % 64;
	free(known[i].desc);
	known[i] = (struct table){ring, calloc(size, sizeof(struct vring_desc))};
	return known[i].desc;
}

struct raw_ring raw_packed(const struct virtq *vq, bool event_idx)
{
	struct virtq_areas a;

	vsock_rings_packed.layout->areas(vq, &a);
	return (struct raw_ring){.ops = &dev_ops,
				 .desc = table_of(a.desc, a.size),
				 .avail = a.desc,
				 .driver_event = a.driver,
				 .device_event = a.device,
				 .size = a.size,
				 .event_idx = event_idx};
}
