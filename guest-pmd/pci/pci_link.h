/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtio-vsock PCI device as transport/guest_dev.h wants it.
 *
 * Theory of operation
 * -------------------
 * pci_dev.h gives registers, memory and interrupts, virtio_pci.h the device's initialisation,
 * dma_mem.h what it may read and write. pci_link.c puts them together.
 *
 * Addresses. Where the device offers VIRTIO_F_ACCESS_PLATFORM and vfio has an IOMMU for it, rings
 * and buffers have IOVAs of our choice. Where it does not offer that, it goes past an IOMMU
 * (VIRTIO 1.2, 6.1), and addresses are physical ones; so they are with uio. Which of both holds is
 * known before memory is allocated, and a device that changes its mind at a reset is given up.
 *
 * Interrupts. A vector for each pair, and one for configuration and events, when MSI-X has so many:
 * then the kernel signals each pair's eventfd itself. With fewer vectors, one is shared by all, and
 * without MSI-X there is the INTx line: then the control thread takes interrupts and wakes the
 * pairs. Without any interrupt it wakes them every PCI_NAP_MS, which bounds how long a sleep can
 * last. A queue that polls needs none of it.
 *
 * The loss of a device has three signs: the kernel asks for it back or has taken it (it is being
 * unplugged), its registers read as ones, or its status asks for a reset or is that of a device
 * that was reset. The first two end it: its file is closed, so that an unplug is not held up. The
 * third is mended by a reset.
 */
#ifndef ZV_PCI_LINK_H
#define ZV_PCI_LINK_H

#include "dma_mem.h"
#include "pci_app_mem.h"
#include "region/vm_region.h"
#include "transport/guest_dev.h"
#include "virtio_pci.h"

#define PCI_NAP_MS	 5
#define PCI_HEARTBEAT_MS 200 /* between two looks whether the device is still there */

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
	bool irqs_set; /* once, and irq is valid */
	int irq_fd;    /* PCI_IRQ_SHARED: an eventfd; PCI_IRQ_INTX: of pci; -1 */
	int timer_fd;
	int epfd; /* of irq_fd, timer_fd and the kernel's wish to have the device back */
	bool connected;
};

extern const struct guest_link_ops pci_link_ops;

/* Opens the device and learns what it is; no memory is needed yet. 0 or -errno with text. */
int pci_link_init(struct pci_link *l, const struct pci_access *how, const char *bdf);
/*
 * The device's shared memory, mapped as long as it is open, and its address. 0; -ENOENT: it has
 * none; -errno with text.
 */
int pci_link_shm(struct pci_link *l, struct vm_region_own *out);
/* Undoes it. */
void pci_link_fini(struct pci_link *l);

#endif
