/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtio-vsock PCI device behind the interface of transport/guest_dev.h.
 *
 * Theory of operation
 * -------------------
 * pci_dev.h provides registers, memory and interrupts, virtio_pci.h the initialization of the
 * device, dma_mem.h the memory that it reads and writes. pci_link.c puts them together.
 *
 * Addresses. If the device offers VIRTIO_F_ACCESS_PLATFORM and vfio has an IOMMU for it, rings and
 * buffers have IOVAs of our choice. If it does not offer the feature, it bypasses an IOMMU (VIRTIO
 * 1.2, 6.1), and addresses are physical, as they always are with uio. Which of the two holds is
 * known before memory is allocated; a device whose answer changes at a reset is given up.
 *
 * Interrupts. With enough MSI-X vectors, each pair has one, and configuration and events share one
 * more: the kernel then signals each pair's eventfd itself. With fewer vectors, all share one, and
 * without MSI-X there is the INTx line: the control thread then takes interrupts and wakes the
 * pairs. Without any interrupt it wakes them every PCI_NAP_MS, which bounds how long a sleep can
 * last. A polling queue needs no interrupt.
 *
 * The loss of a device has three signs: the kernel asks for it back or has taken it (it is being
 * unplugged), its registers read as ones, or its status asks for a reset or is that of a device
 * that was reset. The first two are final: its file is closed, so that an unplug is not held up.
 * The third is recovered from by a reset.
 */
#ifndef ZV_PCI_LINK_H
#define ZV_PCI_LINK_H

#include "dma_mem.h"
#include "pci_app_mem.h"
#include "region/vm_region.h"
#include "transport/guest_dev.h"
#include "virtio_pci.h"

#define PCI_NAP_MS	 5
#define PCI_HEARTBEAT_MS 200 /* interval of checks that the device is still there */

enum pci_irq {
	PCI_IRQ_PER_PAIR = 0,
	PCI_IRQ_SHARED, /* one MSI-X vector */
	PCI_IRQ_INTX,
	PCI_IRQ_NONE,
};

struct pci_link {
	struct guest_dev g; /* first */
	struct pci_dev pci;
	struct virtio_pci virtio;
	struct dma_mem dma;
	struct pci_app_mems app;
	uint64_t features; /* as negotiated; 0: not yet */
	enum pci_irq irq;
	bool irqs_set; /* irq is valid */
	int irq_fd;    /* PCI_IRQ_SHARED: an eventfd; PCI_IRQ_INTX: of pci; -1 */
	int timer_fd;
	int epfd; /* watches irq_fd, timer_fd and the kernel's removal request */
	bool connected;
};

extern const struct guest_link_ops pci_link_ops;

/* Opens the device and reads what it is; needs no memory yet. 0 or -errno with text. */
int pci_link_init(struct pci_link *l, const struct pci_access *access, const char *bdf);
/*
 * Gets the device's shared memory, mapped as long as the device is open, and its address. 0;
 * -ENOENT: it has none; -errno with text.
 */
int pci_link_shm(struct pci_link *l, struct vm_region_own *out);
/* Undoes pci_link_init(). */
void pci_link_fini(struct pci_link *l);

#endif
