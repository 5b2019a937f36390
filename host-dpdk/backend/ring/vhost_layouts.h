/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring layouts of the device side. To add one, write vhost_ring_NAME.h (verbs) and .c (layout
 * constant and everything that is not inline), and add it to both lists here. */
#ifndef ZV_VHOST_LAYOUTS_H
#define ZV_VHOST_LAYOUTS_H

#include "vhost_ring_packed.h"
#include "vhost_ring_split.h"

#define VHOST_LAYOUTS(X) X(packed) X(split)

/*
 * The instances of the data path: X(instance, layout, iommu). A function written once over verbs is
 * VHOST_INLINE and takes the table of verbs and iommu as its last arguments. Each file instantiates
 * its functions with this list, and vhost_pair_path() selects one instance when a session starts.
 */
#define VHOST_PATHS_OF(X, layout) X(layout, layout, false) X(layout##_iommu, layout, true)
#define VHOST_PATHS(X)		  VHOST_PATHS_OF(X, split) VHOST_PATHS_OF(X, packed)

#endif
