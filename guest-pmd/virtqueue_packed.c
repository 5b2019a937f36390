/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packed layout (VIRTIO 1.2, section 2.8).
 *
 * There is one ring, in which driver and device write in turn, each in ring order. Two flags tell
 * who owns a descriptor, depending on the lap in which they were written. The n-th of all
 * descriptors is at position n mod size, and one bit of n tells whether its lap is even or odd. One
 * buffer is one descriptor, so the counters of struct virtq are the positions.
 *
 * A descriptor is two words of 64 bits: address; length, id and flags. The device changes the
 * second, and may change the first, so both are stored each time. In a batch the second word of the
 * first descriptor is stored last: the device polls that position only, and it announces the rest.
 * What the device has written is loaded once, as one word, and kept in virtq.copy until it is
 * taken.
 */
#include "proto/vsock/vsock_device.h"
#include "vsock_burst.h"

#include <linux/virtio_ring.h>

#define PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1u << VRING_PACKED_DESC_F_USED)
#define PACKED_MARKS (PACKED_AVAIL | PACKED_USED)

#define PACKED_ID_SHIFT	   32
#define PACKED_FLAGS_SHIFT 48

/* struct vring_packed_desc, as it is loaded and stored. */
struct packed_desc {
	uint64_t addr;
	uint64_t word; /* length, id << 32, flags << 48 */
};
_Static_assert(sizeof(struct packed_desc) == sizeof(struct vring_packed_desc) &&
		       offsetof(struct vring_packed_desc, len) == 8 &&
		       offsetof(struct vring_packed_desc, id) == 12 &&
		       offsetof(struct vring_packed_desc, flags) == 14,
	       "two words");

struct packed {
	struct packed_desc *desc;
	uint64_t *copy; /* per position: the used descriptor there, from `taken` to `seen` */
	uint64_t iova;	/* of buffer 0 */
	uint32_t stride;
	uint16_t seen;	/* used descriptors copied, since the reset */
	uint16_t first; /* buffer posted first since the last publish */
};

_Static_assert(sizeof(struct packed) <= sizeof(((struct virtq *)0)->priv), "enlarge virtq.priv");

static inline struct packed *packed_of(struct virtq *vq)
{
	return (struct packed *)vq->priv;
}

static inline const struct packed *packed_const(const struct virtq *vq)
{
	return (const struct packed *)vq->priv;
}

/* ---- memory ---- */

static inline size_t align_up(size_t n)
{
	return (n + VIRTQ_ALIGN - 1) & ~(size_t)(VIRTQ_ALIGN - 1);
}

/* Behind the ring: the event suppression structures, in separate cache lines. */
static inline size_t events_offset(uint32_t size)
{
	return align_up(sizeof(struct packed_desc) * size);
}

static size_t packed_bytes(uint32_t size)
{
	return events_offset(size) + 2 * VIRTQ_ALIGN;
}

/* Written by us: when we want an interrupt. */
static inline uint32_t *driver_event(const struct virtq *vq)
{
	return (uint32_t *)(void *)((uint8_t *)packed_const(vq)->desc + events_offset(vq->size));
}

/* Written by the device: when it wants a kick. */
static inline uint32_t *device_event(const struct virtq *vq)
{
	return (uint32_t *)(void *)((uint8_t *)driver_event(vq) + VIRTQ_ALIGN);
}

static void packed_set_bufs(struct virtq *vq, const struct virtq_bufs *b)
{
	packed_of(vq)->iova = b->addr.v;
	packed_of(vq)->stride = (uint32_t)b->stride;
	vq->write = b->write;
	for (uint16_t i = 0; i < b->count; i++)
		vq->buf[i] = b->len;
}

/* ---- laps ---- */

/* The wrap counter, which starts at 1, for the @n-th descriptor. */
static inline bool wrap_of(const struct virtq *vq, uint16_t n)
{
	return !(n & vq->size);
}

static inline uint64_t avail_marks(const struct virtq *vq, uint16_t n)
{
	return wrap_of(vq, n) ? PACKED_AVAIL : PACKED_USED;
}

static inline uint64_t used_marks(const struct virtq *vq, uint16_t n)
{
	return wrap_of(vq, n) ? PACKED_MARKS : 0;
}

