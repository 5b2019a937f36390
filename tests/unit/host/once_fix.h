/* SPDX-License-Identifier: BSD-3-Clause */
/* What is watched by the tests that count the device's loads, of any layout; behind dev_fix.h. */
#ifndef ONCE_FIX_H
#define ONCE_FIX_H

#include "../read_once.h"
#include "dev_fix.h"

/* The rings as the device maps them; @r is one of them. */
static inline void watch_ring(const struct vhost_ring *r)
{
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++)
		once_watch(r->area.part[i], vhost_ring_bytes(r->layout, i, r->area.size));
}

static inline const uint8_t *host_va(struct fix *f, uint64_t off)
{
	return f->q->ep->mem->r[0].va + off;
}

#endif
