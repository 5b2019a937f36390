/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region of shared memory that this VM has been given: found, checked and mapped.
 *
 * Theory of operation
 * -------------------
 * Programs of the host map the same memory, and channels (shm-ring) lie in it. How it reaches the
 * VM is a *kind*: one complete descriptor in one file, listed in vm_region_kinds:
 *
 *	dax	an NVDIMM that the kernel gives to programs as /dev/daxX.Y: ordinary cached memory
 *		in pages of 2 MiB; needs no VFIO and no IOMMU, and works with any driver
 *	virtio	shared memory of the virtio-vsock device itself, which its driver has mapped
 *	ivshmem	the BAR of an ivshmem-plain PCI device, through vfio-pci or sysfs
 *
 * The host is told the region's guest-physical address, which it looks up in the memory that the
 * VMM has shared with it. So the address has to be right: the kernel gives it in sysfs, and where
 * this process may see physical addresses (pagemap), the two are compared.
 *
 * VIRTIO shared memory has nothing behind it until the device runs and the VMM has mapped it; the
 * host announces the region when it has. Until then it is offered, but not accessed.
 *
 * Nothing is written to the region here: until the host has agreed to use it, it may be something
 * else. A mapping that is not cached is declined (latency.h).
 */
#ifndef ZV_VM_REGION_H
#define ZV_VM_REGION_H

#include "latency.h"
#include "proto/vm_addr.h"

#define VM_REGION_NAME	   32u
#define VM_REGIONS_MAX	   16u /* examined per kind */
#define VM_REGION_PAGE_MIN 4096u

struct vm_region_kind;

struct vm_region {
	const struct vm_region_kind *kind; /* NULL: none */
	char name[VM_REGION_NAME];	   /* "dax0.0" */
	void *addr;
	uint64_t size;	/* bytes */
	struct gpa gpa; /* of its first byte */
	uint64_t page_size;
	struct load_latency latency;
	int fd;	   /* of the file that is mapped; -1: not kept */
	void *ctx; /* private to the kind */
};

/* Shared memory of the driver's device (VIRTIO 1.2, 2.10). */
struct vm_region_own {
	void *addr; /* stays mapped as long as the device is open */
	uint64_t size;
	struct gpa gpa;
};

/* Where to look. */
struct vm_region_env {
	const char *root;		 /* "" except in tests, which build their own tree */
	const struct vm_region_own *own; /* NULL: none */
};

struct vm_region_kind {
	const char *name;
	bool deferred; /* memory appears later; then call vm_region_measure() */
	/* Could @name be one of this kind? */
	bool (*named)(const char *name);
	/*
	 * Lists the names of existing regions, in order. Returns their number, at most @max, or
	 * -errno.
	 */
	int (*find)(const struct vm_region_env *p, char name[][VM_REGION_NAME], unsigned max);
	/*
	 * Maps r->name, and fills in *r except for the latency. 0; or -errno with zv_err() text,
	 * and nothing is mapped.
	 */
	int (*map)(struct vm_region *r, const struct vm_region_env *p);
	void (*unmap)(struct vm_region *r);
};

/* The kinds to look for, in order of preference; ends with NULL. In builtin.c. */
extern const struct vm_region_kind *const vm_region_kinds[];

/*
 * Opens the region @which: "auto" (one of the first kind that has a usable region) or a name. The
 * caller owns *r. 0; -ENOENT without text: "auto", and there is none; or -errno with zv_err() text:
 * -EINVAL (no such name), -ENODEV (not there), -EACCES, -EPERM, -EOPNOTSUPP (uncached), -ENOTUNIQ
 * ("auto", and there are several), or an error of the kernel.
 */
int vm_region_open(struct vm_region *r, const char *which, const struct vm_region_env *p);

/*
 * Sets r->latency. 0; -EOPNOTSUPP with text: the mapping is not cached. vm_region_open() does this
 * itself, except for a late kind.
 */
int vm_region_measure(struct vm_region *r);

/* Harmless when there is none. */
void vm_region_close(struct vm_region *r);

/* ---- for kinds ---- */

/* Checks sizes and addresses from the kernel: whole pages, no wrap-around. 0; -EINVAL with text. */
int vm_region_check(const struct vm_region *r);

/*
 * Checks, as far as this process may know, that the page at r->addr is r->gpa. 0; -EIO with text:
 * it is another one. Loads from the page.
 */
int vm_region_check_page(const struct vm_region *r);
/* The same for a pagemap entry of a page that was touched. */
bool vm_region_page_is(uint64_t entry, uint64_t page_bytes, struct gpa gpa);

#endif
