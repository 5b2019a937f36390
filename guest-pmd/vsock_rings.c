/* SPDX-License-Identifier: BSD-3-Clause */
#include "vsock_rings.h"

#include "zvsock_types.h"

const struct vsock_rings *const vsock_rings[] = {&vsock_rings_packed, &vsock_rings_split, NULL};

uint64_t vsock_rings_features(const struct vsock_rings *const *all, uint32_t flags)
{
	uint64_t features = 0;

	if (!(flags & ZV_OPT_PACKED) || flags & ZV_OPT_SPLIT)
		return 0;

	for (; *all; all++)
		features |= (*all)->layout->feature;
	return features;
}

const struct vsock_rings *vsock_rings_choose(const struct vsock_rings *const *all,
					     uint64_t features)
{
	while (all[1] && !((*all)->layout->feature & features))
		all++;
	return *all;
}

size_t vsock_rings_bytes(const struct vsock_rings *const *all, uint32_t size)
{
	size_t most = 0;

	for (; *all; all++) {
		size_t bytes = (*all)->layout->bytes(size);

		most = bytes > most ? bytes : most;
	}
	return most;
}
