/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI device data from sysfs: names, kernel driver, IOMMU group. Only reads; no device is touched.
 * The root of sysfs is a parameter, so that tests can build their own.
 */
#ifndef ZV_PCI_SYSFS_H
#define ZV_PCI_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_SYSFS     "/sys"
#define PCI_BDF_CHARS 13 /* "0000:00:05.0" and its 0 */

/* virtio-vsock is device type 19 (VIRTIO 1.2, 4.1.2): 0x1040 + 19, or transitional. */
#define PCI_VENDOR_VIRTIO      0x1af4
#define PCI_DEVICE_VSOCK       0x1053
#define PCI_DEVICE_VSOCK_TRANS 0x1012

struct pci_info {
	char bdf[PCI_BDF_CHARS];
	uint16_t vendor, device;
	char driver[32];     /* kernel driver bound; "": none */
	int iommu_group;     /* -1: no IOMMU translates for it */
	char iommu_type[16]; /* of the group: "DMA", "DMA-FQ", "identity"; "": unknown */
	int uio;	     /* N of /dev/uioN; -1: none */
	int vfio_cdev;	     /* N of /dev/vfio/devices/vfioN; -1: none */
};

/*
 * Brings "0000:00:05.0", or "00:05.0" in domain 0, into the form that sysfs uses. False: not the
 * address of a PCI function.
 */
bool pci_bdf_parse(char bdf[PCI_BDF_CHARS], const char *text);

/* Fills *@i for @bdf. 0; -ENODEV: there is no such device; -errno. */
int pci_info_read(struct pci_info *i, const char *root, const char *bdf);

/*
 * Where BAR @bar of the device is in the guest's physical memory, and its bytes. 0; -EINVAL: it is
 * no memory, or has no address; -errno.
 */
int pci_bar_range(const char *root, const char *bdf, unsigned bar, uint64_t *start, uint64_t *size);

bool pci_info_is_vsock(const struct pci_info *i);

/* One line of text from a file, without its end. Length, or -errno. @size >= 1. */
int pci_read_text(const char *path, char *text, size_t size);

/* Writes @text to a file in one go, as attributes of sysfs want it. 0 or -errno. */
int pci_write_text(const char *path, const char *text);

#endif
