/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device side of a virtqueue, whatever its layout: what the packet layer may know of a ring.
 *
 * Theory of operation
 * -------------------
 * A driver offers chains of descriptors; the device takes them, and puts each back once it is done
 * with it, in any order. The packet layer sees a ring through verbs only (struct vhost_ring_verbs);
 * where indices, flags and descriptors are is the business of a layout, which is one complete
 * descriptor (struct vhost_ring_layout, in a file of its own: vhost_ring_split.h). All layouts are
 * listed in vhost_layouts.h, and a feature bit chooses among them when a session starts.
 *
 * The verbs are static inline functions in constant tables. A function of the data path takes the
 * table as an argument that is constant once it is inlined, and is instantiated once a layout
 * (VHOST_PATHS in vhost_layouts.h): no indirect call and no branch is left in it. What is
 * called once a session, or once a fault, uses the vhost_ring_*() functions below, which go through
 * r->layout.
 *
 * The driver can change any byte of a ring at any time, so these rules hold for every layout:
 *
 *  - Positions are private, and what we write is never read back.
 *  - What the driver publishes is loaded once, with acquire (barrier pair [A]), and checked: what
 *    is in flight and what is newly offered cannot exceed the ring.
 *  - A descriptor is copied whole, and the copy is what is checked and used.
 *  - A chain has at most as many descriptors as the ring, a table of indirect descriptors at most
 *    as many as VHOST_RING_INDIRECT_MAX or the ring; a longer walk is a loop.
 *  - Every address is translated with its length, inside one region of guest memory.
 *
 * A descriptor of length 0 is tolerated and skipped (its address is not looked at), but counts
 * against the length of the chain. A ring has one direction: on the ring that carries packets from
 * the driver every descriptor must be readable, on the other every one must be writable.
 *
 * A violation sets `broken`, which is never cleared; the ring must be loaded again.
 *
 * Addresses in descriptors are guest physical, or go through an IOMMU (guest_iommu.h). Which of the
 * two is constant in the data path as well. An address whose translation is not there yet is
 * neither good nor broken: the ring waits. Translations may be as small as the frontend likes, so
 * that a descriptor is in thousands of pieces: what walk() looks up is counted in `walked`, and is
 * bounded for a chain.
 *
 * Notifications: each side tells the other when it wants to be told, by an index or a flag. We
 * publish what was put back, run a full barrier, then look at the driver's wish (barrier pair [C]:
 * the driver publishes its wish, runs a barrier, then looks for what was put back again). Asking to
 * be told is the same with the roles turned round.
 */
#ifndef ZV_VHOST_RING_H
#define ZV_VHOST_RING_H

#include "mem/guest_iommu.h"
#include "mem/guest_mem.h"
#include "proto/vsock_device.h"
#include "shm_access.h"
#include "transport.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VHOST_RING_SIZE_MAX	32768u
#define VHOST_RING_INDIRECT_MAX 1024u /* least bound of an indirect table, in descriptors */
#define VHOST_RING_LOOKUP	4u    /* what one in the IOMMU's table counts, in descriptors */
#define VHOST_RING_LOOKUPS_MAX	8192u /* of a chain; a page has one, and an indirect descriptor */

/* For verbs and for what is written once over them. */
#define VHOST_INLINE static inline __attribute__((always_inline))

enum vhost_ring_fault {
	VHOST_RING_OK = 0,
	VHOST_RING_BAD_AVAIL,	 /* avail->idx offers more than the ring holds, or ran backwards */
	VHOST_RING_BAD_HEAD,	 /* head index beyond the descriptor table */
	VHOST_RING_BAD_NEXT,	 /* next index beyond the descriptor table */
	VHOST_RING_CHAIN_LONG,	 /* more descriptors than the table has (a loop), or are free */
	VHOST_RING_CHAIN_BYTES,	 /* more than 4 GiB in a chain */
	VHOST_RING_BAD_ADDR,	 /* buffer not wholly inside one region */
	VHOST_RING_NOT_READABLE, /* writable descriptor on a ring of readable ones */
	VHOST_RING_NOT_WRITABLE, /* readable descriptor on a ring of writable ones */
	VHOST_RING_IND_OFF,	 /* indirect descriptor, but the feature was not negotiated */
	VHOST_RING_IND_NESTED,	 /* indirect descriptor inside an indirect table */
	VHOST_RING_IND_NEXT,	 /* INDIRECT and NEXT together; packed: in a list of several */
	VHOST_RING_IND_LEN,	 /* table length 0 or not a multiple of 16 */
	VHOST_RING_IND_LONG,	 /* table too large */
	VHOST_RING_IND_ADDR,	 /* table not wholly inside one region */
	VHOST_RING_IND_BAD_NEXT, /* next index beyond the indirect table */
	VHOST_RING_SHORT,	 /* receive buffer without room for a packet header */
	VHOST_RING_FAULT,	 /* the memory behind the ring or its buffers was cut off */
	VHOST_RING_PIECES, /* an IOMMU scatters a chain over more places than are kept track of */
	VHOST_RING_CALL,   /* calls on the frontend's eventfd block */
	VHOST_RING_FAULTS,
};

