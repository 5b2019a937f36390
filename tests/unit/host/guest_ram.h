/* SPDX-License-Identifier: BSD-3-Clause */
/* A memfd as the memory of a guest for tests, mapped once by "the guest" and once by guest_mem. */
#ifndef GUEST_RAM_H
#define GUEST_RAM_H

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

#include "mem/guest_mem.h"
#include "ring/vhost_ring.h"

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

#endif
