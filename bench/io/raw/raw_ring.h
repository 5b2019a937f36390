/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bare loop over a virtqueue: what the layout of a ring allows, with no protocol, API or
 * credit, and without checking what the other side writes.
 *
 * Theory of operation
 * -------------------
 * As in the data path, a packet is a header of 44 bytes and payload, in one buffer with one
 * descriptor. The header ends at the end of a cache line, and the payload begins on the next one.
 * The guest is the driver, the host the device. Both sides spin and never ask to be notified, so
 * there are no kicks, no calls, and no barriers except those of publishing.
 *
 * Buffers circulate in one order, and their number divides the size of the ring. So in a split
 * ring only the two indices change: descriptors and avail entries are written once, and an entry
 * of the used ring only when it differs from what is there. In a packed ring a descriptor is
 * written twice for each message, by the driver and by the device.
 *
 * @packed is a constant wherever a function below is inlined.
 */
#ifndef BENCH_RAW_RING_H
#define BENCH_RAW_RING_H

#include "shm_access.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>

#define RAW_VQ_SIZE  256u /* descriptors */
#define RAW_VQ_BUFS  64u  /* buffers that circulate, of large messages fewer: raw_slots() */
#define RAW_HDR_LEN  44u
#define RAW_HDR_OFF  20u /* in a buffer */
#define RAW_DATA_OFF 64u

#define RAW_INLINE static inline __attribute__((always_inline))

/* In the place of a packet's header. */
struct raw_hdr {
	uint32_t len; /* of the payload; 0: the end */
	uint32_t rest[RAW_HDR_LEN / sizeof(uint32_t) - 1];
};
_Static_assert(sizeof(struct raw_hdr) == RAW_HDR_LEN, "as long as that of virtio-vsock");
_Static_assert(RAW_HDR_OFF + RAW_HDR_LEN == RAW_DATA_OFF, "payload follows it");

/* A descriptor as words: the second is length, id and flags of a packed one. */
struct raw_desc {
	uint64_t addr, word;
};
_Static_assert(sizeof(struct raw_desc) == sizeof(struct vring_desc) &&
		       sizeof(struct raw_desc) == sizeof(struct vring_packed_desc),
	       "of either layout");

/* Shared: a ring of either layout. */
struct raw_vq_mem {
	struct raw_desc desc[RAW_VQ_SIZE] __attribute__((aligned(128)));
	uint16_t avail_idx __attribute__((aligned(128)));
	uint16_t avail[RAW_VQ_SIZE];
	uint16_t used_idx __attribute__((aligned(128)));
	uint16_t pad;
	struct vring_used_elem used[RAW_VQ_SIZE];
};

/* Private: one side's view of a ring. The counters run freely, mod 2^16. */
struct raw_vq {
	struct raw_vq_mem *m;
	unsigned char *bufs; /* nbufs of them, stride bytes apart */
	uint32_t nbufs, stride;
	uint32_t len; /* of a buffer: header and payload */
	/* driver: made available, published, back; device: put back, published, taken */
	uint16_t made, published, got;
	uint16_t seen;		    /* split: the other side's index, as last loaded */
	uint64_t word[RAW_VQ_SIZE]; /* device: split: used entries as written; packed: as taken */
};

/* Fills the descriptors of a zeroed ring, and the avail entries: before there are two sides. */
void raw_vq_init(struct raw_vq *v, bool packed);

#define RAW_AVAIL ((uint64_t)1 << (48 + VRING_PACKED_DESC_F_AVAIL))
#define RAW_USED  ((uint64_t)1 << (48 + VRING_PACKED_DESC_F_USED))

/* Marks of the @n-th descriptor when it is available, and when it is used. */
RAW_INLINE uint64_t raw_avail_marks(uint16_t n)
{
	return n & RAW_VQ_SIZE ? RAW_USED : RAW_AVAIL;
}

RAW_INLINE uint64_t raw_used_marks(uint16_t n)
{
	return n & RAW_VQ_SIZE ? 0 : RAW_AVAIL | RAW_USED;
}

RAW_INLINE unsigned char *raw_vq_buf(const struct raw_vq *v, uint16_t n)
{
	return v->bufs + (size_t)(n & (v->nbufs - 1)) * v->stride;
}

