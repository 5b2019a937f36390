/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a PCI device reads and writes: rings and buffers.
 *
 * Theory of operation
 * -------------------
 * The caller names parts (a ring, the buffers of a ring); each becomes contiguous for the CPU and
 * for the device. How this is done depends on the device's addresses:
 *
 *  IOVA      An IOMMU translates, so any pages will do. Hugepages are tried first, because each
 *            page costs an entry of the IOMMU's TLB, and of the host's if it has one for the
 *            device (VIRTIO_F_ACCESS_PLATFORM).
 *  physical  The device uses the guest's physical addresses: without an IOMMU, or with one that
 *            the device bypasses because VIRTIO_F_ACCESS_PLATFORM is not offered. Then each part
 *            must lie in physically contiguous memory, and only hugepages are large enough. The
 *            kernel hands them out in any order, so they are mapped in the order of their
 *            addresses, and each part is placed in a run of adjacent pages that has room for it.
 *            If the pages needed contain no such run, more are allocated, up to the last free one,
 *            and those that stay unused are freed again.
 *
 * In both cases the memory is registered with the device's kernel driver (dma_map), which also
 * keeps the pages in place until it has reset the device, should this process die. Devices of one
 * IOMMU group share its address space, and devices of both kinds may be among them: a range that
 * the IOMMU already maps for another device must not be mapped again. An IOVA is then allocated
 * elsewhere; physical memory is mapped elsewhere, because that mapping only keeps the pages.
 */
#ifndef ZV_DMA_MEM_H
#define ZV_DMA_MEM_H

#include "pci/device/pci_dev.h"
#include "transport/guest_dev.h"

struct dma_mem {
	struct pci_dev *dev; /* NULL: no memory */
	uint8_t *addr;
	size_t size;	  /* bytes mapped */
	size_t page_size; /* of the pages behind it */
	struct dma_run {
		size_t offset, size; /* in addr */
		size_t used;	     /* bytes used by parts */
		struct iova at;	     /* for the device */
		struct iova map_at;  /* for dma_map; differs where the device bypasses the IOMMU */
		bool mapped;	     /* dma_map was called */
		bool iova_owned;     /* map_at came from iova() */
	} * run;
	unsigned nruns;
};

/*
 * Allocates the @n parts and makes them reachable for @d. @physical: see above. 0, or -errno with
 * zv_err() text that says how many hugepages are needed and how many there are; *m holds no memory
 * then.
 */
int dma_mem_create(struct dma_mem *m, struct pci_dev *d, struct guest_part *parts, unsigned n,
		   bool physical);
/* The device's address of @p, which lies in @m. */
struct iova dma_mem_iova(const struct dma_mem *m, const void *p);
/*
 * Unmaps the memory for the device, but keeps it in this process: for a device that is about to be
 * detached. Harmless when there is no memory, and when called twice.
 */
void dma_mem_unmap(struct dma_mem *m);
/*
 * Frees the memory, which the device must no longer use. Harmless when there is none, and when
 * called twice.
 */
void dma_mem_destroy(struct dma_mem *m);

/* ---- for tests ---- */

/* Registers the physical runs that hold parts with the kernel driver. 0 or -errno with text. */
int dma_map_runs(struct dma_mem *m);

/*
 * Finds the runs of @n pages of @page bytes at the ascending addresses @phys. Returns the number of
 * runs; the i-th is run[i] (room for @n).
 */
unsigned dma_runs(struct dma_run *run, const uint64_t *phys, unsigned n, size_t page);

/*
 * Places the parts in the runs, the largest part first, each at a multiple of @align from the start
 * of its run. False: they do not fit; *need is the size of the first that did not.
 */
bool dma_place(struct dma_run *run, unsigned nruns, struct guest_part *parts, unsigned n,
	       size_t align, uint8_t *base, size_t *need);

#endif
