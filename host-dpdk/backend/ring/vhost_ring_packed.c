/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_ring_packed.h"

#include <errno.h>

/* The position as encoded by vhost-user: each half is an index and a wrap counter. */
#define POS_WRAP (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/* ---- copying what is there ---- */

/* Copies the descriptor at @at, whose other word is @w. Returns the number of its node. */
static uint16_t copy(const struct vhost_ring *r, uint16_t at, uint64_t w)
{
	struct vhost_packed *b = r->packed;
	uint16_t no = b->free;
	struct vhost_packed_node *n = &b->node[no];

	b->free = n->next;
	n->addr = le64toh(shm_load64(&vhost_packed_ring(r)[at].addr));
	n->word = w & ~((uint64_t)VHOST_PACKED_MARKS << VHOST_PACKED_FLAGS_SHIFT);
	return no;
}

static bool goes_on(uint64_t w)
{
	return w >> VHOST_PACKED_FLAGS_SHIFT & VRING_DESC_F_NEXT;
}

/* Copies the descriptors after the first of a list, @no, from b->next_avail on. All of them were
 * written before the first was published. Returns their number; 0: the ring is broken. */
static __attribute__((noinline)) uint16_t copy_rest(struct vhost_ring *r, uint16_t no)
{
	struct vhost_packed *b = r->packed;
	struct vhost_packed_node *first = &b->node[no], *last = first;
	struct vhost_packed_pos p = b->next_avail;
	const uint64_t id = (uint64_t)UINT16_MAX << VHOST_PACKED_ID_SHIFT;
	uint16_t count = 1;

	while (goes_on(last->word)) {
		if (count == b->space || count == VHOST_RING_CHAIN_MAX) {
			(void)vhost_ring_break(r, VHOST_RING_CHAIN_LONG);
			return 0;
		}
		vhost_packed_advance(&p, 1, r->area.size);
		last->next = copy(r, p.at, le64toh(shm_load64(&vhost_packed_ring(r)[p.at].word)));
		last = &b->node[last->next];
		count++;
	}
	first->word = (first->word & ~id) | (last->word & id);
	r->walked += count;
	return count;
}

uint32_t vhost_packed_copy(struct vhost_ring *r, uint64_t w)
{
	struct vhost_packed *b = r->packed;
	const uint16_t most = VHOST_PACKED_LOOK, stop = b->space > most ? b->space - most : 0;
	uint32_t known;

	do {
		uint16_t no = copy(r, b->next_avail.at, w), count = 1;

		if (__builtin_expect(goes_on(w), 0) && !(count = copy_rest(r, no)))
			return 0;
		b->node[no].count = count;
		b->queue[b->tail++ & b->queue_mask] = no;
		b->space -= count;
		vhost_packed_advance(&b->next_avail, count, r->area.size);
		if (b->space <= stop)
			break;
		w = vhost_packed_load(r, b->next_avail.at);
	} while (vhost_packed_is_avail(w, &b->next_avail));
	known = (uint16_t)(b->tail - b->done);
	if (known > r->max_pending)
		r->max_pending = known;
	return vhost_packed_pending(r);
}

/* ---- walks ---- */

/* Copies entry @i of the indirect table at @table or, with an IOMMU, at @at. As walk(). */
VHOST_INLINE int entry(struct vhost_ring *r, const bool iommu, const uint8_t *table, struct iova at,
		       uint32_t i, struct vhost_desc *d)
{
	const size_t off = (size_t)i * sizeof(struct vhost_packed_desc);
	uint8_t copy[sizeof(struct vhost_packed_desc)];
	const uint8_t *from = copy;
	uint64_t rest;

	if (iommu) {
		int ret = vhost_ring_copy_in(r, iova_add(at, off), copy, sizeof(copy));

		if (ret < 0)
			return ret == -EFAULT ? vhost_ring_break(r, VHOST_RING_IND_ADDR) : ret;
	} else {
		from = table + off;
	}
	rest = le64toh(shm_load64_any(from + sizeof(uint64_t)));
	d->addr.v = le64toh(shm_load64_any(from));
	d->len = (uint32_t)rest;
	/* All others are reserved there, and ignored (section 2.8.7). */
	d->flags = rest >> VHOST_PACKED_FLAGS_SHIFT & VRING_DESC_F_WRITE;
	return 0;
}

