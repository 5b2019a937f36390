/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_toy.h"

#include "vsock_burst.h"

/*
 * Entry i of all that were ever posted is at place i mod size. Its tag says whose it is: the
 * device's when it is avail_tag(i), the driver's again when it is used_tag(i).
 */
struct entry {
	uint32_t len;
	uint16_t id;
	uint16_t tag;
};

struct wish {
	uint16_t irq;	/* written by the driver: it wants interrupts */
	uint16_t quiet; /* written by the device: it wants no kicks */
};

struct toy {
	struct vring_desc *desc;
	struct entry *entry;
	struct wish *wish;
};

_Static_assert(sizeof(struct toy) <= sizeof(((struct virtq *)0)->priv), "enlarge virtq.priv");

static uint16_t avail_tag(uint16_t i)
{
	return (uint16_t)(2 * i + 1);
}

static uint16_t used_tag(uint16_t i)
{
	return (uint16_t)(2 * i + 2);
}

static const struct toy *toy_of(const struct virtq *vq)
{
	return (const struct toy *)vq->priv;
}

static size_t toy_bytes(uint32_t size)
{
	size_t n = VIRTQ_ALIGN + size * (sizeof(struct vring_desc) + sizeof(struct entry));

	return (n + VIRTQ_ALIGN - 1) & ~(size_t)(VIRTQ_ALIGN - 1);
}

/* The wishes first, the descriptors last. */
static void toy_reset(struct virtq *vq, bool event_idx)
{
	struct toy *t = (struct toy *)vq->priv;
	uint8_t *m = vq->mem;

	virtq_clear(vq, toy_bytes(vq->size), event_idx);
	t->wish = (struct wish *)m;
	t->entry = (struct entry *)(m + VIRTQ_ALIGN);
	t->desc = (struct vring_desc *)(t->entry + vq->size);
}

static void toy_set_bufs(struct virtq *vq, const struct virtq_bufs *b)
{
	for (uint16_t i = 0; i < b->count; i++) {
		toy_of(vq)->desc[i] = (struct vring_desc){
			.addr = iova_add(b->addr, i * b->stride).v,
			.len = b->len,
			.flags = b->write ? VRING_DESC_F_WRITE : 0,
		};
		vq->buf[i] = b->len;
	}
}

static void toy_areas(const struct virtq *vq, struct virtq_areas *a)
{
	const struct toy *t = toy_of(vq);

	*a = (struct virtq_areas){
		.desc = t->desc, .driver = t->entry, .device = t->wish, .size = vq->size};
}

static inline void toy_post(struct virtq *vq, uint16_t id, uint32_t len)
{
	struct entry *e = &toy_of(vq)->entry[vq->posted & vq->mask];

	vq->slot[vq->posted & vq->mask] = id;
	virtq_book_post(vq, id, len);
	toy_of(vq)->desc[id].len = len;
	e->id = id;
	e->len = len;
}

/* As in a split ring. */
static inline void toy_post_table(struct virtq *vq, uint16_t id, void *table, struct iova at,
				  const struct virtq_piece *piece, unsigned n)
{
	struct vring_desc *d = &toy_of(vq)->desc[id], *e = table;

	for (unsigned i = 0; i < n; i++)
		e[i] = (struct vring_desc){piece[i].at.v, piece[i].len,
					   i + 1 < n ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1)};
	d->addr = at.v;
	d->flags = VRING_DESC_F_INDIRECT;
	toy_post(vq, id, n * (uint32_t)sizeof(*e));
}

static inline void toy_end_table(struct virtq *vq, uint16_t id, struct iova own)
{
	toy_of(vq)->desc[id].addr = own.v;
	toy_of(vq)->desc[id].flags = 0;
}

static inline bool toy_publish(struct virtq *vq)
{
	for (; vq->published != vq->posted; vq->published++)
		shm_store_release16(&toy_of(vq)->entry[vq->published & vq->mask].tag,
				    avail_tag(vq->published));
	shm_mb();
	return !shm_load16(&toy_of(vq)->wish->quiet);
}

