/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_ring.h"

#include <errno.h>

static const char *const fault_text[] = {
	[VHOST_RING_OK] = "no fault",
	[VHOST_RING_BAD_AVAIL] = "avail index offers more than the ring holds",
	[VHOST_RING_BAD_HEAD] = "head index beyond the descriptor table",
	[VHOST_RING_BAD_NEXT] = "next index beyond the descriptor table",
	[VHOST_RING_CHAIN_LONG] = "descriptor chain longer than its table (a loop)",
	[VHOST_RING_CHAIN_BYTES] = "descriptor chain of more than 4 GiB",
	[VHOST_RING_BAD_ADDR] = "buffer outside guest memory",
	[VHOST_RING_NOT_READABLE] = "writable descriptor where only readable ones may be",
	[VHOST_RING_NOT_WRITABLE] = "readable descriptor where only writable ones may be",
	[VHOST_RING_IND_OFF] = "indirect descriptor without the feature",
	[VHOST_RING_IND_NESTED] = "indirect descriptor inside an indirect table",
	[VHOST_RING_IND_NEXT] = "indirect descriptor with NEXT",
	[VHOST_RING_IND_LEN] = "indirect table length is 0 or no multiple of 16",
	[VHOST_RING_IND_LONG] = "indirect table too large",
	[VHOST_RING_IND_ADDR] = "indirect table outside guest memory",
	[VHOST_RING_IND_BAD_NEXT] = "next index beyond the indirect table",
	[VHOST_RING_SHORT] = "receive buffer too short for a packet header",
	[VHOST_RING_FAULT] = "the file behind the guest's memory was cut off",
};
_Static_assert(sizeof(fault_text) / sizeof(fault_text[0]) == VHOST_RING_FAULTS, "a text for each");
_Static_assert(sizeof(struct vring_desc) == 16, "descriptor is 16 bytes");
_Static_assert(sizeof(struct vring_used_elem) == 8, "used element is 8 bytes");

const char *vhost_ring_fault_text(unsigned fault)
{
	return fault < VHOST_RING_FAULTS ? fault_text[fault] : "unknown fault";
}

int vhost_ring_break(struct vhost_ring *r, enum vhost_ring_fault why)
{
	if (!r->broken)
		r->broken = (uint8_t)why;
	return -EPROTO;
}

static bool area_ok(const struct vhost_ring_area *a)
{
	return a->size != 0 && a->size <= VHOST_RING_SIZE_MAX && (a->size & (a->size - 1)) == 0 &&
	       ((uintptr_t)a->desc & 15) == 0 && ((uintptr_t)a->avail & 1) == 0 &&
	       ((uintptr_t)a->used & 3) == 0;
}

int vhost_ring_load(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem, bool event_idx, bool indirect, bool writable)
{
	if (!area_ok(a))
		return -EINVAL;
	*r = (struct vhost_ring){
		.desc = a->desc,
		.avail = a->avail,
		.used = a->used,
		.mem = mem,
		.size = a->size,
		.event_idx = event_idx,
		.indirect = indirect,
		.writable = writable,
	};
	r->used_idx = le16toh(shm_load16(&a->used->idx));
	r->published = r->used_idx;
	r->last_avail = r->used_idx;
	r->shadow = r->used_idx;
	vhost_ring_notify_off(r);
	return 0;
}

int vhost_ring_move(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem)
{
	if (!area_ok(a) || a->size != r->size)
		return -EINVAL;
	r->desc = a->desc;
	r->avail = a->avail;
	r->used = a->used;
	r->mem = mem;
	r->hint = 0;
	return 0;
}

/* A walk: the table it is in, and how many descriptors it may still visit. */
struct walk {
	const uint8_t *table;
	uint32_t entries;
	uint32_t left;
	bool indirect;
};

/* Follows descriptor @d into its indirect table. 0 or -EPROTO. */
static int enter_indirect(struct vhost_ring *r, struct walk *w, const struct vring_desc *d)
{
	uint32_t bound = r->size > VHOST_RING_INDIRECT_MAX ? r->size : VHOST_RING_INDIRECT_MAX;

	if (!r->indirect)
		return vhost_ring_break(r, VHOST_RING_IND_OFF);
	if (w->indirect)
		return vhost_ring_break(r, VHOST_RING_IND_NESTED);
	if (d->flags & VRING_DESC_F_NEXT)
		return vhost_ring_break(r, VHOST_RING_IND_NEXT);
	if (d->len == 0 || d->len % sizeof(*d))
		return vhost_ring_break(r, VHOST_RING_IND_LEN);
	w->entries = d->len / (uint32_t)sizeof(*d);
	if (w->entries > bound)
		return vhost_ring_break(r, VHOST_RING_IND_LONG);
	w->table = guest_mem_gpa(r->mem, &r->hint, (struct gpa){d->addr}, d->len);
	if (!w->table)
		return vhost_ring_break(r, VHOST_RING_IND_ADDR);
	w->left = w->entries;
	w->indirect = true;
	return 0;
}

int vhost_ring_walk(struct vhost_ring *r, uint16_t head, struct pkt_seg *seg, uint32_t max,
		    uint32_t *ndesc)
{
	struct walk w = {(const uint8_t *)r->desc, r->size, r->size, false};
	uint64_t total = 0;
	uint32_t n = 0, i = head, ring_descs = 0;

	for (;;) {
		struct vring_desc d;

		if (i >= w.entries)
			return vhost_ring_break(r, w.indirect ? VHOST_RING_IND_BAD_NEXT
							      : VHOST_RING_BAD_NEXT);
		if (w.left-- == 0)
			return vhost_ring_break(r, VHOST_RING_CHAIN_LONG);
		vhost_ring_desc_get(&d, w.table + (size_t)i * sizeof(d));
		r->walked++;
		ring_descs += !w.indirect;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			/* WRITE on it means nothing (section 2.7.5.3.2). */
			if (enter_indirect(r, &w, &d) < 0)
				return -EPROTO;
			i = 0;
			continue;
		}
		if (!(d.flags & VRING_DESC_F_WRITE) == r->writable)
			return vhost_ring_break(r, r->writable ? VHOST_RING_NOT_WRITABLE
							       : VHOST_RING_NOT_READABLE);
		if (d.len) {
			uint8_t *va = guest_mem_gpa(r->mem, &r->hint, (struct gpa){d.addr}, d.len);

			if (!va)
				return vhost_ring_break(r, VHOST_RING_BAD_ADDR);
			total += d.len;
			if (total > UINT32_MAX)
				return vhost_ring_break(r, VHOST_RING_CHAIN_BYTES);
			if (n == max)
				return -ENOSPC;
			seg[n++] = (struct pkt_seg){va, d.len};
		}
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		i = d.next;
	}
	*ndesc = ring_descs;
	return (int)n;
}

void vhost_ring_notify_on(struct vhost_ring *r, uint16_t event)
{
	if (r->event_idx)
		/* avail_event lies behind the last element; 2-byte aligned as the ring is 4. */
		shm_store16((uint16_t *)(void *)&r->used->ring[r->size], htole16(event));
	else
		shm_store16(&r->used->flags, 0);
}

void vhost_ring_notify_off(struct vhost_ring *r)
{
	/* With EVENT_IDX an index that has been passed says no until the counter wraps. */
	if (!r->event_idx)
		shm_store16(&r->used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}
