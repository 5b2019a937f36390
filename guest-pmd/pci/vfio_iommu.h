/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The IOMMU behind VFIO devices: who translates for a device, and what is mapped.
 *
 * Two interfaces of the kernel do the same. The older one has a container (one address space) with
 * groups of devices that an IOMMU cannot tell apart; a group can be opened once and has one address
 * space, so the devices of a group share what this module keeps of it. The newer one (iommufd,
 * Linux 6.2 on; a character device for each VFIO device, 6.6 on) is used where the kernel has no
 * groups.
 */
#ifndef ZV_VFIO_IOMMU_H
#define ZV_VFIO_IOMMU_H

#include "pci_sysfs.h"
#include "proto/vm_addr.h"

struct vfio_iommu;

/*
 * Opens the device of @info through its group or its character device. *device_fd is the caller's;
 * *out is counted and goes with vfio_iommu_put(), after the device's descriptor. 0 or -errno with
 * zv_err() text.
 */
int vfio_iommu_open(struct vfio_iommu **out, int *device_fd, const struct pci_info *info);
void vfio_iommu_put(struct vfio_iommu *m);

/* @len bytes of IOVA, aligned to 2 MiB, that nothing else of this address space has. -ENOSPC. */
int vfio_iommu_iova(struct vfio_iommu *m, uint64_t len, struct iova *at);
/* Gives it back, when nothing is mapped there any more. */
void vfio_iommu_iova_put(struct vfio_iommu *m, uint64_t len, struct iova at);
/* 0 or -errno: -EEXIST (mapped already), -ENOMEM (RLIMIT_MEMLOCK), -EINVAL (outside the IOMMU). */
int vfio_iommu_map(struct vfio_iommu *m, void *va, uint64_t len, struct iova at);
void vfio_iommu_unmap(struct vfio_iommu *m, uint64_t len, struct iova at);

#endif