/* "next index beyond the descriptor table": for logs. */
const char *vhost_ring_fault_text(unsigned fault);

/* A descriptor, copied, in CPU byte order. Flags are VRING_DESC_F_*. */
struct vhost_desc {
	struct iova addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split layout */
};

/*
 * Where a ring stands, as the vhost-user protocol says it ("Vring state"): the number of
 * SET_VRING_BASE and GET_VRING_BASE. Only a layout knows what is in it: a split ring has 16 bits, a
 * packed one two indices of 15 bits with their wrap counters. Others store it and compare it.
 */
struct vhost_ring_pos {
	uint32_t v;
};

static inline bool vhost_ring_pos_same(struct vhost_ring_pos a, struct vhost_ring_pos b)
{
	return a.v == b.v;
}

/* The parts of a ring, in VIRTIO 1.2's words (section 2.6). */
enum vhost_ring_part {
	VHOST_DESC_AREA,   /* split: descriptor table */
	VHOST_DRIVER_AREA, /* split: avail ring; packed: driver event suppression */
	VHOST_DEVICE_AREA, /* split: used ring; packed: device event suppression */
	VHOST_RING_PARTS,
};

/* Where a ring is; the caller has translated all parts, vhost_ring_bytes() of each. */
struct vhost_ring_area {
	void *part[VHOST_RING_PARTS];
	uint32_t size; /* entries */
	/* Where the frontend says it stands. The split layout finds that in the ring itself. */
	struct vhost_ring_pos pos;
};

struct vhost_ring_layout;
struct vhost_packed; /* vhost_ring_packed.h */

/* State of the split layout. */
struct vhost_ring_split {
	uint16_t last_avail; /* next entry of the avail ring to take */
	uint16_t shadow;     /* avail->idx as last loaded and checked */
	uint16_t used_idx;   /* entries of the used ring filled */
	uint16_t published;  /* used->idx as the driver knows it */
};

struct vhost_ring {
	struct vhost_ring_area area;
	const struct guest_mem *mem; /* for the buffers; not owned */
	uint32_t hint;		     /* guest_mem_gpa */
	union {			     /* what belongs to the layout */
		struct vhost_ring_split split;
		struct vhost_packed *packed; /* in `own` */
	};
	bool event_idx;
	bool indirect;
	bool writable;	      /* direction of the ring */
	uint8_t broken;	      /* enum vhost_ring_fault */
	bool waits;	      /* the first chain does, for a translation; see vhost_ring_waits() */
	uint32_t most;	      /* most chains the driver has ever had in the ring at once */
	uint32_t walked;      /* descriptors that walk() has looked at; the caller's to reset */
	uint32_t lookups;     /* of the chain that is walked, in the IOMMU's table */
	uint64_t waits_since; /* iommu->changes when it began to */
	struct guest_iommu *iommu; /* NULL: descriptors hold guest physical addresses */
	const struct vhost_ring_layout *layout;
	void *own; /* private memory of the layout, own_bytes of it; copies of *r share it */
	size_t own_bytes;
};

/*
 * What a layout does. A chain is called by its @id from peek() until it is put back. The functions
 * that can find a violation break the ring.
 */
