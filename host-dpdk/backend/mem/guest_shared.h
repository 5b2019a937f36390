/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of shared memory of a guest: memory in its memory table that is not its RAM.
 *
 * Theory of operation
 * -------------------
 * A region that guest and host programs share reaches the guest as an NVDIMM, as a BAR, or, without
 * a VM, as another piece of memory, and so it is an entry of the vhost-user memory table, with a
 * descriptor. The driver names it by its guest-physical address, and it is accepted if
 *
 *  - all its bytes are in one entry,
 *  - its file is in memory (memfd, tmpfs, hugetlbfs) and cannot be shortened, if files of its kind
 *    can be sealed at all: whoever maps it later must not be killed by an access,
 *  - no other entry of the table is of the same file, it does not start at address 0, where a PC
 *    always has RAM, and no ring of the guest is in it. RAM is never handed on, even if a driver
 *    asks for that. (Another file of RAM in which the driver has no ring, such as that of a second
 *    NUMA node, cannot be told from a region: what a driver names there belongs to the guest itself
 *    and to nobody else.)
 *
 * A region can also be *given*: memory of ours that is sent to the VMM for the driver, as VIRTIO
 * shared memory (vu_shmem.c). The driver may name it before the VMM has mapped it. So it is
 * accepted at any address where the table has no entry, and is *there* once the table has it.
 *
 * A region that was taken has a descriptor and a map of its own, so it outlives the table. It is
 * reference-counted, with one object for all who ask for the same bytes. A live change of the table
 * does not affect it if the new table has the same bytes of the same file at the same address;
 * otherwise it is *gone*: its holders check for that and give it up. A file that is truncated turns
 * to zeroes and sets the fault word (api/sigbus.h), like guest memory.
 *
 * The control thread maintains the table; any thread may import, check and put. There is one lock
 * for the process: all of this is rare, and nothing waits for a peer while holding it.
 */
#ifndef ZV_GUEST_SHARED_H
#define ZV_GUEST_SHARED_H

#include "guest_mem.h"
#include "shm_ring.h"

#include <sys/queue.h>

struct guest_shared {
	LIST_ENTRY(guest_shared) link; /* in guest_shares.taken until gone */
	LIST_ENTRY(guest_shared) next; /* in the list of all of them, those that are gone as well */
	struct shm_region map;
	struct gpa gpa; /* address of its first byte */
	uint64_t size;	/* usable bytes */
	/* Identity of the memory: if all three are equal it is the same bytes, whichever guest
	 * named them. */
	dev_t dev;
	ino_t ino;
	uint64_t offset;
	uint32_t refs;		  /* under the lock */
	uint32_t in_table;	  /* atomic: the table has it, or had it */
	uint32_t gone;		  /* atomic: the guest no longer has it */
	uint32_t fault;		  /* atomic: its file was truncated and replaced by zeroes */
	int watch;		  /* api/sigbus.h */
	struct host_alive *alive; /* under the lock; NULL: no word is kept */
	bool mute;		  /* under the lock: none can be, which has been logged */
};

/* Per device. All zeroes: there is no table. */
struct guest_shares {
	const struct guest_mem *mem;	   /* the table as it is mapped for rings; NULL: none */
	int fd[GUEST_MEM_REGIONS];	   /* its descriptors, owned by the device */
	uint32_t rings;			   /* bit i: a ring has been in entry i */
	const struct shm_region *host_shm; /* outlives the device; NULL: none */
	LIST_HEAD(guest_shared_list, guest_shared) taken;
};

/* Sets the table of the device: @mem, mapped from @src, or none (NULL). Call before the descriptors
 * of the former table are closed and its map is dropped. */
void guest_shares_table(struct guest_shares *s, const struct guest_mem *mem,
			const struct guest_mem_src *src);
/* Records that a ring, or a part of one, is at @va in the map. */
void guest_shares_ring(struct guest_shares *s, const void *va);
/* True: the table has an entry of s->host_shm. */
bool guest_shares_has_host_shm(struct guest_shares *s);

/* Why a region is not taken. */
enum guest_shared_fault {
	GUEST_SHARED_OK = 0,
	GUEST_SHARED_NOT_IN_TABLE, /* not wholly in one entry of the table */
	GUEST_SHARED_RAM,	   /* rings are in that file, or another entry has it */
	GUEST_SHARED_NO_MEMORY,	   /* a disk file, a device, ... */
	GUEST_SHARED_TOO_SHORT,	   /* its file has been truncated */
	GUEST_SHARED_NOT_SEALED,   /* it could be shortened, and could be sealed against that */
	GUEST_SHARED_NOT_ALIGNED,
	GUEST_SHARED_READ_ONLY,
	GUEST_SHARED_SYSTEM, /* out of resources here: *err */
};

/*
 * Takes @size bytes at @gpa; *out is a reference for the caller. On a fault *err is the negative
 * errno for it, and guest_shared_fault_text() describes it. @gpa and @size come from the driver and
 * are not trusted.
 */
enum guest_shared_fault guest_shared_import(struct guest_shares *s, struct gpa gpa, uint64_t size,
					    struct guest_shared **out, int *err);
const char *guest_shared_fault_text(enum guest_shared_fault f);

/* Drops a reference; unmaps with the last. NULL is allowed. */
void guest_shared_put(struct guest_shared *r);

/* Returns true once, when the driver of the guest with @cid has died (proto/ctrl/alive.h). */
bool guest_shared_orphaned(const struct guest_shared *r, uint64_t cid);
/*
 * The guests with a driver that lives and has been served by a process that has died, and since
 * then by none: up to @n CIDs. Returns their number.
 */
unsigned guest_shared_lent(const struct guest_shared *r, uint64_t *cids, unsigned n);
/* Lets that driver see the death of this process (host_alive.h). */
void guest_shared_serve(struct guest_shared *r, uint64_t cid);

static inline bool guest_shared_gone(const struct guest_shared *r)
{
	return __atomic_load_n(&r->gone, __ATOMIC_ACQUIRE);
}

/* Not there yet: the VMM has not mapped it. */
static inline bool guest_shared_pending(const struct guest_shared *r)
{
	return !__atomic_load_n(&r->in_table, __ATOMIC_ACQUIRE);
}

static inline bool guest_shared_truncated(const struct guest_shared *r)
{
	return __atomic_load_n(&r->fault, __ATOMIC_ACQUIRE);
}

#endif
