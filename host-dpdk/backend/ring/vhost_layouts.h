/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring layouts of the device side. One is added by its file, vhost_ring_NAME.h (verbs) and .c
 * (descriptor and what is not inline), and a line in both lists here.
 */
#ifndef ZV_VHOST_LAYOUTS_H
#define ZV_VHOST_LAYOUTS_H

#include "vhost_ring_packed.h"
#include "vhost_ring_split.h"

#define VHOST_LAYOUTS(X) X(packed) X(split)

/*
 * The instances of the data path: X(instance, layout, iommu). A function that is written once over
 * verbs is defined as VHOST_INLINE, with the table of verbs and iommu as its last arguments; each
 * file instantiates its own by this list, and vhost_pair_path() chooses one when a session starts.
 */
#define VHOST_PATHS_OF(X, layout) X(layout, layout, false) X(layout##_iommu, layout, true)
#define VHOST_PATHS(X)		  VHOST_PATHS_OF(X, split) VHOST_PATHS_OF(X, packed)

#endif
