/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring of fixed-size entries from one producer to one consumer, in memory that both can write.
 *
 * Theory of operation
 * -------------------
 * The shared part is two indices and the entries. Each side owns one index: it counts privately,
 * copies its count to the shared word to publish it, and never reads that word back. The peer's
 * index is loaded once, checked, and kept: a producer that finds room in its copy, and a consumer
 * that finds entries in its copy, touch no line that the other side writes. So a batch costs one
 * bounce of an index line, plus the entries themselves.
 *
 * Indices are u32 counters that wrap; the position is the counter modulo the size. A peer's index
 * may only move forward, and never further than the ring's content allows: the consumer's up to
 * what was published, the producer's up to a full ring. Anything else is a broken or hostile peer:
 * the ring end is broken for good and every call returns -EPROTO. What a peer can still do is to
 * change entries at any time: copy an entry out (shm_copy_in), check the copy, use the copy.
 *
 * Ordering is barrier pair [S]: publishing an index is a release, loading the peer's an acquire; in
 * both directions, because an entry must not be overwritten before it has been read.
 *
 * The verbs are those of AF_XDP: the producer reserves, fills and submits; the consumer peeks,
 * reads and releases. Reserved entries may be submitted, and peeked entries released, in several
 * steps, but always oldest first.
 */
#ifndef ZV_SPSC_RING_H
#define ZV_SPSC_RING_H

#include "shm_access.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define SPSC_SIZE_MAX  (1u << 20) /* entries */
#define SPSC_ENTRY_MAX 4096u	  /* bytes of an entry */

/* The shared part. Two lines apart: adjacent lines are fetched in pairs on some CPUs. */
struct spsc_shared {
	uint32_t prod; /* entries ever submitted; written by the producer */
	uint8_t pad0[2 * SHM_CACHE_LINE - sizeof(uint32_t)];
	uint32_t cons; /* entries ever released; written by the consumer */
	uint8_t pad1[2 * SHM_CACHE_LINE - sizeof(uint32_t)];
	uint8_t entries[];
} SHM_CACHE_ALIGNED;
_Static_assert(offsetof(struct spsc_shared, cons) == 128, "shared layout");
_Static_assert(offsetof(struct spsc_shared, entries) == 256, "shared layout");

/* The producer's end; private. */
struct spsc_prod {
	struct spsc_shared *sh;
	uint32_t mask;
	uint32_t entry_size;
	uint32_t reserved;  /* entries ever reserved */
	uint32_t submitted; /* entries ever submitted; what sh->prod says */
	uint32_t cons;	    /* the consumer's index as last seen and checked */
	int err;	    /* 0, or -EPROTO for good */
};

/* The consumer's end; private. */
struct spsc_cons {
	struct spsc_shared *sh;
	uint32_t mask;
	uint32_t entry_size;
	uint32_t peeked;   /* entries ever peeked */
	uint32_t released; /* entries ever released; what sh->cons says */
	uint32_t prod;	   /* the producer's index as last seen and checked */
	int err;	   /* 0, or -EPROTO for good */
};

/*
 * Bytes that a ring of @entries (a power of two, 2..SPSC_SIZE_MAX) entries of @entry_size bytes
 * (a multiple of 8, up to SPSC_ENTRY_MAX) takes. 0: arguments out of range.
 */
size_t spsc_bytes(uint32_t entries, uint32_t entry_size);

/*
 * Sets both indices to zero. Called by the owner of the memory before either end exists. @mem:
 * spsc_bytes() bytes, 64-byte aligned. 0 or -EINVAL.
 */
int spsc_format(void *mem, uint32_t entries, uint32_t entry_size);

/*
 * Makes the private end of a freshly formatted ring. Ends start at zero and cannot be taken over
 * half-way. @room: bytes at @mem. 0 or -EINVAL (sizes out of range, too little room, alignment).
 */
int spsc_prod_init(struct spsc_prod *p, void *mem, size_t room, uint32_t entries,
		   uint32_t entry_size);
