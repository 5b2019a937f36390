/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The split layout (VIRTIO 1.2, section 2.7).
 *
 * Descriptor i always belongs to buffer i. A receive descriptor is written once and its cache line
 * stays shared between the two CPUs; of a transmit descriptor only len ever changes, and it is
 * stored only when it differs from the last one. The same holds for the entries of the avail ring:
 * buffers that circulate in FIFO order return to the same positions, and then a message costs no
 * store to the descriptor table or the avail ring at all, only to the avail index.
 */
#include "vsock_burst.h"

#include <linux/virtio_ring.h>

/* How far the used index runs before the parked used_event is moved along; see split_refresh(). */
#define PARK_REFRESH 0x4000u

/* The avail index is vq->posted, the used index up to which entries were taken vq->taken. */
struct split {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t used_seen; /* used->idx as last loaded and checked */
	uint16_t event;	    /* used_event (or avail->flags without EVENT_IDX) as last stored */
};

_Static_assert(sizeof(struct split) <= sizeof(((struct virtq *)0)->priv), "enlarge virtq.priv");

static inline struct split *split_of(struct virtq *vq)
{
	return (struct split *)vq->priv;
}

static inline const struct split *split_const(const struct virtq *vq)
{
	return (const struct split *)vq->priv;
}

static inline uint16_t *used_event(struct virtq *vq)
{
	return &split_of(vq)->avail->ring[vq->size];
}

static inline uint16_t *avail_event(struct virtq *vq)
{
	return (uint16_t *)&split_of(vq)->used->ring[vq->size];
}

/* ---- memory ---- */

static size_t align_up(size_t n)
{
	return (n + VIRTQ_ALIGN - 1) & ~(size_t)(VIRTQ_ALIGN - 1);
}

static size_t avail_offset(uint32_t size)
{
	return align_up(sizeof(struct vring_desc) * size);
}

static size_t used_offset(uint32_t size)
{
	/* flags, idx, ring, used_event */
	return avail_offset(size) + align_up(2 * sizeof(uint16_t) + sizeof(uint16_t) * (size + 1));
}

static size_t split_bytes(uint32_t size)
{
	/* flags, idx, ring, avail_event */
	return used_offset(size) +
	       align_up(2 * sizeof(uint16_t) + sizeof(struct vring_used_elem) * size +
			sizeof(uint16_t));
}

static void split_set_bufs(struct virtq *vq, const struct virtq_bufs *b)
{
	for (uint16_t i = 0; i < b->count; i++) {
		const struct vring_desc d = {
			.addr = iova_add(b->addr, i * b->stride).v,
			.len = b->len,
			.flags = b->write ? VRING_DESC_F_WRITE : 0,
		};

		/* Not visible to the device before a publish. */
		memcpy(&split_of(vq)->desc[i], &d, sizeof(d));
		vq->buf[i] = b->len;
	}
}

static void split_areas(const struct virtq *vq, struct virtq_areas *a)
{
	const struct split *s = split_const(vq);

	*a = (struct virtq_areas){.desc = s->desc,
				  .driver = s->avail,
				  .device = s->used,
				  .size = vq->size,
				  .base = vq->posted};
}

/* ---- posting ---- */

static inline void split_post(struct virtq *vq, uint16_t id, uint32_t len)
{
	struct split *s = split_of(vq);
	uint16_t at = vq->posted & vq->mask;

	if (vq->buf[id] != len)
		shm_store32(&s->desc[id].len, len);
	virtq_book_post(vq, id, len);
	if (vq->slot[at] != id) {
		vq->slot[at] = id;
		shm_store16(&s->avail->ring[at], id);
	}
}

static inline void split_post_table(struct virtq *vq, uint16_t id, void *table, struct iova at,
				    const struct virtq_piece *piece, unsigned n)
{
	struct vring_desc *d = &split_of(vq)->desc[id];

	for (unsigned i = 0; i < n; i++) {
		const struct vring_desc e = {.addr = piece[i].at.v,
					     .len = piece[i].len,
					     .flags = i + 1 < n ? VRING_DESC_F_NEXT : 0,
					     .next = (uint16_t)(i + 1)};

		/* Not visible to the device before a publish. */
		memcpy((struct vring_desc *)table + i, &e, sizeof(e));
	}
	shm_store64((uint64_t *)(void *)&d->addr, at.v);
	shm_store16(&d->flags, VRING_DESC_F_INDIRECT);
	split_post(vq, id, n * (uint32_t)sizeof(*d));
}

static inline void split_end_table(struct virtq *vq, uint16_t id, struct iova own)
{
	struct vring_desc *d = &split_of(vq)->desc[id];

	shm_store64((uint64_t *)(void *)&d->addr, own.v);
	shm_store16(&d->flags, 0);
}

