/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The subset in use of the kernel's iommufd interface (<linux/iommufd.h> of Linux 6.2, and the
 * VFIO_DEVICE_* additions of 6.6), which Debian 12's headers do not have.
 */
#ifndef ZV_IOMMUFD_ABI_H
#define ZV_IOMMUFD_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/vfio.h>

#define ZV_IOMMUFD_TYPE ';'

struct zv_iommu_ioas_alloc {
	__u32 size, flags, out_ioas_id;
};
#define ZV_IOMMU_IOAS_ALLOC _IO(ZV_IOMMUFD_TYPE, 0x81)

struct zv_iommu_iova_range {
	__aligned_u64 start, last;
};

struct zv_iommu_ioas_iova_ranges {
	__u32 size, ioas_id, num_iovas, reserved;
	__aligned_u64 allowed_iovas;
	__aligned_u64 out_iova_alignment;
};
#define ZV_IOMMU_IOAS_IOVA_RANGES _IO(ZV_IOMMUFD_TYPE, 0x84)

#define ZV_IOMMU_IOAS_MAP_FIXED_IOVA 1u
#define ZV_IOMMU_IOAS_MAP_WRITEABLE  2u
#define ZV_IOMMU_IOAS_MAP_READABLE   4u

struct zv_iommu_ioas_map {
	__u32 size, flags, ioas_id, reserved;
	__aligned_u64 user_va, length, iova;
};
#define ZV_IOMMU_IOAS_MAP _IO(ZV_IOMMUFD_TYPE, 0x85)

struct zv_iommu_ioas_unmap {
	__u32 size, ioas_id;
	__aligned_u64 iova, length;
};
#define ZV_IOMMU_IOAS_UNMAP _IO(ZV_IOMMUFD_TYPE, 0x86)

struct zv_vfio_bind_iommufd {
	__u32 argsz, flags;
	__s32 iommufd;
	__u32 out_devid;
};
#define ZV_VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

struct zv_vfio_attach_pt {
	__u32 argsz, flags, pt_id;
};
#define ZV_VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

#endif
