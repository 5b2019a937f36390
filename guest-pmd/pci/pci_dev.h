/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI device in user space: configuration space, BARs, DMA memory, interrupts.
 *
 * Theory of operation
 * -------------------
 * Two drivers of the kernel hand a device to a process, and struct pci_access is what they have in
 * common; everything above (virtio_pci.c, the transports) knows no other.
 *
 *  vfio-pci         The device reaches only memory that was mapped for it (pci_dma_map), at
 *                   addresses of our choice (IOVA). The kernel's file descriptors give BARs and
 *                   MSI-X interrupts as eventfds. Needs an IOMMU, which a VM has when its owner
 *                   wants it. When the process dies, the kernel turns bus mastering off, which
 *                   stops a virtio device, and resets it if it can be reset, before it frees the
 *                   memory.
 *  uio_pci_generic  BARs are files in sysfs, interrupts one INTx line. The device reaches all
 *                   memory, by physical addresses: nothing confines what a wrong address does, so
 *                   the kernel allows it to root only.
 *
 * A device is opened by one process at a time, and as the process finds it; close gives it back to
 * the same kernel driver with bus mastering off.
 *
 * Functions return 0 or -errno with zv_err() text that names the device and the mend.
 */
#ifndef ZV_PCI_DEV_H
#define ZV_PCI_DEV_H

#include "pci_sysfs.h"
#include "proto/vm_addr.h"
#include "virtio_pci_cap.h"

struct pci_access;

struct pci_bar {
	uint8_t *addr; /* NULL: not mapped */
	uint64_t size; /* bytes; 0: no memory BAR, or one that cannot be mapped */
};

struct pci_dev {
	const struct pci_access *how;
	struct pci_info info;
	struct pci_bar bar[PCI_BARS];
	unsigned msix; /* vectors that it can signal; 0: INTx, or nothing */
	bool intx;     /* it has an INTx line that we can wait for */
	int fd;	       /* of vfio-pci's device, or /dev/uioN */
	void *mine;    /* of @how */
};

struct pci_access {
	const char *scheme; /* of the URI: "vfio", "uio" */
	const char *driver; /* of the kernel, to which the device must be bound */
	bool confined;	    /* the device reaches only what was mapped for it */

	/* Opens the device, which is bound to @driver, and fills in the sizes of its BARs. */
	int (*open)(struct pci_dev *d);
	void (*close)(struct pci_dev *d);
	/* Reads (writes) @len bytes of the configuration space. 0 or -errno, no text. */
	int (*config)(struct pci_dev *d, bool write, unsigned offset, void *data, unsigned len);
	/* Maps BAR @i, whose size is not 0. */
	int (*map_bar)(struct pci_dev *d, unsigned i);
	/*
	 * An IOVA for @len bytes that no other memory of the device has. -EOPNOTSUPP: not confined;
	 * -ENOSPC.
	 */
	int (*iova)(struct pci_dev *d, uint64_t len, struct iova *at);
	/* That memory is unmapped: others may have the IOVA. Where iova() gives some. */
	void (*iova_put)(struct pci_dev *d, uint64_t len, struct iova at);
	/* Makes @len bytes at @va, whole pages, reachable for the device at @at. NULL: all is. */
	int (*dma_map)(struct pci_dev *d, void *va, uint64_t len, struct iova at);
	void (*dma_unmap)(struct pci_dev *d, uint64_t len, struct iova at);
	/*
	 * MSI-X vector i signals eventfds[i], i < n <= d->msix. n = 0: none does any more. 0;
	 * -ENOSPC: the kernel has not so many for it; -errno, no text.
	 */
	int (*msix_set)(struct pci_dev *d, const int *eventfds, unsigned n);
	/*
	 * *fd becomes readable when the INTx line is raised; it stays masked until intx_ack(),
	 * which also empties *fd. The descriptor belongs to @d. 0 or -errno, no text.
	 */
	int (*intx_set)(struct pci_dev *d, int *fd);
	/* 0; -errno: the kernel has taken the device away. */
	int (*intx_ack)(struct pci_dev *d);
	/* Readable when the kernel wants the device back (it is being unplugged). -1: never. */
	int (*removal_fd)(struct pci_dev *d);
};

extern const struct pci_access pci_vfio_access, pci_uio_access;

/*
 * Opens the device @bdf by @how and checks that it is a virtio-vsock device. *d stays with the
 * caller; it must be closed when 0 was returned.
 */
int pci_dev_open(struct pci_dev *d, const struct pci_access *how, const char *bdf);
/*
 * Lets the device reach memory. Not before its reset: it may still have the rings of a process that
 * was killed.
 */
int pci_dev_start_dma(struct pci_dev *d);
/*
 * It does not any more, even if it does not finish a reset: before its memory is somebody else's.
 * Harmless on a device that is closed.
 */
void pci_dev_stop_dma(struct pci_dev *d);
/*
 * Gives the device back to the kernel, which waits for it, while other threads may still ring
 * doorbells: those end in memory until pci_dev_close(). Nothing is mapped for its DMA any more.
 */
void pci_dev_detach(struct pci_dev *d);
/* Unmaps everything. Harmless on a device that is closed. */
void pci_dev_close(struct pci_dev *d);
/* Maps BAR @i if it is not mapped yet. */
int pci_dev_bar(struct pci_dev *d, unsigned i);

#endif