/* The word @w is that of a used descriptor, the @n-th. */
static inline bool is_used(const struct virtq *vq, uint64_t w, uint16_t n)
{
	return (w >> PACKED_FLAGS_SHIFT & PACKED_MARKS) == used_marks(vq, n);
}

/* Index and wrap counter of the @n-th descriptor. */
static inline uint32_t place_of(const struct virtq *vq, uint16_t n)
{
	return (uint32_t)(n & vq->mask) | (uint32_t)wrap_of(vq, n) << VRING_PACKED_EVENT_F_WRAP_CTR;
}

static void packed_areas(const struct virtq *vq, struct virtq_areas *a)
{
	uint32_t at = place_of(vq, vq->posted);

	*a = (struct virtq_areas){.desc = packed_const(vq)->desc,
				  .driver = driver_event(vq),
				  .device = device_event(vq),
				  .size = vq->size,
				  .base = at << 16 | at};
}

/* ---- posting ---- */

/* The second word of buffer @id, which is the @n-th that is posted. */
static inline uint64_t avail_word(const struct virtq *vq, uint16_t id, uint32_t len, uint16_t n,
				  bool table)
{
	uint64_t flags = avail_marks(vq, n) | (vq->write ? VRING_DESC_F_WRITE : 0) |
			 (table ? VRING_DESC_F_INDIRECT : 0);

	return flags << PACKED_FLAGS_SHIFT | (uint64_t)id << PACKED_ID_SHIFT | len;
}

/* Writes the descriptor of buffer @id, whose address for the device is @at. */
static inline void post_at(struct virtq *vq, uint16_t id, uint32_t len, uint64_t at, bool table)
{
	struct packed *s = packed_of(vq);
	struct packed_desc *d = &s->desc[vq->posted & vq->mask];

	shm_store64(&d->addr, at);
	if (vq->posted == vq->published)
		s->first = id;
	else
		shm_store64(&d->word, avail_word(vq, id, len, vq->posted, table));
	virtq_book_post(vq, id, len);
}

static inline void packed_post(struct virtq *vq, uint16_t id, uint32_t len)
{
	const struct packed *s = packed_of(vq);

	post_at(vq, id, len, s->iova + (uint64_t)id * s->stride, false);
}

/* In a table all descriptors count, one behind the other (section 2.8.7). */
static inline void packed_post_table(struct virtq *vq, uint16_t id, void *table, struct iova at,
				     const struct virtq_piece *piece, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct packed_desc e = {piece[i].at.v, piece[i].len};

		memcpy((struct packed_desc *)table + i, &e, sizeof(e));
	}
	post_at(vq, id, n * (uint32_t)sizeof(struct packed_desc), at.v, true);
	vq->buf[id] |= VIRTQ_TABLE; /* should it be the first: publish() writes its word */
}

/* Address and flags are written each time. */
static inline void packed_end_table(struct virtq *vq, uint16_t id, struct iova own)
{
	(void)vq;
	(void)id;
	(void)own;
}

/* The device wants a notification for one of the descriptors from @old to @now - 1. */
static inline bool wants_kick(const struct virtq *vq, uint16_t old, uint16_t now)
{
	uint32_t wish = shm_load32(device_event(vq));
	uint16_t event = (uint16_t)((now & ~vq->mask) + (wish & INT16_MAX));

	if ((wish >> 16 & 3) != VRING_PACKED_EVENT_FLAG_DESC || !vq->event_idx)
		return (wish >> 16 & 3) != VRING_PACKED_EVENT_FLAG_DISABLE;
	if ((wish >> VRING_PACKED_EVENT_F_WRAP_CTR & 1) != wrap_of(vq, now))
		event -= vq->size;
	return vring_need_event(event, now, old);
}

static inline bool packed_publish(struct virtq *vq)
{
	struct packed *s = packed_of(vq);
	uint16_t old = vq->published;
	uint64_t w;

	if (vq->posted == old)
		return false;
	w = avail_word(vq, s->first, virtq_len(vq, s->first), old, vq->buf[s->first] & VIRTQ_TABLE);
	vq->published = vq->posted;
	shm_store_release64(&s->desc[old & vq->mask].word, w); /* barrier pair [A] */
	shm_mb();					       /* barrier pair [C] */
	return wants_kick(vq, old, vq->published);
}

