/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest for tests: a memfd as its memory, mapped once by "the guest" and once by guest_mem, and
 * the driver's half of rings, written by hand so that it can do everything wrong.
 */
#ifndef GUEST_FIX_H
#define GUEST_FIX_H

#include "guest_ram.h"

/*
 * The driver's half of ring number @no: a struct drv, and what begins with drv_. Tests write
 * descriptors by drv_desc() and offer the chain that begins with one. With RINGS_PACKED, for which
 * tests are compiled a second time, the ring is a packed one.
 */
#ifdef RINGS_PACKED
#include "drv_packed.h"
#else
#include "drv_split.h"
#endif

static inline void drv_desc(struct drv *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	d->desc[i] = (struct vring_desc){addr, len, flags, next};
}

/* Asserts that the next used element is (@id, @len). */
#define assert_used(d, want_id, want_len)                                                          \
	do {                                                                                       \
		uint32_t id_ = UINT32_MAX, len_ = UINT32_MAX;                                      \
		assert_true(drv_used(d, &id_, &len_));                                             \
		assert_int_equal(id_, want_id);                                                    \
		assert_int_equal(len_, want_len);                                                  \
	} while (0)

#endif
