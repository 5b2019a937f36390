/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a PCI device reads and writes: rings and buffers.
 *
 * Theory of operation
 * -------------------
 * The caller names parts (a ring, the buffers of a ring); each becomes contiguous for the CPU and
 * for the device. How, depends on what the device's addresses are:
 *
 *  IOVA      An IOMMU translates, so any pages will do. Hugepages are tried first, because each
 *            page costs an entry of the IOMMU's cache, and of a host's that keeps one as well
 *            (VIRTIO_F_ACCESS_PLATFORM).
 *  physical  The device's addresses are the guest's physical ones: without an IOMMU, and with one
 *            that the device goes past because VIRTIO_F_ACCESS_PLATFORM is not offered. Then a part
 *            must lie in physically contiguous memory, and only hugepages are large enough. The
 *            kernel hands them out in any order; so they are mapped in the order of their
 *            addresses, and each part is put into a run of neighbours that has room for it. When
 *            there is none among as many pages as are needed, more are taken, to the last that
 *            is free, and those that stay unused are returned.
 *
 * Either way the device's kernel driver is told (dma_map), which also keeps the pages in place
 * until it has reset the device, should this process die. Devices of one IOMMU group share its
 * address space, and those of both kinds may be among them: what the IOMMU has at an address
 * already, for another device, is not asked for again. An IOVA is taken elsewhere then; physical
 * memory is mapped elsewhere, because that mapping only keeps the pages.
 */
#ifndef ZV_DMA_MEM_H
#define ZV_DMA_MEM_H

#include "pci_dev.h"
#include "transport/guest_dev.h"

struct dma_mem {
	struct pci_dev *dev; /* NULL: no memory */
	uint8_t *addr;
	size_t size;	  /* bytes mapped */
	size_t page_size; /* of the pages behind it */
	struct dma_run {
		size_t offset, size; /* in addr */
		size_t used;	     /* bytes given to parts */
		struct iova at;	     /* for the device */
		struct iova map_at;  /* for dma_map; differs where the device goes past the IOMMU */
		bool mapped;	     /* dma_map was called */
		bool lent;	     /* map_at is of iova() */
	} * run;
	unsigned nruns;
};

/*
 * Allocates the @n parts and makes them reachable for @d. @physical: see above. 0, or -errno with
 * zv_err() text that says how many hugepages are needed and how many there are; *m is void then.
 */
int dma_mem_create(struct dma_mem *m, struct pci_dev *d, struct guest_part *parts, unsigned n,
		   bool physical);
/* Where @p, which lies in it, is for the device. */
struct iova dma_mem_iova(const struct dma_mem *m, const void *p);
/*
 * The device cannot reach it any more, but it stays: for a device that is about to be detached.
 * Harmless on void memory, and twice.
 */
void dma_mem_unmap(struct dma_mem *m);
/* The device must not use it any more. Harmless on void memory, and twice. */
void dma_mem_destroy(struct dma_mem *m);

/* ---- for tests ---- */

/* Tells the kernel driver of runs of physical memory in which parts lie. 0 or -errno with text. */
int dma_map_runs(struct dma_mem *m);

/*
 * Finds the runs of @n pages of @page bytes that lie at the ascending addresses @phys. Number of
 * runs; the i-th is run[i] (room for @n).
 */
unsigned dma_runs(struct dma_run *run, const uint64_t *phys, unsigned n, size_t page);

/*
 * Puts the parts into the runs, the largest first, each at a multiple of @align from the beginning
 * of its run. False: they do not fit; *need is the size of the first that did not.
 */
bool dma_place(struct dma_run *run, unsigned nruns, struct guest_part *parts, unsigned n,
	       size_t align, uint8_t *base, size_t *need);

#endif
