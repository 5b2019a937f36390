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
 * it. A live change of the table keeps the old generation for as long as buffers in it are out;
 * guest_mem_gone() tells whether the guest still has the memory behind them.
 *
 * Revocation. When the guest is stopped while buffers are out, private anonymous memory takes the
 * place of the guest's, because the guest may use that for something else from then on: late
 * writes reach nobody, and the addresses stay valid until the last reference goes. What the buffers
 * held is kept: it is copied into the new memory (guest_mem_keep, a buffer at a time) before that
 * is moved into place, with one mremap for a region, so that no reader sees anything else. The rest
 * reads as zeroes. A copy costs whole pages of private memory, so the caller bounds the pieces. (A
 * private mapping of the file would be simpler, but shows what the guest writes there later, and
 * holds a dead guest's memory for as long as one buffer is out.)
 *
 * A buffer that will be sent when the guest goes on must also have what the application has
 * written between copy and move: that went into guest memory, where guest_mem_catch_up() finds the
 * bytes that differ from the copy, and takes those over that have not been written again since. It
 * is exact for whoever writes each byte once.
 *
 * A file that its owner cuts short later is caught by api/sigbus.h, if the application allows: the
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

#include "proto/vm_addr.h"
#include "vu_limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A region as the frontend describes it. */
struct guest_mem_src {
	struct gpa gpa;
	struct uva uva;
	uint64_t size;	 /* bytes */
	uint64_t offset; /* of the region in the file */
	int fd;		 /* borrowed for the call */
};

struct guest_region {
	struct gpa gpa;
	uint64_t size;
	struct uva uva;
	uint8_t *va;
};

struct guest_mem {
	struct guest_region r[GUEST_MEM_REGIONS];
	uint32_t nregions; /* >= 1 */
	uint32_t refs;
	uint64_t page_size; /* smallest of the regions */
	uint32_t
		fault; /* 1: a file was cut off, and zeroes took its place (api/sigbus.h); atomic */
	struct {
		void *addr;
		size_t len;
		uint8_t *blank; /* during a revocation: what will take the map's place, ... */
		uint8_t *first; /* ... and what was copied there */
		dev_t dev;	/* the file, ... */
		ino_t ino;
		uint64_t offset; /* ... and where in it the region begins */
		int watch;	 /* api/sigbus.h */
	} map[GUEST_MEM_REGIONS];
};

/*
 * Maps @n regions. *out has one reference, the caller's. 0; -EINVAL (no region or too many, an
 * empty region, one that wraps at 2^64, a file too short for it), -ENOMEM, or what mmap said.
 */
int guest_mem_import(struct guest_mem **out, const struct guest_mem_src *src, unsigned n);

/*
 * Address space for all guests of the process is 2^47 bytes, and sparse files cost a frontend
 * nothing: large maps are refused (-ENOMEM) once all maps together have 64 TiB, so that room is
 * left for those of up to 64 GiB.
 */
#define GUEST_MEM_SMALL	    (1ull << 36)
#define GUEST_MEM_LARGE_ALL (1ull << 46)

struct guest_mem *guest_mem_get(struct guest_mem *m);
/* Drops a reference; unmaps with the last. NULL is allowed. */
void guest_mem_put(struct guest_mem *m);

/*
 * Revocation, once for a map: begin, keep for each buffer that is out, end, catch_up for those that
 * will be sent, done. @written: there will be a catch_up. 0 or -errno of mmap: the maps not yet
 * replaced are still the guest's. The memory must be the guest's still, or at least readable.
 */
int guest_mem_revoke_begin(struct guest_mem *m, bool written);
void guest_mem_keep(struct guest_mem *m, const uint8_t *va, size_t len);
int guest_mem_revoke_end(struct guest_mem *m);
/* Where the guest's bytes at @va of @m are in @now, another map of its memory. NULL: not all there.
 */
uint8_t *guest_mem_same(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
			size_t len);
/* @now: a map of the same guest's. False: it does not have that memory, the bytes are lost. */
bool guest_mem_catch_up(struct guest_mem *m, const struct guest_mem *now, uint8_t *va, size_t len);
void guest_mem_revoke_done(struct guest_mem *m);

/*
 * True when some of the @len bytes at @va, in @m's map, are in a region that @now does not have:
 * not at that guest physical address, or backed by another file or another part of it.
 */
bool guest_mem_gone(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
		    uint64_t len);

/* Slow half of guest_mem_gpa: searches all regions and remembers the one found in *hint. */
uint8_t *guest_mem_search(const struct guest_mem *m, uint32_t *hint, struct gpa a, uint64_t len);

/* Where @len bytes at the frontend's address @a are; NULL when not wholly in a region. */
uint8_t *guest_mem_uva(const struct guest_mem *m, struct uva a, uint64_t len);

/*
 * Where @len bytes at guest physical address @a are, or NULL. *hint: a region number below
 * nregions, kept by the caller; 0 at first.
 */
static inline uint8_t *guest_mem_gpa(const struct guest_mem *m, uint32_t *hint, struct gpa a,
				     uint64_t len)
{
	const struct guest_region *r = &m->r[*hint];
	uint64_t off = a.v - r->gpa.v;

	if (__builtin_expect(off < r->size && len <= r->size - off, 1))
		return r->va + off;
	return guest_mem_search(m, hint, a, len);
}

#endif