/* Adds the buffers of the indirect table that @d refers to. As walk(). */
VHOST_INLINE int walk_table(struct vhost_ring *r, const bool iommu, struct vhost_segs *s,
			    const struct vhost_desc *d)
{
	uint32_t n = d->len / (uint32_t)sizeof(struct vhost_packed_desc);
	const uint8_t *table = NULL;

	if (!r->indirect)
		return vhost_ring_break(r, VHOST_RING_IND_OFF);
	if (n == 0 || d->len % sizeof(struct vhost_packed_desc))
		return vhost_ring_break(r, VHOST_RING_IND_LEN);
	if (n > VHOST_RING_CHAIN_MAX)
		return vhost_ring_break(r, VHOST_RING_IND_LONG);
	if (!iommu && !(table = guest_mem_gpa(r->mem, &r->hint, gpa_of_iova(d->addr), d->len)))
		return vhost_ring_break(r, VHOST_RING_IND_ADDR);
	for (uint32_t i = 0; i < n; i++) {
		struct vhost_desc e = {0};
		int ret;

		r->walked++;
		ret = entry(r, iommu, table, d->addr, i, &e);
		if (ret == 0)
			ret = vhost_segs_add(r, iommu, s, &e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

VHOST_INLINE int walk(struct vhost_ring *r, const bool iommu, uint16_t id, struct vhost_segs *s,
		      uint32_t *ndesc)
{
	const struct vhost_packed *b = r->packed;
	const struct vhost_packed_node *n = &b->node[id];
	uint16_t count = n->count;

	for (uint16_t i = 0; i < count; i++, n = &b->node[n->next]) {
		struct vhost_desc d = {.addr = {n->addr},
				       .len = (uint32_t)n->word,
				       .flags = (uint16_t)(n->word >> VHOST_PACKED_FLAGS_SHIFT)};
		int ret;

		r->walked++;
		if (!(d.flags & VRING_DESC_F_INDIRECT))
			ret = vhost_segs_add(r, iommu, s, &d);
		else if (count > 1)
			ret = vhost_ring_break(r, VHOST_RING_IND_NEXT);
		else
			ret = walk_table(r, iommu, s, &d);
		if (ret < 0)
			return ret;
	}
	*ndesc = count;
	return (int)s->n;
}

int vhost_packed_walk(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
		      uint32_t *ndesc)
{
	return walk(r, false, id, &(struct vhost_segs){.seg = seg, .max = max}, ndesc);
}

int vhost_packed_walk_iommu(struct vhost_ring *r, uint16_t id, struct pkt_seg *seg, uint32_t max,
			    uint32_t *ndesc)
{
	r->lookups = 0;
	return walk(r, true, id, &(struct vhost_segs){.seg = seg, .max = max}, ndesc);
}

/* ---- a session ---- */

/* A power of two that is not below @size. */
static uint32_t queue_size(uint32_t size)
{
	uint32_t n = 1;

	while (n < size)
		n *= 2;
	return n;
}

static size_t nodes_offset(uint32_t size)
{
	size_t n = sizeof(struct vhost_packed) + queue_size(size) * sizeof(uint16_t);

	return (n + SHM_CACHE_LINE - 1) & ~(size_t)(SHM_CACHE_LINE - 1);
}

static size_t own_bytes(uint32_t size)
{
	size_t n = nodes_offset(size) + size * sizeof(struct vhost_packed_node);

	return (n + SHM_CACHE_LINE - 1) & ~(size_t)(SHM_CACHE_LINE - 1);
}

static uint16_t marks_at(const struct vhost_ring *r, uint32_t i)
{
	uint64_t w = le64toh(shm_load64(&vhost_packed_ring(r)[i].word));

	return w >> VHOST_PACKED_FLAGS_SHIFT & VHOST_PACKED_MARKS;
}

/*
 * The position of the ring according to its contents: after the last descriptor that was used in
 * this lap, or made available again in the next lap since. Descriptors after it are available, or
 * were used in the lap before. A ring is all zeros before its first lap, as if it had been used in
 * a lap before that. The driver can falsify this, but harms only itself. It holds while each list
 * is one descriptor: of a longer list all but the first stay as they are.
 */
static uint32_t find(const struct vhost_ring *r)
{
	const uint32_t size = r->area.size;
	const uint16_t first = marks_at(r, 0);
	const bool used = first == 0 || first == VHOST_PACKED_MARKS;
	/* The lap, as its wrap counter, in which place 0 was last used. */
	const bool lap = used ? first != 0 : first == VHOST_PACKED_USED;
	const uint16_t done = lap ? VHOST_PACKED_MARKS : 0;
	const uint16_t again = lap ? VHOST_PACKED_USED : VHOST_PACKED_AVAIL;
	uint32_t end = 0;

	for (uint32_t i = 0; i < size; i++) {
		uint16_t marks = marks_at(r, i);

		if (marks == (done ^ VHOST_PACKED_MARKS))
			break;
		if (marks == done || marks == again)
			end = i + 1;
	}
	if (end == size)
		return !lap ? POS_WRAP : 0;
	return end | (lap ? POS_WRAP : 0);
}

/*
 * The position is read from the ring, as for a split one, if its driver can use indirect tables and
 * so makes no lists in the ring. After the end of a backend a frontend knows no more than we do:
 * QEMU reports what it was told when the device was last stopped, and User-mode Linux always says
 * 0, which is not the position of a fresh ring. Only without indirect descriptors is the frontend's
 * value used.
 */
static void load(struct vhost_ring *r)
{
	const uint32_t size = r->area.size;
	const uint32_t pos = r->indirect ? find(r) : r->area.pos.v;
	const uint16_t at = pos & (POS_WRAP - 1);
	const bool wrap = pos & POS_WRAP;
	struct vhost_packed *b = r->own;

	*b = (struct vhost_packed){
		.next_avail = {at, wrap ? VHOST_PACKED_AVAIL : VHOST_PACKED_USED},
		.used = {at, wrap ? VHOST_PACKED_MARKS : 0},
		.space = (uint16_t)size,
		.queue_mask = (uint16_t)(queue_size(size) - 1),
		.armed = true, /* zeroed memory asks to be told of every descriptor */
		.node = (struct vhost_packed_node *)(void *)((uint8_t *)b + nodes_offset(size)),
	};
	b->signalled = b->used;
	for (uint32_t i = 0; i < size; i++)
		b->node[i].next = (uint16_t)(i + 1);
	r->packed = b;
	vhost_packed_disarm(r);
}

/* We stop and start with nothing in flight. Frontends that know only one position leave the upper
 * half 0. */
static const char *pos_refused(struct vhost_ring_pos pos, uint32_t size)
{
	if (pos.v >> 16 && pos.v >> 16 != (pos.v & UINT16_MAX))
		return "a packed ring with buffers in flight cannot be started: its position does "
		       "not tell which they are";
	return size && (pos.v & (POS_WRAP - 1)) >= size
		       ? "it lies beyond the end of the packed ring"
		       : NULL;
}

const struct vhost_ring_layout vhost_ring_packed = {
	.name = "packed",
	.feature = VSOCK_FEATURE_RING_PACKED,
	.verbs = &vhost_packed_verbs,
	.part = {[VHOST_DESC_AREA] = {.per_entry = sizeof(struct vhost_packed_desc), .align = 16},
		 [VHOST_DRIVER_AREA] = {.fixed = sizeof(struct vring_packed_desc_event),
					.align = 4},
		 [VHOST_DEVICE_AREA] = {.fixed = sizeof(struct vring_packed_desc_event),
					.align = 4}},
	.any_size = true,
	.own_bytes = own_bytes,
	.pos_refused = pos_refused,
	.fresh = {(POS_WRAP << 16) | POS_WRAP},
	.load = load,
};
