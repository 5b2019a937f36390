/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of kind "dax": an NVDIMM, or a part of one, as /dev/daxX.Y. */
#ifndef ZV_REGION_DAX_H
#define ZV_REGION_DAX_H

#include "vm_region.h"

extern const struct vm_region_kind vm_region_dax;

#endif