/* ---- notification ---- */

static void packed_disarm(struct virtq *vq)
{
	if (!vq->armed)
		return;
	vq->armed = false;
	shm_store32(driver_event(vq), (uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16);
}

static inline bool packed_used_beyond(const struct virtq *vq, uint16_t taken)
{
	return is_used(vq, shm_load64(&packed_const(vq)->desc[taken & vq->mask].word), taken);
}

static bool packed_arm(struct virtq *vq)
{
	uint32_t wish = (uint32_t)VRING_PACKED_EVENT_FLAG_ENABLE << 16;

	if (vq->fault || packed_of(vq)->seen != vq->taken)
		return false;
	if (vq->event_idx)
		wish = (uint32_t)VRING_PACKED_EVENT_FLAG_DESC << 16 | place_of(vq, vq->taken);
	vq->armed = true;
	shm_store32(driver_event(vq), wish);
	shm_mb(); /* barrier pair [C] */
	/* Entries that the device writes without having a buffer there are ignored. */
	if (!virtq_with_device(vq) || !packed_used_beyond(vq, vq->taken))
		return true;
	packed_disarm(vq);
	return false;
}

static void packed_reset(struct virtq *vq, bool event_idx)
{
	virtq_clear(vq, packed_bytes(vq->size), event_idx);
	*packed_of(vq) = (struct packed){.desc = vq->mem, .copy = vq->copy};
	vq->armed = true; /* zeroed memory asks for an interrupt at each descriptor */
	packed_disarm(vq);
}

/* ---- taking ---- */

/* Copies used descriptors, @max at most: the slow half of packed_ready(). */
static __attribute__((noinline)) unsigned packed_refresh(struct virtq *vq, unsigned max)
{
	struct packed *s = packed_of(vq);
	unsigned n = 0;

	if (vq->fault)
		return 0;
	/* Only what was published can come back: other positions hold what the driver wrote. */
	max = max < virtq_with_device(vq) ? max : virtq_with_device(vq);
	for (; n < max; n++) {
		uint16_t at = s->seen & vq->mask;
		uint64_t w = shm_load_acquire64(&s->desc[at].word); /* barrier pair [B] */

		if (!is_used(vq, w, s->seen))
			break;
		s->copy[at] = w;
		s->seen++;
	}
	return n;
}

static inline unsigned packed_ready(struct virtq *vq, unsigned max)
{
	uint16_t n = (uint16_t)(packed_of(vq)->seen - vq->taken);

	if (!n)
		return packed_refresh(vq, max);
	return n < max ? n : max;
}

static inline uint16_t id_of(uint64_t w)
{
	return (uint16_t)(w >> PACKED_ID_SHIFT);
}

static inline bool packed_take(struct virtq *vq, bool write, uint16_t *id, uint32_t *len)
{
	uint64_t w = packed_of(vq)->copy[vq->taken & vq->mask];

	/* The WRITE flag is not checked: some devices never set it. */
	if (!virtq_book_take(vq, write, id_of(w), (uint32_t)w)) {
		packed_of(vq)->seen = vq->taken; /* nothing is ready any more */
		return false;
	}
	*id = id_of(w);
	*len = (uint32_t)w;
	return true;
}

/* Certain for what is ready, except for an id that take() will refuse. */
static inline uint16_t packed_likely(const struct virtq *vq, unsigned nth)
{
	return id_of(packed_const(vq)->copy[(vq->taken + nth) & vq->mask]) & vq->mask;
}

static const struct virtq_layout packed = {
	.name = "packed",
	.feature = VSOCK_FEATURE_RING_PACKED,
	.bytes = packed_bytes,
	.reset = packed_reset,
	.set_bufs = packed_set_bufs,
	.areas = packed_areas,
	.post = packed_post,
	.post_table = packed_post_table,
	.end_table = packed_end_table,
	.publish = packed_publish,
	.ready = packed_ready,
	.take = packed_take,
	.likely = packed_likely,
	.used_beyond = packed_used_beyond,
	.arm = packed_arm,
	.disarm = packed_disarm,
};

VSOCK_RINGS(vsock_rings_packed, packed);
