/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of shared memory that a guest has: memory of its memory table that is not its RAM.
 *
 * Theory of operation
 * -------------------
 * A region that guest and host programs share reaches the guest as an NVDIMM, as a BAR, or as a
 * further piece of memory without a VM, and so it is an entry of the vhost-user memory table, with
 * a descriptor. The driver names it by its guest-physical address, and it is taken when
 *	- it lies in one entry with all its bytes,
 *	- its file lies in memory (memfd, tmpfs, hugetlbfs) and cannot be made shorter, if files of
 *	  its kind can be sealed at all: whoever maps it later must not be killed by an access,
 *	- no other entry of the table is of the same file, it does not begin at address 0, where a
 *	  PC has RAM and nothing else, and no ring of the guest is in it. RAM is never handed on,
 *	  even if a driver should ask for that. (A further file of RAM, such as that of a second
 *	  NUMA node, in which the driver has no ring, cannot be told from a region: what a driver
 *	  names there is the guest's own to give, and nobody else's.)
 *
 * A region can also be *given*: memory of ours that is sent to the VMM for the driver, as VIRTIO
 * shared memory (vu_shmem.c). The driver may name it before the VMM has mapped it. So it is taken
 * at any address where the table has nothing, and is *there* when the table has it.
 *
 * What is taken has a descriptor and a map of its own, so it outlives the table. It is counted, one
 * object for all who ask for the same bytes. A live change of the table leaves it alone if the new
 * one has the same bytes of the same file at the same address; otherwise it is *gone*: its holders
 * look at that, and give it up. A file that is cut off turns to zeroes and raises the fault word
 * (api/sigbus.h), as guest memory does.
 *
 * The control thread keeps the table; any thread may import, look and put. One lock for the
 * process: all of it is rare, and nothing below it waits for a peer.
 */
#ifndef ZV_GUEST_SHARED_H
#define ZV_GUEST_SHARED_H

#include "guest_mem.h"
#include "shm_ring.h"

#include <sys/queue.h>

struct guest_shared {
	LIST_ENTRY(guest_shared) link; /* of guest_shares.taken, until it is gone */
	struct shm_region map;
	struct gpa gpa; /* of its first byte */
	uint64_t size;	/* bytes; not more may be touched */
	/* Which memory it is: the same three are the same bytes, whichever guest has named them. */
	dev_t dev;
	ino_t ino;
	uint64_t offset;
	uint32_t refs;	/* with the lock */
	uint32_t there; /* atomic: the table has it, or has had it */
	uint32_t gone;	/* atomic: the guest does not have it any more */
	uint32_t fault; /* atomic: its file was cut off, and zeroes took its place */
	int watch;	/* api/sigbus.h */
};

/* Of one device. All zeroes: there is no table. */
struct guest_shares {
	const struct guest_mem *mem;	/* the table as it is mapped for rings; NULL: none */
	int fd[GUEST_MEM_REGIONS];	/* its descriptors, which are the device's */
	uint32_t rings;			/* bit i: a ring has been in entry i */
	const struct shm_region *given; /* outlives the device; NULL: none */
	LIST_HEAD(guest_shared_list, guest_shared) taken;
};

/*
 * The device has another table: @mem, which is mapped from @src, or none (NULL). Before @src's
 * descriptors of the former table are closed, and before its map goes.
 */
void guest_shares_table(struct guest_shares *s, const struct guest_mem *mem,
			const struct guest_mem_src *src);
/* A ring, or a part of one, is at @va in the map. */
void guest_shares_ring(struct guest_shares *s, const void *va);
/* The table has an entry of s->given. */
bool guest_shares_has_given(struct guest_shares *s);

/* Why a region is not taken. */
enum guest_shared_fault {
	GUEST_SHARED_OK = 0,
	GUEST_SHARED_NOT_THERE,	 /* not in one entry of the table with all its bytes */
	GUEST_SHARED_RAM,	 /* rings are in that file, or another entry is of it */
	GUEST_SHARED_NO_MEMORY,	 /* a disk file, a device, ... */
	GUEST_SHARED_TOO_SHORT,	 /* its file has been cut off */
	GUEST_SHARED_NOT_SEALED, /* it could be made shorter, and could be sealed against that */
	GUEST_SHARED_NOT_ALIGNED,
	GUEST_SHARED_READ_ONLY,
	GUEST_SHARED_SYSTEM, /* something of ours is used up: *err */
};

/*
 * Takes @size bytes at @gpa, and *out is counted for the caller. Otherwise *err is a negative errno
 * that says what guest_shared_fault_text() says in words. @gpa and @size are a driver's word.
 */
enum guest_shared_fault guest_shared_import(struct guest_shares *s, struct gpa gpa, uint64_t size,
					    struct guest_shared **out, int *err);
const char *guest_shared_fault_text(enum guest_shared_fault f);

/* Drops a reference; unmaps with the last. NULL is allowed. */
void guest_shared_put(struct guest_shared *r);

static inline bool guest_shared_gone(const struct guest_shared *r)
{
	return __atomic_load_n(&r->gone, __ATOMIC_ACQUIRE);
}

/* Not yet: the VMM has not mapped it. */
static inline bool guest_shared_pending(const struct guest_shared *r)
{
	return !__atomic_load_n(&r->there, __ATOMIC_ACQUIRE);
}

static inline bool guest_shared_cut_off(const struct guest_shared *r)
{
	return __atomic_load_n(&r->fault, __ATOMIC_ACQUIRE);
}

#endif
