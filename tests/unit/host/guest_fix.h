/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest for tests: a memfd as its memory, mapped once by "the guest" and once by guest_mem, and
 * the driver's half of split rings, written by hand so that it can do everything wrong.
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

/* The driver's half of ring number @no. */
struct drv {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size, avail_idx, seen;
	uint64_t off; /* of the ring in guest memory */
};

#define DRV_AVAIL 0x1000ull
#define DRV_USED  0x2000ull

static inline void drv_make(struct drv *d, const struct guest *g, unsigned no, uint16_t size)
{
	memset(d, 0, sizeof(*d));
	d->off = no * G_RING;
	d->desc = (void *)(g->mem + d->off);
	d->avail = (void *)(g->mem + d->off + DRV_AVAIL);
	d->used = (void *)(g->mem + d->off + DRV_USED);
	d->size = size;
	memset(g->mem + d->off, 0, G_RING);
}

/* The device's view of the same ring. */
static inline struct vhost_ring_area drv_area(const struct drv *d, const struct guest_mem *gm)
{
	uint8_t *base = gm->r[0].va + d->off;

	return (struct vhost_ring_area){.part = {base, base + DRV_AVAIL, base + DRV_USED},
					.size = d->size};
}

static inline void drv_desc(struct drv *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	d->desc[i] = (struct vring_desc){addr, len, flags, next};
}

static inline void drv_offer(struct drv *d, uint16_t head)
{
	d->avail->ring[d->avail_idx & (d->size - 1)] = head;
	__atomic_store_n(&d->avail->idx, ++d->avail_idx, __ATOMIC_RELEASE);
}

/* Takes the next used element. False: none. */
static inline bool drv_used(struct drv *d, uint32_t *id, uint32_t *len)
{
	if (__atomic_load_n(&d->used->idx, __ATOMIC_ACQUIRE) == d->seen)
		return false;
	*id = d->used->ring[d->seen & (d->size - 1)].id;
	*len = d->used->ring[d->seen & (d->size - 1)].len;
	d->seen++;
	return true;
}

/* Where the device asks to be kicked, with EVENT_IDX. */
static inline uint16_t drv_avail_event(const struct drv *d)
{
	uint16_t v;

	memcpy(&v, &d->used->ring[d->size], sizeof(v));
	return v;
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
