/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our own mappings of a guest's memory.
 *
 * Theory of operation
 * -------------------
 * A vhost-user frontend describes the guest's memory as up to eight regions, each with a file
 * descriptor. A buffer on loan to the application must stay valid when the guest ends or describes
 * its memory anew, so mappings are reference-counted. One import is one *generation*: an immutable,
 * reference-counted table that stays mapped while anybody refers to it. When the memory table is
 * changed live, the old generation is kept as long as buffers in it are out; guest_mem_gone() tells
 * whether the guest still has the memory behind them.
 *
 * Revocation. When the guest is stopped while buffers are out, its memory is replaced by private
 * anonymous memory, because the guest may from then on use its memory for something else: late
 * writes reach nobody, and the addresses stay valid until the last reference is dropped. The
 * contents of the buffers are kept. They are copied into the new memory (guest_mem_preserve(), one
 * buffer at a time) before it is moved into place with one mremap() per region, so no reader sees
 * anything else. Everything else reads as zeroes. A copy costs whole pages of private memory, so
 * the caller limits the number of pieces. (A private mapping of the file would be simpler, but it
 * would show what the guest writes later, and would hold a dead guest's memory as long as one
 * buffer is out.)
 *
 * A buffer that will be sent when the guest continues must also contain what the application wrote
 * between the copy and the move. Those writes went to guest memory: guest_mem_catch_up() finds the
 * bytes there that differ from the copy, and takes them over unless they have been written again
 * since. This is exact if the application writes each byte once.
 *
 * To unmap or replace a map takes as long as there are pages in it, and a peer decides how many it
 * has touched. guest_mem_strip() takes them out of a former table: mremap() with MREMAP_DONTUNMAP
 * moves whole page tables to another address, in less than a ms for each region, and leaves the map
 * empty. A thread that may wait unmaps the pages there. What is still used of the former table
 * comes back by page faults, from the file.
 *
 * A file that its owner truncates later is handled by api/sigbus.h, if the application allows that:
 * the region turns to zeroes and guest_mem.fault is set.
 *
 * Addresses come from the guest and are hostile. All bytes of an access must lie inside one region;
 * adjacent regions are not joined, because they need not be adjacent in our address space. The
 * arithmetic (first the offset, then the bytes left after it) cannot overflow for any input.
 *
 * This file does not use DPDK; the unit tests and fuzzers link it alone.
 */
#ifndef ZV_GUEST_MEM_H
#define ZV_GUEST_MEM_H

#include "mem_sleep.h"
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
	uint32_t nregions;	  /* >= 1 */
	uint32_t refs;		  /* users of the map */
	uint32_t holders;	  /* of the structure: the map, and those that have left it */
	uint32_t unmapped;	  /* atomic */
	struct mem_account *pays; /* mem_payer() of the import, with a reference; NULL: nobody */
	struct guest_mem *next;	  /* of those that wait in an unmapper */
	uint64_t page_size;	  /* smallest of the regions */
	uint32_t fault; /* 1: a file was truncated and replaced by zeroes (api/sigbus.h); atomic */
	struct {
		void *addr;
		size_t len;
		uint8_t *blank; /* during a revocation: the memory that will replace the map, ... */
		uint8_t *first; /* ... and the bytes copied there */
		dev_t dev;	/* the file, ... */
		ino_t ino;
		uint64_t offset; /* ... and the offset of the region in it */
		int watch;	 /* api/sigbus.h */
	} map[GUEST_MEM_REGIONS];
};

/*
 * Maps @n regions. The caller gets the one reference to *out. 0; -EINVAL (no or too many regions,
 * an empty region, one that wraps at 2^64, a file too short for it), -EMLINK (the regions have more
 * than twice as many bytes as the parts of files that they are), -ENOMEM, or the error of mmap().
 *
 * Some machines have memory at two addresses (the lowest 256 MiB of a MIPS Malta), so regions may
 * overlap in a file. Without a bound a guest with little memory would cost as many page tables as
 * one with eight times as much.
 */