static inline unsigned toy_ready(struct virtq *vq, unsigned max)
{
	unsigned n = 0;

	while (!vq->fault && n < max && n < virtq_with_device(vq)) {
		uint16_t i = (uint16_t)(vq->taken + n);

		if (shm_load_acquire16(&toy_of(vq)->entry[i & vq->mask].tag) != used_tag(i))
			break;
		n++;
	}
	return n;
}

static inline bool toy_take(struct virtq *vq, bool write, uint16_t *id, uint32_t *len)
{
	const struct entry *e = &toy_of(vq)->entry[vq->taken & vq->mask];

	*id = shm_load16(&e->id);
	*len = shm_load32(&e->len);
	return virtq_book_take(vq, write, *id, *len);
}

static inline uint16_t toy_likely(const struct virtq *vq, unsigned nth)
{
	return vq->slot[(vq->taken + nth) & vq->mask];
}

static inline bool toy_used_beyond(const struct virtq *vq, uint16_t taken)
{
	return shm_load16(&toy_of(vq)->entry[taken & vq->mask].tag) == used_tag(taken);
}

static void toy_disarm(struct virtq *vq)
{
	if (vq->armed)
		shm_store16(&toy_of(vq)->wish->irq, 0);
	vq->armed = false;
}

static bool toy_arm(struct virtq *vq)
{
	if (vq->fault)
		return false;
	vq->armed = true;
	shm_store16(&toy_of(vq)->wish->irq, 1);
	shm_mb();
	if (!toy_used_beyond(vq, vq->taken))
		return true;
	toy_disarm(vq);
	return false;
}

static const struct virtq_layout toy = {
	.name = "toy",
	.feature = TOY_FEATURE,
	.bytes = toy_bytes,
	.reset = toy_reset,
	.set_bufs = toy_set_bufs,
	.areas = toy_areas,
	.post = toy_post,
	.post_table = toy_post_table,
	.end_table = toy_end_table,
	.publish = toy_publish,
	.ready = toy_ready,
	.take = toy_take,
	.likely = toy_likely,
	.used_beyond = toy_used_beyond,
	.arm = toy_arm,
	.disarm = toy_disarm,
};

VSOCK_RINGS(toy_rings, toy);

const struct vsock_rings *const toy_and_split[] = {&toy_rings, &vsock_rings_split, NULL};

/* ---- the device ---- */

static struct entry *dev_entry(const struct raw_ring *r, uint16_t i)
{
	return (struct entry *)r->avail + (i & (r->size - 1));
}

static bool dev_pop(struct raw_ring *r, uint16_t *id)
{
	struct entry *e = dev_entry(r, r->last_avail);

	if (shm_load_acquire16(&e->tag) != avail_tag(r->last_avail))
		return false;
	*id = e->id;
	r->last_avail++;
	return true;
}

static void dev_put(struct raw_ring *r, uint32_t id, uint32_t len)
{
	struct entry *e = dev_entry(r, r->used_idx++);

	shm_store16(&e->id, (uint16_t)id);
	shm_store32(&e->len, len);
}

static bool dev_flush(struct raw_ring *r)
{
	for (; r->flushed != r->used_idx; r->flushed++)
		shm_store_release16(&dev_entry(r, r->flushed)->tag, used_tag(r->flushed));
	shm_mb();
	return shm_load16(&((struct wish *)r->used)->irq);
}

static const struct raw_ops dev_ops = {dev_pop, dev_put, dev_flush};

struct raw_ring raw_toy(const struct virtq *vq, bool event_idx)
{
	struct virtq_areas a;

	toy.areas(vq, &a);
	return (struct raw_ring){.ops = &dev_ops,
				 .desc = a.desc,
				 .avail = a.driver,
				 .used = a.device,
				 .size = a.size,
				 .event_idx = event_idx};
}