/* ---- the driver ---- */

RAW_INLINE uint64_t raw_avail_word(const struct raw_vq *v, uint16_t n)
{
	return raw_avail_marks(n) | (uint64_t)(n & (v->nbufs - 1)) << 32 | v->len;
}

/* Makes the next buffer available; the device sees it after raw_vq_offer(). */
RAW_INLINE void raw_vq_post(struct raw_vq *v, const bool packed)
{
	/* Of a batch the first descriptor is written last: the device looks at that one. */
	if (packed && v->made != v->published)
		shm_store64(&v->m->desc[v->made % RAW_VQ_SIZE].word, raw_avail_word(v, v->made));
	v->made++;
}

RAW_INLINE void raw_vq_offer(struct raw_vq *v, const bool packed)
{
	if (v->made == v->published)
		return;
	if (packed)
		shm_store_release64(&v->m->desc[v->published % RAW_VQ_SIZE].word,
				    raw_avail_word(v, v->published));
	else
		shm_store_release16(&v->m->avail_idx, v->made);
	v->published = v->made;
}

/* Takes the next buffer back that the device has used; NULL: there is none. */
RAW_INLINE unsigned char *raw_vq_back(struct raw_vq *v, const bool packed)
{
	uint16_t at = v->got % RAW_VQ_SIZE;
	uint64_t w;

	if (packed) {
		w = shm_load_acquire64(&v->m->desc[at].word);
		if ((w & (RAW_AVAIL | RAW_USED)) != raw_used_marks(v->got))
			return NULL;
		w = w >> 32 & UINT16_MAX;
	} else {
		if (v->got == v->seen) {
			v->seen = shm_load_acquire16(&v->m->used_idx);
			if (v->got == v->seen)
				return NULL;
		}
		w = shm_load32(&v->m->used[at].id);
	}
	v->got++;
	return raw_vq_buf(v, (uint16_t)w);
}

/* ---- the device ---- */

/* Takes the next buffer that is available; NULL: there is none. */
RAW_INLINE unsigned char *raw_vq_next(struct raw_vq *v, const bool packed)
{
	uint16_t at = v->got % RAW_VQ_SIZE;

	if (packed) {
		uint64_t w;

		w = shm_load_acquire64(&v->m->desc[at].word);
		if ((w & (RAW_AVAIL | RAW_USED)) != raw_avail_marks(v->got))
			return NULL;
		v->word[at] = w;
	} else {
		if (v->got == v->seen) {
			v->seen = shm_load_acquire16(&v->m->avail_idx);
			if (v->got == v->seen)
				return NULL;
		}
		at = shm_load16(&v->m->avail[at]);
	}
	v->got++;
	return v->bufs + shm_load64(&v->m->desc[at % RAW_VQ_SIZE].addr);
}

RAW_INLINE uint64_t raw_used_word(const struct raw_vq *v, uint16_t n)
{
	return raw_used_marks(n) | (v->word[n % RAW_VQ_SIZE] & (uint64_t)UINT16_MAX << 32) | v->len;
}

/* Gives the oldest buffer back; the driver sees it after raw_vq_publish(). */
RAW_INLINE void raw_vq_put(struct raw_vq *v, const bool packed)
{
	uint16_t at = v->made % RAW_VQ_SIZE;

	if (packed) {
		if (v->made != v->published)
			shm_store64(&v->m->desc[at].word, raw_used_word(v, v->made));
	} else {
		uint64_t e = (uint64_t)v->len << 32 | (v->made & (v->nbufs - 1));

		if (v->word[at] != e) {
			v->word[at] = e;
			memcpy(&v->m->used[at], &e, sizeof(e));
		}
	}
	v->made++;
}

RAW_INLINE void raw_vq_publish(struct raw_vq *v, const bool packed)
{
	if (v->made == v->published)
		return;
	if (packed)
		shm_store_release64(&v->m->desc[v->published % RAW_VQ_SIZE].word,
				    raw_used_word(v, v->published));
	else
		shm_store_release16(&v->m->used_idx, v->made);
	v->published = v->made;
}

#endif
