/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device side of a virtqueue, independent of its layout: everything the packet layer knows about a
 * ring.
 *
 * Theory of operation
 * -------------------
 * The driver makes chains of descriptors available; the device takes them and returns each one when
 * it is done with it, in any order. The packet layer uses a ring only through a table of functions,
 * the verbs (struct vhost_ring_verbs). Where indices, flags and descriptors are stored is known
 * only to the layout, which is described by one constant (struct vhost_ring_layout) in a file of
 * its own (vhost_ring_split.h). vhost_layouts.h lists all layouts; a feature bit selects one when a
 * session starts.
 *
 * The verbs are static inline functions in constant tables. A data-path function takes the table as
 * an argument that is constant after inlining, and is instantiated once per layout (VHOST_PATHS in
 * vhost_layouts.h), so it contains no indirect call and no branch on the layout. Code that runs
 * once per session or once per fault uses the vhost_ring_*() functions below, which go through
 * r->layout.
 *
 * The driver can change any byte of a ring at any time, so every layout follows these rules:
 *
 *  - Positions are kept in private memory. What we write to the ring is never read back.
 *  - What the driver publishes is loaded once, with acquire (barrier pair [A]), and checked: the
 *    chains in flight and the newly available ones together cannot exceed the ring.
 *  - A descriptor is copied whole; the copy is checked and used.
 *  - A chain has at most as many descriptors as the ring, and at most VHOST_RING_CHAIN_MAX of them
 *    in the ring and as many in an indirect table. No driver needs that many, and whoever serves
 *    the ring cannot stop in the middle of a chain.
 *  - Every address is translated together with its length, inside one region of guest memory.
 *
 * A descriptor of length 0 is tolerated and skipped (its address is not looked at), but it counts
 * towards the length of the chain. A ring has one direction: on the ring that carries packets from
 * the driver every descriptor must be readable, on the other ring every descriptor must be
 * writable.
 *
 * A violation sets `broken`, which is never cleared; the ring must be loaded again.
 *
 * Addresses in descriptors are guest physical, or are translated by an IOMMU (guest_iommu.h). Which
 * of the two applies is also a constant in the data path. If a translation is not known yet, the
 * ring is not broken: it waits. The frontend chooses how small translations are, so one descriptor
 * may be split into thousands of pieces. The lookups of walk() are counted in `walked` and are
 * bounded for each chain.
 *
 * Notifications: each side tells the other, by an index or a flag, when it wants to be notified. We
 * publish the returned chains, execute a full barrier, and then read the driver's request (barrier
 * pair [C]: the driver publishes its request, executes a barrier, and then checks again for
 * returned chains). When we request notifications the roles are reversed.
 */
#ifndef ZV_VHOST_RING_H
#define ZV_VHOST_RING_H

#include "mem/guest_iommu.h"
#include "mem/guest_mem.h"
#include "proto/vsock/vsock_device.h"
#include "shm_access.h"
#include "transport.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VHOST_RING_SIZE_MAX    32768u
#define VHOST_RING_CHAIN_MAX   1024u /* descriptors of a chain in the ring, or in a table */
#define VHOST_RING_LOOKUP      4u    /* cost of one lookup in the IOMMU table, in descriptors */
#define VHOST_RING_LOOKUPS_MAX 8192u /* per chain: one per page and per indirect descriptor */

/* For verbs and for functions written once over them. */
#define VHOST_INLINE static inline __attribute__((always_inline))

