/* SPDX-License-Identifier: BSD-3-Clause */
#include "dma_mem.h"

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE  ((size_t)2 << 20)
#define PART_ALIGN ((size_t)128)
/*
 * Where the IOMMU translates, each page may lie elsewhere for the device, but the device needs each
 * area of a ring in one piece. Two pages hold the areas of 256 descriptors: the table is in the
 * first, the other two areas are in the second.
 */
#define PAGE	      ((size_t)4096)
#define RING_IN_PAGES (2 * PAGE)

static size_t align_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

#define POOL PCI_SYSFS "/kernel/mm/hugepages/hugepages-2048kB/"

static size_t read_size(const char *path)
{
	char text[32];

	return pci_read_text(path, text, sizeof(text)) > 0 ? strtoul(text, NULL, 10) : 0;
}

/* ---- pure logic ---- */

unsigned dma_runs(struct dma_run *run, const uint64_t *phys, unsigned n, size_t page)
{
	unsigned runs = 0;

	for (unsigned i = 0; i < n; i++) {
		if (i && phys[i] == phys[i - 1] + page)
			run[runs - 1].size += page;
		else
			run[runs++] =
				(struct dma_run){.offset = i * page, .size = page, .at = {phys[i]}};
	}
	return runs;
}

static int larger_first(const void *a, const void *b)
{
	const struct guest_part *x = *(struct guest_part *const *)a,
				*y = *(struct guest_part *const *)b;

	return x->size < y->size ? 1 : x->size > y->size ? -1 : 0;
}

bool dma_place(struct dma_run *run, unsigned nruns, struct guest_part *parts, unsigned n,
	       size_t align, uint8_t *base, size_t *need)
{
	struct guest_part *order[GUEST_PARTS_MAX] = {NULL};

	for (unsigned i = 0; i < n; i++)
		order[i] = &parts[i];
	qsort(order, n, sizeof(*order), larger_first); /* NOLINT: pointers into one array */
	for (unsigned i = 0; i < n; i++) {
		struct guest_part *p = order[i];
		size_t size = align_up(p->size, align);
		unsigned r = 0;

		while (r < nruns && run[r].size - run[r].used < size)
			r++;
		if (r == nruns) {
			*need = size;
			return false;
		}
		p->addr = base + run[r].offset + run[r].used;
		p->at = iova_add(run[r].at, run[r].used);
		run[r].used += size;
	}
	return true;
}

/* ---- pages ---- */

/* A file of @npages pages, all allocated. Descriptor or -errno. */
static int make_file(size_t npages, size_t page)
{
	unsigned flags = page == HUGE_PAGE ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	int fd = memfd_create("zvsock-dma", MFD_CLOEXEC | flags), ret;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)(npages * page)) < 0 ||
	    fallocate(fd, 0, 0, (off_t)(npages * page)) < 0) {
		ret = errno == ENOSPC ? -ENOMEM : -errno;
		(void)close(fd);
		return ret;
	}
	return fd;
}

static int map_file(struct dma_mem *m, int fd, size_t npages, size_t page)
{
	void *addr =
		mmap(NULL, npages * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	m->addr = addr;
	m->size = npages * page;
	m->page_size = page;
	/* A child must not get copies in place of pages that the device uses. */
	(void)madvise(addr, m->size, MADV_DONTFORK);
	return 0;
}

/*
 * Gets the physical address of each hugepage. 0, -EPERM (they are hidden from this process) or
 * -errno.
 */
static int read_phys(const struct dma_mem *m, uint64_t *phys, size_t npages)
{
	const uint64_t small = (uint64_t)sysconf(_SC_PAGESIZE);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < npages && ret == 0; i++) {
		uint64_t va = (uintptr_t)m->addr + i * m->page_size, entry;

		if (pread(fd, &entry, sizeof(entry), (off_t)(va / small * sizeof(entry))) !=
		    (ssize_t)sizeof(entry))
			ret = -EIO;
		else if (!(entry & ((1ull << 55) - 1)))
			ret = -EPERM;
		else
			phys[i] = (entry & ((1ull << 55) - 1)) * small;
	}
	(void)close(fd);
	return ret;
}

struct page_at {
	uint64_t phys;
	size_t index; /* in the file */
};

static int lower_first(const void *a, const void *b)
{
	const struct page_at *x = a, *y = b;

	return x->phys < y->phys ? -1 : x->phys > y->phys;
}

