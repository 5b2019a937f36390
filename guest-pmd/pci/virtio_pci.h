/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A modern virtio device on PCI: initialisation, features, virtqueues (VIRTIO 1.2, 3.1 and 4.1).
 *
 * Order of calls, as in the specification: init, reset, features, features_set, queue_*, driver_ok.
 * Registers are accessed by one thread, the device's control thread; only doorbells are rung by the
 * owners of the queues.
 *
 * The device may be hostile, or unplugged (all registers read as ones): each wait is bounded, and
 * what is read is checked. Functions return 0 or -errno with zv_err() text.
 */
#ifndef ZV_VIRTIO_PCI_H
#define ZV_VIRTIO_PCI_H

#include "pci/device/pci_dev.h"

#include <linux/virtio_pci.h>

#define VIRTIO_PCI_NO_VECTOR 0xffffu

struct virtio_pci {
	struct pci_dev *pci;
	struct virtio_pci_caps caps;
	volatile struct virtio_pci_common_cfg *common;
	uint8_t *notify;
	volatile uint8_t *isr, *config;
};

/* One virtqueue, as the device is told of it. */
struct virtio_pci_queue {
	uint16_t index, size;
	uint16_t vector;		  /* MSI-X, or VIRTIO_PCI_NO_VECTOR */
	const volatile void *doorbell;	  /* virtio_pci_doorbell(), as its owner rings it */
	struct iova desc, driver, device; /* its areas (VIRTIO 1.2, 2.6) */
};

/* Finds and maps the device's structures. */
int virtio_pci_init(struct virtio_pci *v, struct pci_dev *pci);
/*
 * Resets the device at the end of its use and waits until it is done. 0; -errno as below, no text.
 */
int virtio_pci_stop(struct virtio_pci *v);
/* Resets the device and waits until it is done. -ETIMEDOUT, -ENODEV (it has been unplugged). */
int virtio_pci_reset(struct virtio_pci *v);
/* After a reset: sets ACKNOWLEDGE and DRIVER, and returns the features that the device offers. */
uint64_t virtio_pci_features(struct virtio_pci *v);
/* Accepts @features. -EPROTONOSUPPORT: the device does not take them. */
int virtio_pci_features_set(struct virtio_pci *v, uint64_t features);
/* Number of virtqueues, and the largest size of one (0: it does not exist). */
unsigned virtio_pci_queues(struct virtio_pci *v);
unsigned virtio_pci_queue_max(struct virtio_pci *v, uint16_t index);
/*
 * The 16-bit register to which the index of a virtqueue is written (VIRTIO 1.2, 4.1.5.2). It does
 * not change while the device is open. NULL: it would be out of bounds, and the virtqueue cannot be
 * started.
 */
volatile uint16_t *virtio_pci_doorbell(struct virtio_pci *v, uint16_t index);
/* Sets a virtqueue up and enables it. */
int virtio_pci_queue_start(struct virtio_pci *v, const struct virtio_pci_queue *q);
/* Selects the MSI-X vector for configuration changes. */
int virtio_pci_config_vector(struct virtio_pci *v, uint16_t vector);
void virtio_pci_driver_ok(struct virtio_pci *v);
/* Sets FAILED: the driver gives up. */
void virtio_pci_failed(struct virtio_pci *v);
/*
 * After virtio_pci_driver_ok(): 0: works; -ENODEV: it has been unplugged; -EIO: it asks for a
 * reset, or somebody else has reset it. No text.
 */
int virtio_pci_check(struct virtio_pci *v);
/* Reads, and thereby clears, the reasons of an INTx interrupt. */
uint8_t virtio_pci_isr(struct virtio_pci *v);
/* Reads the guest's CID from the configuration space. -ETIMEDOUT: it does not stop changing. */
int virtio_pci_cid(struct virtio_pci *v, uint64_t *cid);

#endif
