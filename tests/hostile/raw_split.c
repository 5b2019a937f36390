/* SPDX-License-Identifier: BSD-3-Clause */
/* The raw driver's split rings (VIRTIO 1.2, section 2.7). */
#include "raw_layout.h"

#include <string.h>

static void reset(struct raw_ring *g, uint16_t used)
{
	memset(g->desc, 0, 0x1000);
	memset(g->avail, 0, 0x1000);
	memset(g->used, 0, 0x1000);
	g->avail_idx = g->used_seen = used;
	g->avail->idx = g->used->idx = used;
}

static uint32_t base(const struct raw_ring *g)
{
	return g->used_seen;
}

static struct vring_desc *desc(struct raw_ring *g, unsigned i)
{
	return &g->desc[i];
}

static void entry(const struct raw *r, void *table, unsigned i, const struct vring_desc *d)
{
	raw_desc_at(r, (struct vring_desc *)table + i, d->addr, d->len, d->flags, d->next);
}

static void offer(struct raw_ring *g, uint16_t head)
{
	shm_store16(&g->avail->ring[g->avail_idx++ % RAW_N], head);
}

static void publish(struct raw_ring *g)
{
	shm_store_release16(&g->avail->idx, g->avail_idx);
}

static int used(struct raw_ring *g, uint32_t *id, uint32_t *len)
{
	uint16_t idx = shm_load_acquire16(&g->used->idx);
	const struct vring_used_elem *e = &g->used->ring[g->used_seen % RAW_N];

	if (idx == g->used_seen)
		return 0;
	if ((uint16_t)(idx - g->used_seen) > RAW_N)
		return -1;
	*id = e->id;
	*len = e->len;
	g->used_seen++;
	return 1;
}

static uint32_t *words(struct raw_ring *g, unsigned i)
{
	return (uint32_t *)(void *)&g->desc[i];
}

const struct raw_layout raw_split = {
	.prefix = "",
	.reset = reset,
	.base = base,
	.desc = desc,
	.entry = entry,
	.offer = offer,
	.publish = publish,
	.used = used,
	.words = words,
};