/* Maps the pages of @fd again, in the order of their physical addresses, which go to @phys. */
static int map_sorted(struct dma_mem *m, int fd, uint64_t *phys, size_t npages)
{
	struct page_at *pages = calloc(npages, sizeof(*pages));
	int ret = pages ? 0 : -ENOMEM;

	for (size_t i = 0; i < npages && pages; i++)
		pages[i] = (struct page_at){phys[i], i};
	if (pages)
		qsort(pages, npages, sizeof(*pages), lower_first);
	for (size_t i = 0; i < npages && ret == 0; i++) {
		phys[i] = pages[i].phys;
		if (mmap(m->addr + i * m->page_size, m->page_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
			 (off_t)(pages[i].index * m->page_size)) == MAP_FAILED)
			ret = -errno;
	}
	if (ret == 0)
		(void)madvise(m->addr, m->size, MADV_DONTFORK);
	free(pages);
	return ret;
}

/* ---- making and freeing ---- */

static int new_runs(struct dma_mem *m, size_t n)
{
	free(m->run);
	m->run = calloc(n, sizeof(*m->run));
	m->nruns = 0;
	return m->run ? 0 : -ENOMEM;
}

static void drop_pages(struct dma_mem *m)
{
	if (m->addr)
		(void)munmap(m->addr, m->size);
	m->addr = NULL;
}

/* @npages hugepages as runs of physically contiguous memory. 0 or -errno. */
static int try_physical(struct dma_mem *m, size_t npages)
{
	uint64_t *phys = npages ? calloc(npages, sizeof(*phys)) : NULL;
	int fd = phys ? make_file(npages, HUGE_PAGE) : -ENOMEM;
	int ret = fd < 0 ? fd : map_file(m, fd, npages, HUGE_PAGE);

	if (ret == 0)
		ret = read_phys(m, phys, npages);
	if (ret == 0)
		ret = map_sorted(m, fd, phys, npages);
	if (ret == 0)
		ret = new_runs(m, npages);
	if (ret == 0)
		m->nruns = dma_runs(m->run, phys, (unsigned)npages, HUGE_PAGE);
	else
		drop_pages(m);
	if (fd >= 0)
		(void)close(fd);
	free(phys);
	return ret;
}

static int no_hugepages(const struct pci_dev *d, int err, size_t need)
{
	size_t free = read_size(POOL "free_hugepages"), total = read_size(POOL "nr_hugepages");
	size_t used = total > free ? total - free : 0; /* by others, or by our other devices */

	return zv_err(
		err,
		"%s:%s: rings and buffers take %zu hugepages of 2 MiB, and %zu are free: make the "
		"pool larger with: zv-bind hugepages %zu (or use smaller rings or buffers)",
		d->access->scheme, d->info.bdf, need, free, used + need);
}

/* Returns pages that hold no part to the pool. */
static void return_unused(struct dma_mem *m)
{
	for (unsigned i = 0; i < m->nruns; i++) {
		struct dma_run *r = &m->run[i];
		size_t keep = align_up(r->used, HUGE_PAGE);

		if (keep < r->size)
			(void)madvise(m->addr + r->offset + keep, r->size - keep, MADV_REMOVE);
		r->size = keep;
	}
}

static int make_physical(struct dma_mem *m, struct guest_part *parts, unsigned n, size_t total)
{
	size_t least = align_up(total, HUGE_PAGE) / HUGE_PAGE, need = 0;
	const struct pci_dev *d = m->dev;
	size_t pool = read_size(POOL "free_hugepages"), npages = least;

	for (;;) {
		int ret = try_physical(m, npages);

		if (ret == -ENOMEM && npages > least)
			break; /* somebody else has taken some */
		if (ret == -EPERM)
			return zv_err(ret,
				      "%s:%s: physical addresses are hidden from this process; run "
				      "as root, "
				      "or give the VM's device iommu_platform=on and use vfio",
				      d->access->scheme, d->info.bdf);
		if (ret == -EMFILE || ret == -ENFILE || ret == -EIO)
			return zv_err(ret, "%s:%s: cannot set rings and buffers up: %s",
				      d->access->scheme, d->info.bdf, zv_strerror(ret));
		if (ret)
			return no_hugepages(d, ret, least);
		if (dma_place(m->run, m->nruns, parts, n, PART_ALIGN, m->addr, &need)) {
			return_unused(m);
			return 0;
		}
		drop_pages(m);
		if (npages >= pool)
			break;
		npages = npages * 2 < pool ? npages * 2 : pool;
	}
	return zv_err(
		-ENOMEM,
		"%s:%s: no %zu MiB of hugepages lie side by side in physical memory; reserve them "
		"when the VM boots (hugepages=%zu on the kernel's command line), or use smaller "
		"rings or buffers",
		d->access->scheme, d->info.bdf, (need + (1u << 20) - 1) >> 20, least);
}

static int map_run(struct dma_mem *m, struct dma_run *r, struct iova at)
{
	int ret = m->dev->access->dma_map(m->dev, m->addr + r->offset, r->size, at);

	r->map_at = at;
	r->mapped = ret == 0;
	return ret;
}

