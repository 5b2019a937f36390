/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI device in user space: configuration space, BARs, DMA memory, interrupts.
 *
 * Theory of operation
 * -------------------
 * Two kernel drivers hand a device to a process; struct pci_access is their common interface, and
 * the layers above (virtio_pci.c, the transports) use nothing else.
 *
 *  vfio-pci         The device reaches only memory that was mapped for it (dma_map), at addresses
 *                   of our choice (IOVA). The kernel's file descriptors give access to BARs, and
 *                   deliver MSI-X interrupts as eventfds. Needs an IOMMU, which a VM has if it is
 *                   configured with one. When the process dies, the kernel disables bus mastering,
 *                   which stops a virtio device, and resets the device if it can be reset, before
 *                   it frees the memory.
 *  uio_pci_generic  BARs are files in sysfs, the only interrupt is the INTx line. The device
 *                   reaches all memory, by physical addresses: nothing confines a wrong address,
 *                   so the kernel allows it to root only.
 *
 * A device is opened by one process at a time, in the state in which it is found. Close gives it
 * back to the same kernel driver with bus mastering disabled.
 *
 * Functions return 0 or -errno with zv_err() text that names the device and the remedy.
 */
#ifndef ZV_PCI_DEV_H
#define ZV_PCI_DEV_H

#include "pci/virtio_pci_cap.h"
#include "pci_sysfs.h"
#include "proto/vm_addr.h"

struct pci_access;

struct pci_bar {
	uint8_t *addr; /* NULL: not mapped */
	uint64_t size; /* bytes; 0: no memory BAR, or one that cannot be mapped */
};

struct pci_dev {
	const struct pci_access *access;
	struct pci_info info;
	struct pci_bar bar[PCI_BARS];
	unsigned msix; /* vectors it can signal; 0: INTx or no interrupt */
	bool intx;     /* it has a usable INTx line */
	int fd;	       /* vfio device, or /dev/uioN */
	void *ctx;     /* private to @access */
};

struct pci_access {
	const char *scheme; /* URI scheme: "vfio", "uio" */
	const char *driver; /* kernel driver to which the device must be bound */
	bool confined;	    /* the device reaches only what was mapped for it */

	/* Opens the device, which is bound to @driver, and fills in the sizes of its BARs. */
	int (*open)(struct pci_dev *d);
	void (*close)(struct pci_dev *d);
	/* Reads (writes) @len bytes of the configuration space. 0 or -errno, no text. */
	int (*config)(struct pci_dev *d, bool write, unsigned offset, void *data, unsigned len);
	/* Maps BAR @i, whose size is not 0. */
	int (*map_bar)(struct pci_dev *d, unsigned i);
	/* Allocates an IOVA for @len bytes. -EOPNOTSUPP: not confined; -ENOSPC. */
	int (*iova)(struct pci_dev *d, uint64_t len, struct iova *at);
	/* Frees the IOVA after its memory was unmapped. Set where iova() can succeed. */
	void (*iova_put)(struct pci_dev *d, uint64_t len, struct iova at);
	/*
	 * Makes @len bytes at @va, whole pages, reachable for the device at @at. NULL: all memory
	 * is reachable.
	 */
	int (*dma_map)(struct pci_dev *d, void *va, uint64_t len, struct iova at);
	void (*dma_unmap)(struct pci_dev *d, uint64_t len, struct iova at);
	/*
	 * Makes MSI-X vector i signal eventfds[i], i < n <= d->msix. n = 0: disables all. 0;
	 * -ENOSPC: the kernel does not have that many for it; -errno, no text.
	 */
	int (*msix_set)(struct pci_dev *d, const int *eventfds, unsigned n);
	/*
	 * *fd becomes readable when the INTx line is raised; it stays masked until intx_ack(),
	 * which also empties *fd. The descriptor belongs to @d. 0 or -errno, no text.
	 */
	int (*intx_set)(struct pci_dev *d, int *fd);
	/* 0; -errno: the kernel has taken the device away. */
	int (*intx_ack)(struct pci_dev *d);
	/*
	 * A descriptor that is readable when the kernel wants the device back (it is being
	 * unplugged). -1: never.
	 */
	int (*removal_fd)(struct pci_dev *d);
};

extern const struct pci_access pci_vfio_access, pci_uio_access;

/*
 * Opens the device @bdf by @access and checks that it is a virtio-vsock device. The caller owns *d,
 * and must close it when 0 was returned.
 */
int pci_dev_open(struct pci_dev *d, const struct pci_access *access, const char *bdf);
/*
 * Enables the device's access to memory. Not to be called before its reset: the device may still
 * use the rings of a process that was killed.
 */
int pci_dev_start_dma(struct pci_dev *d);
/*
 * Disables the device's access to memory, even if a reset does not finish: before the memory is
 * freed. Harmless on a closed device.
 */
void pci_dev_stop_dma(struct pci_dev *d);
/*
 * Gives the device back to the kernel, which waits for it, while other threads may still ring
 * doorbells: their writes go to ordinary memory until pci_dev_close(). No DMA memory may be mapped
 * any more.
 */
void pci_dev_detach(struct pci_dev *d);
/* Unmaps everything. Harmless on a closed device. */
void pci_dev_close(struct pci_dev *d);
/* Maps BAR @i if it is not mapped yet. */
int pci_dev_bar(struct pci_dev *d, unsigned i);

#endif
