/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of kind "virtio": shared memory of the virtio-vsock device (VIRTIO 1.2, 2.10). */
#ifndef ZV_REGION_VIRTIO_H
#define ZV_REGION_VIRTIO_H

#include "vm_region.h"

extern const struct vm_region_kind vm_region_virtio;

#endif
