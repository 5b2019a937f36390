/* SPDX-License-Identifier: BSD-3-Clause */
/* One ring, taken from by the code under test. */
#ifndef RING_FIX_H
#define RING_FIX_H

#include "guest_fix.h"
#ifdef RINGS_PACKED
#include "ring/vhost_ring_packed.h"
#else
#include "ring/vhost_ring_split.h"
#endif

#include <errno.h>
#include <stdlib.h>

#define N     16u
#define D     (G_GPA + G_DATA)
#define TABLE (G_DATA + 0x10000)
#define END   (G_GPA + G_SIZE)

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define IND   VRING_DESC_F_INDIRECT

struct fix {
	struct guest g;
	struct drv d;
	struct vhost_ring r;
	struct pkt_seg seg[2048];
	uint32_t ndesc;
};

#define EVENT_IDX VSOCK_FEATURE_EVENT_IDX
#define INDIRECT  VSOCK_FEATURE_INDIRECT_DESC

static inline void load(struct fix *f, uint64_t features, bool writable)
{
	struct vhost_ring_area a;

	drv_make(&f->d, &f->g, 0, N);
	a = drv_area(&f->d, f->g.gm);
	assert_int_equal(vhost_ring_load(&f->r, &a, f->g.gm, NULL, features | DRV_LAYOUT, writable),
			 0);
}

static inline int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_make(&f->g);
	load(f, EVENT_IDX | INDIRECT, false);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fix *f = *state;

	vhost_ring_fini(&f->r);
	guest_free(&f->g);
	free(f);
	return 0;
}

/* Descriptor @i of the indirect table in guest memory. */
static inline void table(struct fix *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
			 uint16_t next)
{
	((struct vring_desc *)(void *)(f->g.mem + TABLE))[i] =
		(struct vring_desc){addr, len, flags, next};
}

/* Offers and takes the chain at @head. */
static inline int take(struct fix *f, uint16_t head)
{
	struct vhost_desc first;
	uint16_t id;

	drv_offer(&f->d, head);
	if (!vhost_ring_refresh(&f->r) || !vhost_ring_peek(&f->r, 0, &id, &first))
		return -EPROTO;
	vhost_ring_take(&f->r);
	return vhost_ring_walk(&f->r, id, f->seg, 2048, &f->ndesc);
}

#endif