static inline bool split_publish(struct virtq *vq)
{
	struct split *s = split_of(vq);
	uint16_t old = vq->published;

	vq->published = vq->posted;
	shm_store_release16(&s->avail->idx, vq->posted); /* barrier pair [A] */
	shm_mb();					 /* barrier pair [C] */
	if (vq->event_idx)
		return vring_need_event(shm_load16(avail_event(vq)), vq->published, old);
	return !(shm_load16(&s->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* ---- notification ---- */

/* Sets where the device notifies: used_event, or (without EVENT_IDX) avail->flags. */
static void notify_at(struct virtq *vq, uint16_t event)
{
	struct split *s = split_of(vq);

	if (s->event == event)
		return;
	s->event = event;
	if (vq->event_idx)
		shm_store16(used_event(vq), event);
	else
		shm_store16(&s->avail->flags, event);
}

static void split_disarm(struct virtq *vq)
{
	if (!vq->armed)
		return;
	vq->armed = false;
	notify_at(vq, vq->event_idx ? (uint16_t)(vq->taken - 1) : VRING_AVAIL_F_NO_INTERRUPT);
}

static bool split_arm(struct virtq *vq)
{
	if (vq->fault || split_of(vq)->used_seen != vq->taken)
		return false;
	vq->armed = true;
	notify_at(vq, vq->event_idx ? vq->taken : 0);
	shm_mb(); /* barrier pair [C] */
	if (shm_load16(&split_of(vq)->used->idx) == vq->taken)
		return true;
	split_disarm(vq);
	return false;
}

static void split_reset(struct virtq *vq, bool event_idx)
{
	uint8_t *m = vq->mem;

	virtq_clear(vq, split_bytes(vq->size), event_idx);
	*split_of(vq) = (struct split){
		.desc = (struct vring_desc *)m,
		.avail = (struct vring_avail *)(m + avail_offset(vq->size)),
		.used = (struct vring_used *)(m + used_offset(vq->size)),
	};
	vq->armed = true; /* zeroed memory asks for an interrupt at the first entry */
	split_disarm(vq);
}

/* ---- taking ---- */

/* Loads the device's index: the slow half of split_ready(). */
static __attribute__((noinline)) uint16_t split_refresh(struct virtq *vq)
{
	struct split *s = split_of(vq);
	uint16_t idx, n;

	if (vq->fault)
		return 0;
	idx = shm_load_acquire16(&s->used->idx); /* barrier pair [B] */
	n = (uint16_t)(idx - vq->taken);
	/* Only what was published can come back, not what is merely posted. */
	if (n > virtq_with_device(vq)) {
		vq->fault = VIRTQ_BAD_INDEX;
		return 0;
	}
	s->used_seen = idx;
	/*
	 * A parked used_event lies just behind the current index, so the device reaches it after
	 * 2^16 entries. It is moved along in time, so that this never happens.
	 */
	if (vq->event_idx && !vq->armed && (uint16_t)(vq->taken - s->event) >= PARK_REFRESH)
		notify_at(vq, (uint16_t)(vq->taken - 1));
	return n;
}

static inline unsigned split_ready(struct virtq *vq, unsigned max)
{
	uint16_t n = (uint16_t)(split_of(vq)->used_seen - vq->taken);

	if (!n)
		n = split_refresh(vq);
	return n < max ? n : max;
}

static inline bool split_take(struct virtq *vq, bool write, uint16_t *id, uint32_t *len)
{
	const struct vring_used_elem *e = &split_of(vq)->used->ring[vq->taken & vq->mask];
	uint32_t i = shm_load32(&e->id), n = shm_load32(&e->len);

	if (!virtq_book_take(vq, write, i, n)) {
		split_of(vq)->used_seen = vq->taken; /* nothing is ready any more */
		return false;
	}
	*id = (uint16_t)i;
	*len = n;
	return true;
}

static inline uint16_t split_likely(const struct virtq *vq, unsigned nth)
{
	return vq->slot[(vq->taken + nth) & vq->mask];
}

static inline bool split_used_beyond(const struct virtq *vq, uint16_t taken)
{
	return shm_load16(&split_const(vq)->used->idx) != taken;
}

static const struct virtq_layout split = {
	.name = "split",
	.feature = 0, /* what there is when nothing else has been negotiated */
	.bytes = split_bytes,
	.reset = split_reset,
	.set_bufs = split_set_bufs,
	.areas = split_areas,
	.post = split_post,
	.post_table = split_post_table,
	.end_table = split_end_table,
	.publish = split_publish,
	.ready = split_ready,
	.take = split_take,
	.likely = split_likely,
	.used_beyond = split_used_beyond,
	.arm = split_arm,
	.disarm = split_disarm,
};

VSOCK_RINGS(vsock_rings_split, split);
