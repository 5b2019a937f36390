/* SPDX-License-Identifier: BSD-3-Clause */
#include "vm_region.h"

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGEMAP_PFN	((1ull << 55) - 1)
#define PAGEMAP_PRESENT (1ull << 63)

/* ---- checks ---- */

int vm_region_check(const struct vm_region *r)
{
	const uint64_t page = VM_REGION_PAGE_MIN;

	if (r->size >= page && r->size % page == 0 && r->size <= SIZE_MAX / 2 && r->gpa.v &&
	    r->gpa.v % page == 0 && vm_range_ok(r->gpa.v, r->size))
		return 0;
	return zv_err(-EINVAL,
		      "region %s: the kernel says 0x%llx bytes at 0x%llx, which is no memory in "
		      "whole pages: is it the right device?",
		      r->name, (unsigned long long)r->size, (unsigned long long)r->gpa.v);
}

bool vm_region_page_is(uint64_t entry, uint64_t page_bytes, struct gpa gpa)
{
	uint64_t frame = entry & PAGEMAP_PFN;

	/* Frame 0: not ours to see. */
	return !(entry & PAGEMAP_PRESENT) || frame == 0 || frame * page_bytes == gpa.v;
}

int vm_region_check_page(const struct vm_region *r)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	ssize_t n;

	(void)*(volatile uint8_t *)r->addr;
	n = fd < 0 ? -1
		   : pread(fd, &entry, sizeof(entry),
			   (off_t)((uintptr_t)r->addr / page * sizeof(entry)));
	if (fd >= 0)
		(void)close(fd);
	if (n != (ssize_t)sizeof(entry) || vm_region_page_is(entry, page, r->gpa))
		return 0;
	return zv_err(-EIO,
		      "region %s: sysfs says that it is at 0x%llx, the page table 0x%llx: the host "
		      "would look in the wrong place, so it is not used",
		      r->name, (unsigned long long)r->gpa.v,
		      (unsigned long long)((entry & PAGEMAP_PFN) * page));
}

int vm_region_measure(struct vm_region *r)
{
	const struct load_latency *l = &r->latency;

	load_latency_measure(&r->latency, r->addr, r->size);
	if (load_latency_is_cached(l))
		return 0;
	return zv_err(-EOPNOTSUPP,
		      "region %s (%s): a load takes %u.%u ns, from ordinary memory %u.%u: it is "
		      "mapped uncached, where channels are slower than virtqueues; give the VM an "
		      "NVDIMM instead (zvsockctl qemu-args prints how)",
		      r->name, r->kind->name, l->here / 1000, l->here / 100 % 10,
		      l->ordinary / 1000, l->ordinary / 100 % 10);
}

/* ---- opening ---- */

static int open_one(struct vm_region *r, const struct vm_region_kind *kind, const char *name,
		    const struct vm_region_env *p)
{
	int ret;

	*r = (struct vm_region){.kind = kind, .fd = -1};
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	ret = kind->map(r, p);
	if (ret) {
		r->kind = NULL;
		return ret;
	}
	ret = kind->deferred ? 0 : vm_region_measure(r);
	if (ret)
		vm_region_close(r);
	return ret;
}

/* The region of @kind, if there is one. -ENOENT: none. */
static int open_kind(struct vm_region *r, const struct vm_region_kind *kind,
		     const struct vm_region_env *p)
{
	char name[VM_REGIONS_MAX][VM_REGION_NAME];
	int n = kind->find(p, name, VM_REGIONS_MAX);

	if (n == 0)
		return -ENOENT;
	if (n < 0)
		return zv_err(n, "cannot look for a region (%s): %s", kind->name, zv_strerror(n));
	if (n > 1)
		return zv_err(-ENOTUNIQ,
			      "%s and %s could both be the region that is shared with the host: "
			      "say which, as region=%s, or region=none",
			      name[0], name[1], name[0]);
	return open_one(r, kind, name[0], p);
}

int vm_region_open(struct vm_region *r, const char *which, const struct vm_region_env *p)
{
	int ret = -ENOENT, other;

	*r = (struct vm_region){.kind = NULL};
	for (unsigned i = 0; vm_region_kinds[i]; i++) {
		if (strcmp(which, "auto") != 0) {
			if (vm_region_kinds[i]->named(which))
				return open_one(r, vm_region_kinds[i], which, p);
			continue;
		}
		/* Of several unusable regions, the text of the last one is kept. */
		other = open_kind(r, vm_region_kinds[i], p);
		if (other == 0)
			return 0;
		if (other != -ENOENT)
			ret = other;
	}
	if (strcmp(which, "auto") == 0)
		return ret;
	return zv_err(-EINVAL,
		      "region=%s: write auto, none, the name of a dax device (dax0.0), virtio "
		      "(shared memory of the vsock device) or the address of an ivshmem device "
		      "(0000:00:06.0)",
		      which);
}

void vm_region_close(struct vm_region *r)
{
	if (r->kind)
		r->kind->unmap(r);
	*r = (struct vm_region){.kind = NULL};
}
