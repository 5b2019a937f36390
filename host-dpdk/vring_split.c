/* SPDX-License-Identifier: BSD-3-Clause */
#include "vring.h"

#include <errno.h>

static const char *const fault_text[] = {
	[DVRING_OK] = "no fault",
	[DVRING_BAD_AVAIL] = "avail index offers more than the ring holds",
	[DVRING_BAD_HEAD] = "head index beyond the descriptor table",
	[DVRING_BAD_NEXT] = "next index beyond the descriptor table",
	[DVRING_CHAIN_LONG] = "descriptor chain longer than its table (a loop)",
	[DVRING_CHAIN_BYTES] = "descriptor chain of more than 4 GiB",
	[DVRING_BAD_ADDR] = "buffer outside guest memory",
	[DVRING_NOT_READABLE] = "writable descriptor where only readable ones may be",
	[DVRING_NOT_WRITABLE] = "readable descriptor where only writable ones may be",
	[DVRING_IND_OFF] = "indirect descriptor without the feature",
	[DVRING_IND_NESTED] = "indirect descriptor inside an indirect table",
	[DVRING_IND_NEXT] = "indirect descriptor with NEXT",
	[DVRING_IND_LEN] = "indirect table length is 0 or no multiple of 16",
	[DVRING_IND_LONG] = "indirect table too large",
	[DVRING_IND_ADDR] = "indirect table outside guest memory",
	[DVRING_IND_BAD_NEXT] = "next index beyond the indirect table",
	[DVRING_SHORT] = "receive buffer too short for a packet header",
	[DVRING_FAULT] = "the file behind the guest's memory was cut off",
};
_Static_assert(sizeof(fault_text) / sizeof(fault_text[0]) == DVRING_FAULTS, "a text for each");
_Static_assert(sizeof(struct vring_desc) == 16, "descriptor is 16 bytes");
_Static_assert(sizeof(struct vring_used_elem) == 8, "used element is 8 bytes");

const char *dvring_fault_text(unsigned fault)
{
	return fault < DVRING_FAULTS ? fault_text[fault] : "unknown fault";
}

int dvring_break(struct dvring *r, enum dvring_fault why)
{
	if (!r->broken)
		r->broken = (uint8_t)why;
	return -EPROTO;
}

static bool area_ok(const struct dvring_area *a)
{
	return a->size != 0 && a->size <= DVRING_SIZE_MAX && (a->size & (a->size - 1)) == 0 &&
	       ((uintptr_t)a->desc & 15) == 0 && ((uintptr_t)a->avail & 1) == 0 &&
	       ((uintptr_t)a->used & 3) == 0;
}

int dvring_load(struct dvring *r, const struct dvring_area *a, const struct guest_mem *mem,
		bool event_idx, bool indirect, bool writable)
{
	if (!area_ok(a))
		return -EINVAL;
	*r = (struct dvring){
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
	dvring_notify_off(r);
	return 0;
}

int dvring_move(struct dvring *r, const struct dvring_area *a, const struct guest_mem *mem)
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
static int enter_indirect(struct dvring *r, struct walk *w, const struct vring_desc *d)
{
	uint32_t bound = r->size > DVRING_INDIRECT_MAX ? r->size : DVRING_INDIRECT_MAX;

	if (!r->indirect)
		return dvring_break(r, DVRING_IND_OFF);
	if (w->indirect)
		return dvring_break(r, DVRING_IND_NESTED);
	if (d->flags & VRING_DESC_F_NEXT)
		return dvring_break(r, DVRING_IND_NEXT);
	if (d->len == 0 || d->len % sizeof(*d))
		return dvring_break(r, DVRING_IND_LEN);
	w->entries = d->len / (uint32_t)sizeof(*d);
	if (w->entries > bound)
		return dvring_break(r, DVRING_IND_LONG);
	w->table = guest_mem_gpa(r->mem, &r->hint, d->addr, d->len);
	if (!w->table)
		return dvring_break(r, DVRING_IND_ADDR);
	w->left = w->entries;
	w->indirect = true;
	return 0;
}

int dvring_walk(struct dvring *r, uint16_t head, struct pkt_seg *seg, uint32_t max, uint32_t *ndesc)
{
	struct walk w = {(const uint8_t *)r->desc, r->size, r->size, false};
	uint64_t total = 0;
	uint32_t n = 0, i = head, ring_descs = 0;

	for (;;) {
		struct vring_desc d;

		if (i >= w.entries)
			return dvring_break(r, w.indirect ? DVRING_IND_BAD_NEXT : DVRING_BAD_NEXT);
		if (w.left-- == 0)
			return dvring_break(r, DVRING_CHAIN_LONG);
		dvring_desc_get(&d, w.table + (size_t)i * sizeof(d));
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
			return dvring_break(r, r->writable ? DVRING_NOT_WRITABLE
							   : DVRING_NOT_READABLE);
		if (d.len) {
			uint8_t *va = guest_mem_gpa(r->mem, &r->hint, d.addr, d.len);

			if (!va)
				return dvring_break(r, DVRING_BAD_ADDR);
			total += d.len;
			if (total > UINT32_MAX)
				return dvring_break(r, DVRING_CHAIN_BYTES);
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

void dvring_notify_on(struct dvring *r, uint16_t event)
{
	if (r->event_idx)
		/* avail_event lies behind the last element; 2-byte aligned as the ring is 4. */
		shm_store16((uint16_t *)(void *)&r->used->ring[r->size], htole16(event));
	else
		shm_store16(&r->used->flags, 0);
}

void dvring_notify_off(struct dvring *r)
{
	/* With EVENT_IDX an index that has been passed says no until the counter wraps. */
	if (!r->event_idx)
		shm_store16(&r->used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}
