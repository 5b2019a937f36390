/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest for tests: a memfd as its memory, mapped once by "the guest" and once by guest_mem, and
 * the driver's half of rings, written by hand so that it can do everything wrong.
 */
#ifndef GUEST_FIX_H
#define GUEST_FIX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_mem.h"
#include "vhost_ring.h"

#define G_GPA  0x100000ull
#define G_UVA  0x7f0000000000ull
#define G_SIZE 0x200000ull
#define G_RING 0x4000ull  /* bytes of guest memory given to each ring */
#define G_DATA 0x40000ull /* offset of the first byte that no ring uses */

struct guest {
	int fd;
	uint8_t *mem;
	struct guest_mem *gm;
};

static inline struct guest_mem_src guest_src(const struct guest *g)
{
	return (struct guest_mem_src){.gpa = {G_GPA}, .uva = {G_UVA}, .size = G_SIZE, .fd = g->fd};
}

static inline void guest_make(struct guest *g)
{
	struct guest_mem_src src;

	g->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(g->fd >= 0);
	assert_int_equal(ftruncate(g->fd, G_SIZE), 0);
	g->mem = mmap(NULL, G_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	assert_true(g->mem != MAP_FAILED);
	src = guest_src(g);
	assert_int_equal(guest_mem_import(&g->gm, &src, 1), 0);
}

static inline void guest_free(struct guest *g)
{
	guest_mem_put(g->gm);
	munmap(g->mem, G_SIZE);
	close(g->fd);
}

#define DRV_AVAIL 0x1000ull
#define DRV_USED  0x2000ull

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
