/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the raw driver writes its rings: one descriptor for each layout (VIRTIO 1.2, sections 2.7 and
 * 2.8), so that a case that is about what is in a chain runs on all of them. A case offers chains
 * of descriptors 0 to RAW_N - 1, each of which names the next. In a split ring these are the
 * descriptor table; in a packed one they are private, and a chain is written where the ring stands.
 */
#ifndef ZV_HOSTILE_RAW_LAYOUT_H
#define ZV_HOSTILE_RAW_LAYOUT_H

#include "raw.h"

struct raw_layout {
	const char *prefix; /* of the names of its tests */
	unsigned flags;	    /* of raw_open() */
	uint64_t feature;   /* to negotiate, as a mask; 0: none */
	/* Empty, after @used entries that a device has used before. */
	void (*reset)(struct raw_ring *g, uint16_t used);
	/* Where the ring stands, as SET_VRING_BASE has it. */
	uint32_t (*base)(const struct raw_ring *g);
	/* Descriptor @i of those that chains are made of. */
	struct vring_desc *(*desc)(struct raw_ring *g, unsigned i);
	/* The same of a table of indirect descriptors. */
	void (*entry)(const struct raw *r, void *table, unsigned i, const struct vring_desc *d);
	/* Writes the chain that begins with @head; the device may see it from publish() on. */
	void (*offer)(struct raw_ring *g, uint16_t head);
	void (*publish)(struct raw_ring *g);
	/* Takes a chain that the device has used: 1, or 0; -1: no honest device writes that. */
	int (*used)(struct raw_ring *g, uint32_t *id, uint32_t *len);
	/* The words of the @i-th descriptor in shared memory: address, length, the rest. */
	uint32_t *(*words)(struct raw_ring *g, unsigned i);
};

extern const struct raw_layout raw_split, raw_packed;

/* Of raw_open()'s flags. */
static inline const struct raw_layout *raw_layout_of(unsigned flags)
{
	return flags & RAW_PACKED ? &raw_packed : &raw_split;
}

/* ---- packed rings, for cases that are about them ---- */

#define RAW_AVAIL     ((uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL))
#define RAW_USED_MARK ((uint16_t)(1u << VRING_PACKED_DESC_F_USED))
#define RAW_MARKS     ((uint16_t)(RAW_AVAIL | RAW_USED_MARK))

/* Marks of an available descriptor at the next place, and of a used one. */
static inline uint16_t raw_avail_marks(const struct raw_ring *g)
{
	return g->wrap ? RAW_AVAIL : RAW_USED_MARK;
}

static inline uint16_t raw_used_marks(bool wrap)
{
	return wrap ? RAW_MARKS : 0;
}

/* The descriptor at @at of the ring. */
static inline struct vring_packed_desc *raw_place(struct raw_ring *g, unsigned at)
{
	return (struct vring_packed_desc *)(void *)g->desc + at % RAW_N;
}

/* Writes it, the word with its marks last; @gpa as the device is told. */
void raw_put_place(struct raw_ring *g, unsigned at, uint64_t gpa, uint32_t len, uint16_t id,
		   uint16_t flags);
/* The next place is @n further on. */
void raw_pass(struct raw_ring *g, unsigned n);

#endif
