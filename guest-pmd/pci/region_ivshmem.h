/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of the kind "ivshmem": BAR 2 of an ivshmem-plain PCI device. */
#ifndef ZV_REGION_IVSHMEM_H
#define ZV_REGION_IVSHMEM_H

#include "region/vm_region.h"

extern const struct vm_region_kind vm_region_ivshmem;

#endif
