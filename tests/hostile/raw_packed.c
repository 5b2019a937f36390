/* SPDX-License-Identifier: BSD-3-Clause */
/* The raw driver's packed rings (VIRTIO 1.2, section 2.8). */
#include "raw_layout.h"

#include <string.h>

static void put(struct raw_ring *g, unsigned at, uint64_t gpa, uint32_t len, uint16_t id,
		uint16_t flags, bool last_word)
{
	struct vring_packed_desc *d = raw_place(g, at);

	shm_store64((uint64_t *)(void *)&d->addr, gpa);
	if (last_word)
		shm_store_release64((uint64_t *)(void *)&d->len,
				    (uint64_t)flags << 48 | (uint64_t)id << 32 | len);
}

void raw_put_place(struct raw_ring *g, unsigned at, uint64_t gpa, uint32_t len, uint16_t id,
		   uint16_t flags)
{
	put(g, at, gpa, len, id, flags, true);
}

void raw_pass(struct raw_ring *g, unsigned n)
{
	for (; n; n--) {
		g->at = (uint16_t)((g->at + 1) % RAW_N);
		g->wrap ^= g->at == 0;
	}
}

/* The zeroed areas of event suppression ask for a notification each time. */
static void reset(struct raw_ring *g, uint16_t used)
{
	memset(g->desc, 0, 0x1000);
	memset(g->avail, 0, 0x1000);
	memset(g->used, 0, 0x1000);
	memset(g->chain, 0, sizeof(g->chain));
	g->avail_idx = g->used_seen = used;
	g->at = g->used_at = used;
	g->wrap = g->used_wrap = true;
	g->held = false;
	for (unsigned i = 0; i < used; i++)
		raw_put_place(g, i, 0, 0, 0, RAW_MARKS);
}

static uint32_t base(const struct raw_ring *g)
{
	uint32_t half = g->used_at | (uint32_t)g->used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR;

	return half << 16 | half;
}

static struct vring_desc *desc(struct raw_ring *g, unsigned i)
{
	return &g->chain[i];
}

static void entry(const struct raw *r, void *table, unsigned i, const struct vring_desc *d)
{
	struct vring_packed_desc *e = (struct vring_packed_desc *)table + i;

	shm_store64((uint64_t *)(void *)&e->addr, raw_gpa(r, d->addr));
	shm_store64((uint64_t *)(void *)&e->len, (uint64_t)d->flags << 48 | d->len);
}

/* The word of the first descriptor since the last publish is held back. */
static void offer(struct raw_ring *g, uint16_t head)
{
	uint16_t i = head, n = 0;
	bool more = true;

	for (; more && n < RAW_N; n++) {
		const struct vring_desc *d = &g->chain[i % RAW_N];
		uint16_t flags = (d->flags & (uint16_t)~RAW_MARKS) | raw_avail_marks(g);

		if (!g->held) {
			g->first_at = g->at;
			g->first = (uint64_t)flags << 48 | (uint64_t)head << 32 | d->len;
		}
		put(g, g->at, d->addr, d->len, head, flags, g->held);
		g->held = true;
		raw_pass(g, 1);
		more = d->flags & VRING_DESC_F_NEXT;
		i = d->next;
	}
	g->places[head % RAW_N] = n;
	g->avail_idx++;
}

static void publish(struct raw_ring *g)
{
	if (g->held)
		shm_store_release64((uint64_t *)(void *)&raw_place(g, g->first_at)->len, g->first);
	g->held = false;
}

static int used(struct raw_ring *g, uint32_t *id, uint32_t *len)
{
	uint64_t w = shm_load_acquire64((uint64_t *)(void *)&raw_place(g, g->used_at)->len);
	unsigned n;

	if (g->used_seen == g->avail_idx || (w >> 48 & RAW_MARKS) != raw_used_marks(g->used_wrap))
		return 0;
	*id = w >> 32 & UINT16_MAX;
	*len = (uint32_t)w;
	if (*id >= RAW_N)
		return -1;
	for (n = g->places[*id]; n; n--) {
		g->used_at = (uint16_t)((g->used_at + 1) % RAW_N);
		g->used_wrap ^= g->used_at == 0;
	}
	g->used_seen++;
	return 1;
}

static uint32_t *words(struct raw_ring *g, unsigned i)
{
	return (uint32_t *)(void *)raw_place(g, i);
}

const struct raw_layout raw_packed = {
	.prefix = "packed: ",
	.flags = RAW_PACKED,
	.feature = 1ull << 34,
	.reset = reset,
	.base = base,
	.desc = desc,
	.entry = entry,
	.offer = offer,
	.publish = publish,
	.used = used,
	.words = words,
};
