/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a virtio device's structures lie in its BARs: the vendor-specific capabilities of its PCI
 * configuration space (VIRTIO 1.2, 4.1.4). Pure logic over a copy of the configuration space.
 *
 * The device wrote what is parsed here, and it is not trusted: offsets and lengths are checked
 * against the BARs' sizes, and a list that loops ends.
 */
#ifndef ZV_VIRTIO_PCI_CAP_H
#define ZV_VIRTIO_PCI_CAP_H

#include <stdint.h>

#define PCI_CONFIG_SPACE 256u
#define PCI_BARS	 6u

/* A structure in a BAR; length 0: the device has none. */
struct virtio_pci_area {
	uint8_t bar;
	uint32_t offset, length; /* bytes */
};

/* A shared memory region (VIRTIO 1.2, 4.1.4.7); length 0: the device has none. */
struct virtio_pci_shm {
	uint8_t bar;
	uint64_t offset, length; /* bytes, of whole pages */
};

struct virtio_pci_caps {
	struct virtio_pci_area common, notify, isr, device;
	uint32_t notify_multiplier; /* bytes; 0: one doorbell for all queues */
	struct virtio_pci_shm shm;  /* that with the id VSOCK_SHM_ID */
};

enum virtio_pci_cap_fault {
	VIRTIO_PCI_CAP_OK = 0,
	VIRTIO_PCI_CAP_NONE,	  /* no capability list, or none of virtio: a legacy device */
	VIRTIO_PCI_CAP_NO_COMMON, /* or too short for struct virtio_pci_common_cfg */
	VIRTIO_PCI_CAP_NO_NOTIFY,
	VIRTIO_PCI_CAP_NO_ISR,
	VIRTIO_PCI_CAP_NO_DEVICE, /* or too short for the CID */
};

/*
 * Finds the first usable structure of each type in the configuration space @cfg, as the
 * specification requires; @bar_size: bytes of each BAR, 0: not a memory BAR. A structure that lies
 * outside its BAR is not usable.
 */
enum virtio_pci_cap_fault virtio_pci_caps_parse(struct virtio_pci_caps *caps,
						const uint8_t cfg[PCI_CONFIG_SPACE],
						const uint64_t bar_size[PCI_BARS]);

/* "no doorbell (notify) structure": for error texts. */
const char *virtio_pci_cap_text(enum virtio_pci_cap_fault fault);

#endif