enum vhost_ring_fault {
	VHOST_RING_OK = 0,
	VHOST_RING_BAD_AVAIL,	 /* avail->idx offers more than the ring holds, or ran backwards */
	VHOST_RING_BAD_HEAD,	 /* head index beyond the descriptor table */
	VHOST_RING_BAD_NEXT,	 /* next index beyond the descriptor table */
	VHOST_RING_CHAIN_LONG,	 /* more descriptors than the table has (a loop), than are free, or
				  * than VHOST_RING_CHAIN_MAX */
	VHOST_RING_CHAIN_BYTES,	 /* more than 4 GiB in a chain */
	VHOST_RING_BAD_ADDR,	 /* buffer not wholly inside one region */
	VHOST_RING_NOT_READABLE, /* writable descriptor on a ring that must be readable */
	VHOST_RING_NOT_WRITABLE, /* readable descriptor on a ring that must be writable */
	VHOST_RING_IND_OFF,	 /* indirect descriptor, but the feature was not negotiated */
	VHOST_RING_IND_NESTED,	 /* indirect descriptor inside an indirect table */
	VHOST_RING_IND_NEXT,	 /* INDIRECT with NEXT; packed: INDIRECT in a list of several */
	VHOST_RING_IND_LEN,	 /* table length 0 or not a multiple of 16 */
	VHOST_RING_IND_LONG,	 /* table too large */
	VHOST_RING_IND_ADDR,	 /* table not wholly inside one region */
	VHOST_RING_IND_BAD_NEXT, /* next index beyond the indirect table */
	VHOST_RING_SHORT,	 /* receive buffer without room for a packet header */
	VHOST_RING_FAULT,	 /* the memory behind the ring or its buffers was cut off */
	VHOST_RING_PIECES,	 /* an IOMMU splits a chain into more pieces than can be tracked */
	VHOST_RING_CALL,	 /* calls block */
	VHOST_RING_FAULTS,
};

/* The fault in words, for logs: "next index beyond the descriptor table". */
const char *vhost_ring_fault_text(unsigned fault);

/* A private copy of a descriptor, in CPU byte order. Flags are VRING_DESC_F_*. */
struct vhost_desc {
	struct iova addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split layout */
};

/*
 * Position of a ring in the encoding of the vhost-user protocol ("Vring state"): the number in
 * SET_VRING_BASE and GET_VRING_BASE. Only the layout interprets it: a split ring has 16 bits, a
 * packed ring two 15-bit indices with their wrap counters. All other code only stores and compares
 * it.
 */
struct vhost_ring_pos {
	uint32_t v;
};

static inline bool vhost_ring_pos_same(struct vhost_ring_pos a, struct vhost_ring_pos b)
{
	return a.v == b.v;
}

/* The parts of a ring, as VIRTIO 1.2 names them (section 2.6). */
enum vhost_ring_part {
	VHOST_DESC_AREA,   /* split: descriptor table */
	VHOST_DRIVER_AREA, /* split: avail ring; packed: driver event suppression */
	VHOST_DEVICE_AREA, /* split: used ring; packed: device event suppression */
	VHOST_RING_PARTS,
};

/* Addresses of a ring. The caller has translated all parts, vhost_ring_bytes() of each. */
struct vhost_ring_area {
	void *part[VHOST_RING_PARTS];
	uint32_t size; /* entries */
	/* Position according to the frontend. The split layout reads it from the ring itself. */
	struct vhost_ring_pos pos;
};

struct vhost_ring_layout;
struct vhost_packed; /* vhost_ring_packed.h */

/* State of the split layout. */
struct vhost_ring_split {
	uint16_t last_avail; /* next entry of the avail ring to take */
	uint16_t shadow;     /* avail->idx as last loaded and checked */
	uint16_t used_idx;   /* entries of the used ring filled */
	uint16_t published;  /* used->idx as last published */
};

struct vhost_ring {
	struct vhost_ring_area area;
	const struct guest_mem *mem; /* guest memory with the buffers; not owned */
	uint32_t hint;		     /* guest_mem_gpa */
	union {			     /* private state of the layout */
		struct vhost_ring_split split;
		struct vhost_packed *packed; /* in `own` */
	};
	bool event_idx;
	bool indirect;
	bool writable;		   /* direction of the ring */
	uint8_t broken;		   /* enum vhost_ring_fault */
	bool waits;		   /* the first chain waits for a translation: vhost_ring_waits() */
	uint32_t max_pending;	   /* most chains ever seen in the ring at once */
	uint32_t walked;	   /* descriptors that walk() has looked at; reset by the caller */
	uint32_t lookups;	   /* lookups in the IOMMU table for the current chain */
	uint64_t waits_since;	   /* iommu->changes when the wait began */
	struct guest_iommu *iommu; /* NULL: descriptors hold guest physical addresses */
	const struct vhost_ring_layout *layout;
	void *own; /* private memory of the layout, own_bytes of it; copies of *r share it */
	size_t own_bytes;
};