static int cannot_map(const struct pci_dev *d, int err, size_t size)
{
	return zv_err(err, "%s:%s: cannot map %zu MiB for the device: %s%s", d->access->scheme,
		      d->info.bdf, size >> 20, zv_strerror(err),
		      err == -ENOMEM ? "; raise the limit of locked memory (ulimit -l)" : "");
}

static int rings_are_large(const struct pci_dev *d, size_t pages)
{
	return zv_err(-ENOMEM,
		      "%s:%s: rings of more than 256 descriptors take hugepages, so that each lies "
		      "in one piece for the device: reserve %zu (zv-bind hugepages %zu), or use "
		      "smaller rings",
		      d->access->scheme, d->info.bdf, pages, pages);
}

static int make_iova(struct dma_mem *m, struct guest_part *parts, unsigned n, size_t total)
{
	size_t page = HUGE_PAGE, need;
	struct pci_dev *d = m->dev;
	int fd = make_file(align_up(total, page) / page, page), ret;

	if (fd < 0) {
		for (unsigned i = 0; i < n; i++)
			if (parts[i].ring && parts[i].size > RING_IN_PAGES)
				return rings_are_large(d, align_up(total, page) / page);
		page = (size_t)sysconf(_SC_PAGESIZE);
		fd = make_file(align_up(total, page) / page, page);
	}
	ret = fd < 0 ? fd : map_file(m, fd, align_up(total, page) / page, page);
	if (fd >= 0)
		(void)close(fd);
	if (ret == 0)
		ret = new_runs(m, 1);
	if (ret)
		return zv_err(ret, "%s:%s: no memory for rings and buffers (%zu MiB): %s",
			      d->access->scheme, d->info.bdf, total >> 20, zv_strerror(ret));
	m->run[0] = (struct dma_run){.size = m->size};
	m->nruns = 1;
	do {
		ret = d->access->iova(d, m->size, &m->run[0].at);
		if (ret)
			return zv_err(ret, "%s:%s: the IOMMU has no room for %zu MiB",
				      d->access->scheme, d->info.bdf, total >> 20);
		ret = map_run(m, &m->run[0], m->run[0].at);
	} while (ret == -EEXIST);
	m->run[0].iova_owned = true;
	if (ret)
		return cannot_map(d, ret, m->size);
	return dma_place(m->run, 1, parts, n, PAGE, m->addr, &need) ? 0 : -ENOMEM;
}

int dma_map_runs(struct dma_mem *m)
{
	struct pci_dev *d = m->dev;

	for (unsigned i = 0; i < m->nruns; i++) {
		struct dma_run *r = &m->run[i];
		struct iova at = r->at;
		int ret;

		r->iova_owned = false;
		if (!r->used)
			continue;
		while ((ret = map_run(m, r, at)) == -EEXIST)
			if (!(r->iova_owned = d->access->iova(d, r->size, &at) == 0))
				break;
		if (ret)
			return cannot_map(d, ret, r->size);
	}
	return 0;
}

int dma_mem_create(struct dma_mem *m, struct pci_dev *d, struct guest_part *parts, unsigned n,
		   bool physical)
{
	size_t total = 0;
	int ret = 0;

	*m = (struct dma_mem){.dev = d};
	if (n > GUEST_PARTS_MAX)
		return zv_err(-EINVAL, "%s:%s: too many rings", d->access->scheme, d->info.bdf);
	for (unsigned i = 0; i < n; i++)
		if (__builtin_add_overflow(
			    total, align_up(parts[i].size, physical ? PART_ALIGN : PAGE), &total))
			return zv_err(-ENOMEM, "%s:%s: the buffers are larger than memory can be",
				      d->access->scheme, d->info.bdf);
	ret = physical ? make_physical(m, parts, n, total) : make_iova(m, parts, n, total);
	if (ret == 0 && physical)
		ret = dma_map_runs(m);
	if (ret)
		dma_mem_destroy(m);
	return ret;
}

struct iova dma_mem_iova(const struct dma_mem *m, const void *p)
{
	size_t off = (size_t)((const uint8_t *)p - m->addr);

	for (unsigned i = 0; i < m->nruns; i++)
		if (off - m->run[i].offset < m->run[i].size)
			return iova_add(m->run[i].at, off - m->run[i].offset);
	return (struct iova){0};
}

void dma_mem_unmap(struct dma_mem *m)
{
	for (unsigned i = 0; m->dev && i < m->nruns; i++) {
		const struct pci_access *access = m->dev->access;
		struct dma_run *r = &m->run[i];

		if (r->mapped)
			access->dma_unmap(m->dev, r->size, r->map_at);
		if (r->mapped && r->iova_owned)
			access->iova_put(m->dev, r->size, r->map_at);
		r->mapped = false;
	}
}

void dma_mem_destroy(struct dma_mem *m)
{
	dma_mem_unmap(m);
	drop_pages(m);
	free(m->run);
	*m = (struct dma_mem){.dev = NULL};
}
