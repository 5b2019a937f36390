/* SPDX-License-Identifier: BSD-3-Clause */
/* Common to all layouts: faults, loading, translation. */
#include "vhost_ring.h"

#include "vhost_layouts.h"

#include <errno.h>
#include <stdlib.h>

static const char *const fault_text[] = {
	[VHOST_RING_OK] = "no fault",
	[VHOST_RING_BAD_AVAIL] = "avail index offers more than the ring holds",
	[VHOST_RING_BAD_HEAD] = "head index beyond the descriptor table",
	[VHOST_RING_BAD_NEXT] = "next index beyond the descriptor table",
	[VHOST_RING_CHAIN_LONG] =
		"descriptor chain longer than its table (a loop), than what is free, or than 1024",
	[VHOST_RING_CHAIN_BYTES] = "descriptor chain of more than 4 GiB",
	[VHOST_RING_BAD_ADDR] = "buffer outside guest memory",
	[VHOST_RING_NOT_READABLE] = "writable descriptor where only readable ones may be",
	[VHOST_RING_NOT_WRITABLE] = "readable descriptor where only writable ones may be",
	[VHOST_RING_IND_OFF] = "indirect descriptor without the feature",
	[VHOST_RING_IND_NESTED] = "indirect descriptor inside an indirect table",
	[VHOST_RING_IND_NEXT] = "indirect descriptor with NEXT, or in a list",
	[VHOST_RING_IND_LEN] = "indirect table length is 0 or no multiple of 16",
	[VHOST_RING_IND_LONG] = "indirect table too large",
	[VHOST_RING_IND_ADDR] = "indirect table outside guest memory",
	[VHOST_RING_IND_BAD_NEXT] = "next index beyond the indirect table",
	[VHOST_RING_SHORT] = "receive buffer too short for a packet header",
	[VHOST_RING_FAULT] = "the file behind the guest's memory was cut off",
	[VHOST_RING_PIECES] = "descriptor chain scattered over too many places by the IOMMU",
	[VHOST_RING_CALL] = "calls block: its VMM has made the descriptor for them do that",
};
_Static_assert(sizeof(fault_text) / sizeof(fault_text[0]) == VHOST_RING_FAULTS, "a text for each");

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

/* ---- layouts ---- */

const struct vhost_ring_layout *vhost_ring_layout_of(uint64_t features)
{
#define ADDRESS(layout) &vhost_ring_##layout,
	static const struct vhost_ring_layout *const all[] = {VHOST_LAYOUTS(ADDRESS)};
#undef ADDRESS
	const struct vhost_ring_layout *plain = NULL;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i]->feature & features)
			return all[i];
		if (!all[i]->feature)
			plain = all[i];
	}
	return plain;
}

static bool area_ok(const struct vhost_ring_layout *l, const struct vhost_ring_area *a)
{
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++)
		if ((uintptr_t)a->part[i] & (l->part[i].align - 1))
			return false;
	return !l->pos_refused(a->pos, a->size) && a->size != 0 && a->size <= VHOST_RING_SIZE_MAX &&
	       (l->any_size || (a->size & (a->size - 1)) == 0);
}

/* Makes r->own large enough. 0 or -ENOMEM. */
static int own_reserve(struct vhost_ring *r, const struct vhost_ring_layout *l, uint32_t size)
{
	size_t want = l->own_bytes ? l->own_bytes(size) : 0;
	void *own;

	if (want <= r->own_bytes)
		return 0;
	own = aligned_alloc(SHM_CACHE_LINE, want);
	if (!own)
		return -ENOMEM;
	free(r->own);
	r->own = own;
	r->own_bytes = want;
	return 0;
}

int vhost_ring_load(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem, struct guest_iommu *iommu, uint64_t features,
		    bool writable)
{
	const struct vhost_ring_layout *l = vhost_ring_layout_of(features);

	if (!area_ok(l, a))
		return -EINVAL;
	if (own_reserve(r, l, a->size) < 0)
		return -ENOMEM;
	*r = (struct vhost_ring){
		.area = *a,
		.mem = mem,
		.iommu = iommu,
		.layout = l,
		.event_idx = features & VSOCK_FEATURE_EVENT_IDX,
		.indirect = features & VSOCK_FEATURE_INDIRECT_DESC,
		.writable = writable,
		.own = r->own,
		.own_bytes = r->own_bytes,
	};
	l->load(r);
	return 0;
}

void vhost_ring_fini(struct vhost_ring *r)
{
	free(r->own);
	r->own = NULL;
	r->own_bytes = 0;
}

int vhost_ring_move(struct vhost_ring *r, const struct vhost_ring_area *a,
		    const struct guest_mem *mem)
{
	if (!area_ok(r->layout, a) || a->size != r->area.size)
		return -EINVAL;
	r->area = *a;
	r->mem = mem;
	r->hint = 0;
	if (r->layout->moved)
		r->layout->moved(r);
	return 0;
}

/* ---- translation ---- */

int vhost_ring_piece(const struct vhost_ring *r, struct iova a, bool write, uint32_t *len,
		     uint8_t **va)
{
	uint64_t n = *len;
	struct uva to;
	int ret = r->iommu->translate(r->iommu, a, write, &n, &to);

	if (ret < 0)
		return ret;
	*va = guest_mem_uva(r->mem, to, n);
	*len = (uint32_t)n;
	return *va ? 0 : -EFAULT;
}

uint8_t *vhost_ring_contiguous(const struct vhost_ring *r, struct iova a, uint32_t len)
{
	uint32_t n = len;
	uint8_t *va;

	return len && vhost_ring_piece(r, a, r->writable, &n, &va) == 0 && n == len ? va : NULL;
}

/* vhost_ring_piece() for a walk, counted. -EPROTO: too many lookups for one chain. */
static int next_piece(struct vhost_ring *r, struct iova a, bool write, uint32_t *len, uint8_t **va)
{
	r->walked += VHOST_RING_LOOKUP;
	if (++r->lookups > VHOST_RING_LOOKUPS_MAX)
		return vhost_ring_break(r, VHOST_RING_PIECES);
	return vhost_ring_piece(r, a, write, len, va);
}

int vhost_ring_copy_in(struct vhost_ring *r, struct iova a, void *to, uint32_t len)
{
	for (uint32_t done = 0, n; done < len; done += n) {
		uint8_t *va;
		int ret;

		n = len - done;
		ret = next_piece(r, iova_add(a, done), false, &n, &va);
		if (ret < 0)
			return ret;
		shm_copy_in((uint8_t *)to + done, va, n);
	}
	return 0;
}

int vhost_segs_add_pieces(struct vhost_ring *r, struct vhost_segs *s, const struct vhost_desc *d)
{
	s->bytes += d->len;
	if (s->bytes > UINT32_MAX)
		return vhost_ring_break(r, VHOST_RING_CHAIN_BYTES);
	for (uint32_t done = 0, n; done < d->len; done += n) {
		uint8_t *va;
		int ret;

		n = d->len - done;
		ret = next_piece(r, iova_add(d->addr, done), r->writable, &n, &va);
		if (ret == -EAGAIN || ret == -EPROTO)
			return ret;
		if (ret < 0)
			return vhost_ring_break(r, VHOST_RING_BAD_ADDR);
		if (s->n == s->max)
			return -ENOSPC;
		s->seg[s->n++] = (struct pkt_seg){va, n};
	}
	return 0;
}
