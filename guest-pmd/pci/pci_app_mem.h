/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the application that a PCI device reads in place (zvsock_mem.h).
 *
 * With vfio and an IOMMU that translates for the device, each piece gets an IOVA, and the kernel
 * pins its pages until it is unmapped. Where the device uses physical addresses, a piece would have
 * to be contiguous, and nothing would guarantee that its pages stay in place: payload is copied
 * instead.
 */
#ifndef ZV_PCI_APP_MEM_H
#define ZV_PCI_APP_MEM_H

#include "proto/vm_addr.h"
#include "transport.h"
#include "zvsock_mem.h"

#include <pthread.h>

struct pci_link;

struct pci_app_mems {
	pthread_mutex_t lock;
	bool over; /* the device is no longer ours */
	struct pci_app_mem {
		uint64_t len; /* 0: an unused place */
		struct iova at;
	} mem[ZV_MEM_MAX];
};

void pci_app_mems_init(struct pci_app_mems *m);
/*
 * Ends all mappings before the device goes; it no longer reads this memory. Harmless when called
 * twice.
 */
void pci_app_mems_end(struct pci_link *l);

/* For struct transport_ops. */
int pci_app_mem_map(struct transport_dev *d, const struct transport_mem *m, struct iova *at);
void pci_app_mem_unmap(struct transport_dev *d, struct iova at);

#endif
