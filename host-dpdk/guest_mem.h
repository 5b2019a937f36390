/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own mappings of a guest's memory.
 *
 * Theory of operation
 * -------------------
 * A vhost-user frontend describes the guest's memory as up to eight regions, each with a file
 * descriptor. A buffer on loan to the application must survive the end of the guest and a new
 * description of its memory, so maps are counted. One import is one
 * *generation*: an immutable table, reference-counted, which stays mapped while anybody refers to
 * it. When the guest is stopped while references are out, guest_mem_revoke() puts private
 * anonymous memory in the place of the guest's: late reads see zeroes, late writes reach nobody,
 * and the addresses stay valid until the last reference goes. A live change of the table keeps
 * the old generation for as long as buffers in it are out; guest_mem_gone() tells whether the guest
 * still has the memory behind them.
 *
 * A file that its owner cuts short later is caught by sigbus.h, if the application allows: the
 * region turns to zeroes and guest_mem.fault says so.
 *
 * Addresses come from the guest and are hostile. An access must lie inside one region with all its
 * bytes; regions that touch are not joined, because they need not touch in our address space. The
 * arithmetic (offset first, then the room behind it) cannot overflow for any input.
 *
 * No DPDK in here; the unit tests and fuzzers link this file alone.
 */
#ifndef ZV_GUEST_MEM_H
#define ZV_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUEST_MEM_REGIONS 8

/* A region as the frontend describes it. */
struct guest_mem_src {
	uint64_t gpa;	 /* guest physical address */
	uint64_t uva;	 /* address in the frontend's own address space */
	uint64_t size;	 /* bytes */
	uint64_t offset; /* of the region in the file */
	int fd;		 /* borrowed for the call */
};

struct guest_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;
	uint8_t *va;
};

struct guest_mem {
	struct guest_region r[GUEST_MEM_REGIONS];
	uint32_t nregions; /* >= 1 */
	uint32_t refs;
	uint64_t page_size; /* smallest of the regions */
	uint32_t fault; /* 1: a file was cut off, and zeroes took its place (sigbus.h); atomic */
	struct {
		void *addr;
		size_t len;
		dev_t dev; /* the file, ... */
		ino_t ino;
		uint64_t offset; /* ... and where in it the region begins */
		int watch;	 /* sigbus.h */
	} map[GUEST_MEM_REGIONS];
};

/*
 * Maps @n regions. *out has one reference, the caller's. 0; -EINVAL (no region or too many, an
 * empty region, one that wraps at 2^64, a file too short for it), -ENOMEM, or what mmap said.
 */
int guest_mem_import(struct guest_mem **out, const struct guest_mem_src *src, unsigned n);

struct guest_mem *guest_mem_get(struct guest_mem *m);
/* Drops a reference; unmaps with the last. NULL is allowed. */
void guest_mem_put(struct guest_mem *m);

/*
 * Replaces the guest's memory by private anonymous memory at the same addresses. 0 or -errno of
 * mmap; then the regions not yet replaced are still the guest's.
 */
int guest_mem_revoke(struct guest_mem *m);

/*
 * True when some of the @len bytes at @va, in @m's map, are in a region that @now does not have:
 * not at that guest physical address, or backed by another file or another part of it.
 */
bool guest_mem_gone(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
		    uint64_t len);

/* Slow half of guest_mem_gpa: searches all regions and remembers the one found in *hint. */
uint8_t *guest_mem_search(const struct guest_mem *m, uint32_t *hint, uint64_t gpa, uint64_t len);

/* A frontend's virtual address (ring addresses come as such); NULL when not wholly in a region. */
uint8_t *guest_mem_uva(const struct guest_mem *m, uint64_t uva, uint64_t len);

/*
 * Where @len bytes at guest physical address @gpa are, or NULL. *hint: a region number below
 * nregions, kept by the caller; 0 at first.
 */
static inline uint8_t *guest_mem_gpa(const struct guest_mem *m, uint32_t *hint, uint64_t gpa,
				     uint64_t len)
{
	const struct guest_region *r = &m->r[*hint];
	uint64_t off = gpa - r->gpa;

	if (__builtin_expect(off < r->size && len <= r->size - off, 1))
		return r->va + off;
	return guest_mem_search(m, hint, gpa, len);
}

#endif