int spsc_cons_init(struct spsc_cons *c, void *mem, size_t room, uint32_t entries,
		   uint32_t entry_size);

/* ---- producer --------------------------------------------------------------------------- */

/* Loads and checks the consumer's index. */
static inline int spsc_prod_refresh(struct spsc_prod *p)
{
	uint32_t cons = shm_load_acquire32(&p->sh->cons); /* barrier pair [S] */

	if (__builtin_expect(p->submitted - cons > p->submitted - p->cons, 0))
		p->err = -EPROTO;
	else
		p->cons = cons;
	return p->err;
}

/*
 * Reserves up to @n entries; *idx names the first, the others follow. Returns how many, 0 when
 * the ring is full, -EPROTO.
 */
static inline int spsc_reserve(struct spsc_prod *p, unsigned n, uint32_t *idx)
{
	uint32_t room = p->mask + 1 - (p->reserved - p->cons);

	*idx = p->reserved;
	if (room < n || __builtin_expect(p->err, 0)) {
		if (p->err || spsc_prod_refresh(p))
			return p->err;
		room = p->mask + 1 - (p->reserved - p->cons);
		if (room < n)
			n = room;
	}
	p->reserved += n;
	return (int)n;
}

/* The entry that @idx, from spsc_reserve (plus 0..n-1), names. */
static inline void *spsc_prod_entry(const struct spsc_prod *p, uint32_t idx)
{
	return p->sh->entries + (size_t)(idx & p->mask) * p->entry_size;
}

/* Makes the oldest @n reserved entries visible to the consumer. @n: at most what is reserved. */
static inline void spsc_submit(struct spsc_prod *p, unsigned n)
{
	p->submitted += n;
	shm_store_release32(&p->sh->prod, p->submitted); /* barrier pair [S] */
}

/* Takes the youngest @n reserved entries back. @n: at most what is reserved and not submitted. */
static inline void spsc_cancel(struct spsc_prod *p, unsigned n)
{
	p->reserved -= n;
}

/* ---- consumer --------------------------------------------------------------------------- */

/* Loads and checks the producer's index. */
static inline int spsc_cons_refresh(struct spsc_cons *c)
{
	uint32_t prod = shm_load_acquire32(&c->sh->prod); /* barrier pair [S] */
	uint32_t held = prod - c->released;

	if (__builtin_expect(held > c->mask + 1 || held < c->prod - c->released, 0))
		c->err = -EPROTO;
	else
		c->prod = prod;
	return c->err;
}

/*
 * Finds up to @n entries; *idx names the first, the others follow. Returns how many, 0 when there
 * is none, -EPROTO. Looks at the producer's index only when it knows of no entry at all.
 */
static inline int spsc_peek(struct spsc_cons *c, unsigned n, uint32_t *idx)
{
	uint32_t ready = c->prod - c->peeked;

	*idx = c->peeked;
	if (ready == 0 || __builtin_expect(c->err, 0)) {
		if (c->err || spsc_cons_refresh(c))
			return c->err;
		ready = c->prod - c->peeked;
	}
	if (ready < n)
		n = ready;
	c->peeked += n;
	return (int)n;
}

/* The entry that @idx, from spsc_peek (plus 0..n-1), names. The producer can still change it. */
static inline const void *spsc_cons_entry(const struct spsc_cons *c, uint32_t idx)
{
	return c->sh->entries + (size_t)(idx & c->mask) * c->entry_size;
}

/* Gives the oldest @n peeked entries back to the producer. @n: at most what is peeked. */
static inline void spsc_release(struct spsc_cons *c, unsigned n)
{
	c->released += n;
	shm_store_release32(&c->sh->cons, c->released); /* barrier pair [S] */
}

/* True when spsc_peek would find nothing; for the last look before sleeping. Takes no entry. */
static inline int spsc_cons_empty(struct spsc_cons *c)
{
	return c->prod == c->peeked && (c->err || spsc_cons_refresh(c) || c->prod == c->peeked);
}

#endif