int guest_mem_import(struct guest_mem **out, const struct guest_mem_src *src, unsigned n);

/*
 * All guests of the process share 2^47 bytes of address space, and sparse files cost a frontend
 * nothing. So large maps are refused (-ENOMEM) once all maps together have 64 TiB, which leaves
 * room for maps of up to 64 GiB. Any map is refused when there are map_limit_peers() of them.
 */
#define GUEST_MEM_SMALL	    (1ull << 36)
#define GUEST_MEM_LARGE_ALL (1ull << 46)

/* For another map of a guest's memory. False: what is left is for smaller ones, or there are too
 * many. */
bool guest_mem_space_take(uint64_t len);
void guest_mem_space_give(uint64_t len);
/* Maps of all guests' memory. Any thread. */
uint32_t guest_mem_maps(void);

struct guest_mem *guest_mem_get(struct guest_mem *m);
/* Drops a reference; unmaps with the last, which may take long. NULL is allowed. */
void guest_mem_put(struct guest_mem *m);
/*
 * Drops a reference to the map, but not to *m: the caller waits for guest_mem_unmapped() or not,
 * and then calls guest_mem_forget(). True: it was the last, and somebody must call
 * guest_mem_unmap(). Does not wait.
 */
bool guest_mem_leave(struct guest_mem *m);
/* Unmaps in pieces, so that mmap_lock is never held for long. */
void guest_mem_unmap(struct guest_mem *m);
bool guest_mem_unmapped(const struct guest_mem *m);
void guest_mem_forget(struct guest_mem *m);

/*
 * Takes all pages out of the maps of @m, which stay as they are otherwise; others may use them
 * meanwhile. Returns a table that has the pages and no reference: the caller hands it to
 * guest_mem_unmap(), and calls guest_mem_forget() in addition. NULL: they are where they were (no
 * memory, map_limit_loans(), a truncated file; hugetlbfs, where there are few; before Linux 5.13).
 */
struct guest_mem *guest_mem_strip(struct guest_mem *m);

/*
 * Revocation, once for each map: begin; keep for each buffer that is out; end; catch_up for the
 * buffers that will be sent; done. @written: there will be a catch_up. Returns 0 or -errno of
 * mmap(); then the maps that were not replaced are still the guest's. The memory must still be the
 * guest's, or at least be readable.
 */
int guest_mem_revoke_begin(struct guest_mem *m, bool written);
void guest_mem_preserve(struct guest_mem *m, const uint8_t *va, size_t len);
int guest_mem_revoke_end(struct guest_mem *m);
/* Where the guest memory at @va of @m is in @now, another map of that guest's memory. NULL: not all
 * of it is there. */
uint8_t *guest_mem_same(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
			size_t len);
/* @now: another map of the same guest's memory. False: it does not contain that memory; the bytes
 * are lost. */
bool guest_mem_catch_up(struct guest_mem *m, const struct guest_mem *now, uint8_t *va, size_t len);
void guest_mem_revoke_done(struct guest_mem *m);

/*
 * True when some of the @len bytes at @va, in @m's map, are in a region that @now does not have:
 * not at that guest physical address, or backed by another file or another part of it.
 */
bool guest_mem_gone(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
		    uint64_t len);

/* Slow path of guest_mem_gpa: searches all regions and stores the one found in *hint. */
uint8_t *guest_mem_search(const struct guest_mem *m, uint32_t *hint, struct gpa a, uint64_t len);

/* Our address of the @len bytes at frontend address @a; NULL: not wholly in one region. */
uint8_t *guest_mem_uva(const struct guest_mem *m, struct uva a, uint64_t len);

/* Our address of the @len bytes at guest physical address @a, or NULL. *hint: a region number below
 * nregions, kept by the caller; initially 0. */
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