struct vhost_ring_verbs {
	/* Chains known to wait. */
	uint32_t (*pending)(const struct vhost_ring *r);
	/* Looks for more; the chains that wait, 0 as well when the ring is broken. Keeps r->most.
	 */
	uint32_t (*refresh)(struct vhost_ring *r);
	/* Counts chains that the driver was seen to offer; it wraps. */
	uint16_t (*offered)(const struct vhost_ring *r);
	/* Copies the first descriptor of the @i-th of the chains that wait. False: broken. */
	bool (*peek)(struct vhost_ring *r, uint32_t i, uint16_t *id, struct vhost_desc *d);
	/*
	 * Walks a chain, peeked at or taken, into at most @max segments. Returns their number (0
	 * is possible), sets *ndesc to the ring descriptors it occupies. -ENOSPC: it needs more
	 * segments; nothing is wrong. -EAGAIN: a translation is not there yet (guest_iommu.h).
	 * -EPROTO: the ring is broken. By [r->iommu != NULL].
	 */
	int (*walk[2])(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		       uint32_t *ndesc);
	/* Takes the first of the chains that wait, which has been peeked at. */
	void (*take)(struct vhost_ring *r);
	/* Puts one back, with @len bytes written; the driver sees it after publish(). */
	void (*put)(struct vhost_ring *r, uint16_t id, uint32_t len);
	/* Publishes what was put back. True: there was something; after shm_mb() ask want_call().
	 */
	bool (*publish)(struct vhost_ring *r);
	/* Does the driver want to be told of it? Barrier pair [C]. */
	bool (*want_call)(struct vhost_ring *r);
	/* Asks to be told of the chain after the next @more ones; then shm_mb(), pair [C]. */
	void (*arm)(struct vhost_ring *r, uint32_t more);
	/* Asks not to be told. */
	void (*disarm)(struct vhost_ring *r);
	/* With nothing in flight: what GET_VRING_BASE says. */
	struct vhost_ring_pos (*position)(const struct vhost_ring *r);
};

struct vhost_ring_layout {
	const char *name;
	uint64_t feature; /* VSOCK_FEATURE_* that chooses it; 0: it is what there is without */
	const struct vhost_ring_verbs *verbs;
	struct { /* of each part: bytes (fixed + each * size), alignment */
		uint32_t fixed, each, align;
	} part[VHOST_RING_PARTS];
	bool any_size; /* sizes need not be powers of two */
	/* Private memory that a ring of @size entries needs; NULL: none. */
	size_t (*own_bytes)(uint32_t size);
	/*
	 * A frontend wants a ring of @size entries (0: not known yet) to start there: NULL, or why
	 * it cannot stand there.
	 */
	const char *(*pos_refused)(struct vhost_ring_pos pos, uint32_t size);
	struct vhost_ring_pos fresh;	    /* a ring that a driver has just set up */
	void (*load)(struct vhost_ring *r); /* of a ring whose common fields are set: the rest */
	/* It lies elsewhere now; NULL: that is all the same. */
	void (*moved)(struct vhost_ring *r);
};

/* The layout that @features choose. */
const struct vhost_ring_layout *vhost_ring_layout_of(uint64_t features);

static inline uint64_t vhost_ring_bytes(const struct vhost_ring_layout *l,
					enum vhost_ring_part part, uint32_t size)
{
	return l->part[part].fixed + (uint64_t)l->part[part].each * size;
}

/*
 * Starts a session of a ring where it stands: what had been taken and not returned by a
 * predecessor is taken again, where the layout can tell. @r is zeroed memory, or was loaded before.
 * @features: VSOCK_FEATURE_*. @iommu: NULL without ACCESS_PLATFORM. -EINVAL: size, alignment, or
 * position; -ENOMEM. After an error *r is as before.
 */
int vhost_ring_load(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem, struct guest_iommu *iommu, uint64_t features,
		    bool writable);

/* The same ring and session at other addresses (the memory table was replaced). -EINVAL. */
int vhost_ring_move(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem);

/* Frees what vhost_ring_load() has allocated; *r may be loaded again. */
void vhost_ring_fini(struct vhost_ring *r);

/* Marks the ring broken; returns -EPROTO. */
int vhost_ring_break(struct vhost_ring *r, enum vhost_ring_fault why) __attribute__((cold));

/* Most segments that a chain of this ring can have, without an IOMMU. */
static inline uint32_t vhost_ring_chain_max(const struct vhost_ring *r)
{
	uint32_t n = r->area.size;

	return n - 1 + (n > VHOST_RING_INDIRECT_MAX ? n : VHOST_RING_INDIRECT_MAX);
}

/* ---- translation ---- */

/* The first chain waits for its translation: nothing can be taken before the table changes. */
static inline bool vhost_ring_waits(const struct vhost_ring *r)
{
	return r->waits && r->waits_since == r->iommu->changes;
}