/* Operations of a layout. A chain is identified by its @id from peek() until it is returned.
 * Functions that can find a violation break the ring. */
struct vhost_ring_verbs {
	/* Number of available chains already seen. */
	uint32_t (*pending)(const struct vhost_ring *r);
	/* Looks for more. Returns the number of available chains that have been seen, 0 if the ring
	 * is broken. There may be others: a look at a ring with chains ends, and the next one
	 * continues. Updates r->max_pending. */
	uint32_t (*refresh)(struct vhost_ring *r);
	/* Free-running count of chains seen to be made available; it wraps. */
	uint16_t (*offered)(const struct vhost_ring *r);
	/* Copies the first descriptor of the @i-th available chain. False: the ring is broken. */
	bool (*peek)(struct vhost_ring *r, uint32_t i, uint16_t *id, struct vhost_desc *d);
	/*
	 * Converts a chain that was peeked at or taken into at most @max segments. Returns their
	 * number (may be 0) and sets *ndesc to the number of ring descriptors that the chain
	 * occupies. -ENOSPC: it needs more segments; this is not a violation. -EAGAIN: a
	 * translation is not known yet (guest_iommu.h). -EPROTO: the ring is broken. Indexed by
	 * [r->iommu != NULL].
	 */
	int (*walk[2])(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		       uint32_t *ndesc);
	/* Takes the first available chain, which has been peeked at. */
	void (*take)(struct vhost_ring *r);
	/* Returns a chain with @len bytes written; the driver sees it after publish(). */
	void (*put)(struct vhost_ring *r, uint16_t id, uint32_t len);
	/* Publishes the returned chains. True: there were some; call want_call() after shm_mb(). */
	bool (*publish)(struct vhost_ring *r);
	/* Does the driver want a notification for them? Barrier pair [C]. */
	bool (*want_call)(struct vhost_ring *r);
	/* Requests a notification for the chain after the next @more ones; shm_mb() must follow,
	 * pair [C]. */
	void (*arm)(struct vhost_ring *r, uint32_t more);
	/* Requests no notifications. */
	void (*disarm)(struct vhost_ring *r);
	/* The position for GET_VRING_BASE. Nothing may be in flight. */
	struct vhost_ring_pos (*position)(const struct vhost_ring *r);
};

struct vhost_ring_layout {
	const char *name;
	uint64_t feature; /* VSOCK_FEATURE_* that selects it; 0: the default layout */
	const struct vhost_ring_verbs *verbs;
	struct { /* for each part: bytes (fixed + each * size) and alignment */
		uint32_t fixed, per_entry, align;
	} part[VHOST_RING_PARTS];
	bool any_size; /* sizes need not be powers of two */
	/* Private memory that a ring of @size entries needs; NULL: none. */
	size_t (*own_bytes)(uint32_t size);
	/* Checks the start position that a frontend requests for a ring of @size entries (0: not
	 * known yet). NULL: it is valid; otherwise the reason why not. */
	const char *(*pos_refused)(struct vhost_ring_pos pos, uint32_t size);
	struct vhost_ring_pos fresh;	    /* position of a ring that a driver has just set up */
	void (*load)(struct vhost_ring *r); /* sets the layout's own fields */
	/* The ring is at other addresses now. NULL: nothing to do. */
	void (*moved)(struct vhost_ring *r);
};

/* The layout selected by @features. */
const struct vhost_ring_layout *vhost_ring_layout_of(uint64_t features);

