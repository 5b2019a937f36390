/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IOMMU behind VFIO devices: which address space a device uses, and what is mapped there.
 *
 * The kernel has two interfaces for this. The older one has a container (one address space) with
 * groups of devices that an IOMMU cannot tell apart; a group can be opened once and has one address
 * space, so the devices of a group share the state in this module. The newer one (iommufd, since
 * Linux 6.2; a character device for each VFIO device, since 6.6) is used where the kernel has no
 * groups.
 */
#ifndef ZV_VFIO_IOMMU_H
#define ZV_VFIO_IOMMU_H

#include "pci_sysfs.h"
#include "proto/vm_addr.h"

struct vfio_iommu;

/*
 * Opens the device of @info through its group or its character device. The caller owns *device_fd;
 * *out is reference-counted and is released by vfio_iommu_put(), after the device's descriptor. 0
 * or -errno with zv_err() text.
 */
int vfio_iommu_open(struct vfio_iommu **out, int *device_fd, const struct pci_info *info);
void vfio_iommu_put(struct vfio_iommu *m);

/* Allocates @len bytes of IOVA in this address space, aligned to 2 MiB. 0 or -ENOSPC. */
int vfio_iommu_iova(struct vfio_iommu *m, uint64_t len, struct iova *at);
/* Frees it, when nothing is mapped there any more. */
void vfio_iommu_iova_put(struct vfio_iommu *m, uint64_t len, struct iova at);
/* 0 or -errno: -EEXIST (mapped already), -ENOMEM (RLIMIT_MEMLOCK), -EINVAL (outside the IOMMU). */
int vfio_iommu_map(struct vfio_iommu *m, void *va, uint64_t len, struct iova at);
void vfio_iommu_unmap(struct vfio_iommu *m, uint64_t len, struct iova at);

#endif