/* A walk of that chain said -EAGAIN. */
static inline void vhost_ring_wait(struct vhost_ring *r)
{
	r->waits = true;
	r->waits_since = r->iommu->changes;
}

/*
 * The first of the @*len bytes at @a through the IOMMU; *len: how many of them follow each other.
 * 0, -EAGAIN, or -EFAULT.
 */
int vhost_ring_piece(const struct vhost_ring *r, struct iova a, bool write, uint32_t *len,
		     uint8_t **va);
/* Where @len bytes at @a are; NULL: not in one piece, not there, or not known yet. */
uint8_t *vhost_ring_whole(const struct vhost_ring *r, struct iova a, uint32_t len);
/* Copies @len bytes at @a, which may be in pieces. 0, -EAGAIN, -EFAULT; -EPROTO: as walk(). */
int vhost_ring_copy_in(struct vhost_ring *r, struct iova a, void *to, uint32_t len);

/* As vhost_ring_whole(); @iommu is constant, and r->iommu != NULL. */
VHOST_INLINE uint8_t *vhost_ring_at(struct vhost_ring *r, const bool iommu, struct iova a,
				    uint32_t len)
{
	if (iommu)
		return vhost_ring_whole(r, a, len);
	return guest_mem_gpa(r->mem, &r->hint, gpa_of_iova(a), len);
}

/* ---- for walks ---- */

/* The segments found so far. */
struct vhost_segs {
	struct pkt_seg *seg;
	uint32_t max, n;
	uint64_t bytes;
};

/* As vhost_segs_add(), through the IOMMU: one segment a piece. */
int vhost_segs_add_pieces(struct vhost_ring *r, struct vhost_segs *s, const struct vhost_desc *d);

/* Adds the buffer of @d, which is no indirect one. 0, -ENOSPC, -EAGAIN, -EPROTO: as walk(). */
VHOST_INLINE int vhost_segs_add(struct vhost_ring *r, const bool iommu, struct vhost_segs *s,
				const struct vhost_desc *d)
{
	uint8_t *va;

	if (!(d->flags & VRING_DESC_F_WRITE) == r->writable)
		return vhost_ring_break(r, r->writable ? VHOST_RING_NOT_WRITABLE
						       : VHOST_RING_NOT_READABLE);
	if (!d->len)
		return 0;
	if (iommu)
		return vhost_segs_add_pieces(r, s, d);
	va = guest_mem_gpa(r->mem, &r->hint, gpa_of_iova(d->addr), d->len);
	if (!va)
		return vhost_ring_break(r, VHOST_RING_BAD_ADDR);
	s->bytes += d->len;
	if (s->bytes > UINT32_MAX)
		return vhost_ring_break(r, VHOST_RING_CHAIN_BYTES);
	if (s->n == s->max)
		return -ENOSPC;
	s->seg[s->n++] = (struct pkt_seg){va, d->len};
	return 0;
}

/* ---- the verbs, for what is not on the data path ---- */

static inline uint32_t vhost_ring_pending(const struct vhost_ring *r)
{
	return r->layout->verbs->pending(r);
}

static inline uint32_t vhost_ring_refresh(struct vhost_ring *r)
{
	return r->layout->verbs->refresh(r);
}

static inline bool vhost_ring_peek(struct vhost_ring *r, uint32_t i, uint16_t *id,
				   struct vhost_desc *d)
{
	return r->layout->verbs->peek(r, i, id, d);
}

static inline int vhost_ring_walk(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg,
				  uint32_t max, uint32_t *ndesc)
{
	return r->layout->verbs->walk[r->iommu != NULL](r, id, seg, max, ndesc);
}

static inline void vhost_ring_take(struct vhost_ring *r)
{
	r->layout->verbs->take(r);
}

static inline void vhost_ring_put(struct vhost_ring *r, uint16_t id, uint32_t len)
{
	r->layout->verbs->put(r, id, len);
}

static inline bool vhost_ring_publish(struct vhost_ring *r)
{
	return r->layout->verbs->publish(r);
}

static inline bool vhost_ring_want_call(struct vhost_ring *r)
{
	return r->layout->verbs->want_call(r);
}

static inline void vhost_ring_disarm(struct vhost_ring *r)
{
	r->layout->verbs->disarm(r);
}

static inline struct vhost_ring_pos vhost_ring_position(const struct vhost_ring *r)
{
	return r->layout->verbs->position(r);
}

#endif