static inline uint64_t vhost_ring_bytes(const struct vhost_ring_layout *l,
					enum vhost_ring_part part, uint32_t size)
{
	return l->part[part].fixed + (uint64_t)l->part[part].per_entry * size;
}

/*
 * Starts a session at the current position of the ring. Chains that a former backend took and did
 * not return are taken again if the layout can identify them. @r is zeroed memory or was loaded
 * before. @features: VSOCK_FEATURE_*. @iommu: NULL without ACCESS_PLATFORM. -EINVAL: size,
 * alignment or position; -ENOMEM. On error *r is unchanged.
 */
int vhost_ring_load(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem, struct guest_iommu *iommu, uint64_t features,
		    bool writable);

/* Continues the session with the ring at other addresses (the memory table was replaced).
 * -EINVAL. */
int vhost_ring_move(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem);

/* Frees what vhost_ring_load() allocated; *r may be loaded again. */
void vhost_ring_fini(struct vhost_ring *r);

/* Marks the ring broken; returns -EPROTO. */
int vhost_ring_break(struct vhost_ring *r, enum vhost_ring_fault why) __attribute__((cold));

/* Maximum number of descriptors of a chain in the ring itself. */
static inline uint32_t vhost_ring_longest(const struct vhost_ring *r)
{
	return r->area.size < VHOST_RING_CHAIN_MAX ? r->area.size : VHOST_RING_CHAIN_MAX;
}

/* Maximum number of segments of a chain of this ring without an IOMMU. */
static inline uint32_t vhost_ring_chain_max(const struct vhost_ring *r)
{
	return vhost_ring_longest(r) - 1 + VHOST_RING_CHAIN_MAX;
}

/* ---- translation ---- */

/* The first chain waits for its translation: nothing can be taken until the IOMMU table changes. */
static inline bool vhost_ring_waits(const struct vhost_ring *r)
{
	return r->waits && r->waits_since == r->iommu->changes;
}

/* A walk of the first chain returned -EAGAIN. */
static inline void vhost_ring_wait(struct vhost_ring *r)
{
	r->waits = true;
	r->waits_since = r->iommu->changes;
}

/* Translates @a through the IOMMU. @*len: bytes wanted; on return, how many of them are contiguous.
 * 0, -EAGAIN, or -EFAULT. */
int vhost_ring_piece(const struct vhost_ring *r, struct iova a, bool write, uint32_t *len,
		     uint8_t **va);
/* Address of the @len bytes at @a; NULL: not contiguous, not mapped, or not known yet. */
uint8_t *vhost_ring_contiguous(const struct vhost_ring *r, struct iova a, uint32_t len);
/* Copies @len bytes at @a, which may be in several pieces. 0, -EAGAIN, -EFAULT; -EPROTO: as
 * walk(). */
int vhost_ring_copy_in(struct vhost_ring *r, struct iova a, void *to, uint32_t len);

/* As vhost_ring_contiguous(); @iommu is constant, and r->iommu != NULL. */
VHOST_INLINE uint8_t *vhost_ring_at(struct vhost_ring *r, const bool iommu, struct iova a,
				    uint32_t len)
{
	if (iommu)
		return vhost_ring_contiguous(r, a, len);
	return guest_mem_gpa(r->mem, &r->hint, gpa_of_iova(a), len);
}

/* ---- for walks ---- */

/* The segments found so far. */
struct vhost_segs {
	struct pkt_seg *seg;
	uint32_t max, n;
	uint64_t bytes;
};

/* As vhost_segs_add(), through the IOMMU: one segment for each piece. */
int vhost_segs_add_pieces(struct vhost_ring *r, struct vhost_segs *s, const struct vhost_desc *d);

/* Adds the buffer of @d, a direct descriptor. 0, -ENOSPC, -EAGAIN, -EPROTO: as walk(). */
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

/* ---- the verbs, for code outside the data path ---- */

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
