/* SPDX-License-Identifier: BSD-3-Clause */
/* Allocator of an IOMMU's address space: a free range, and holes in what was allocated. */
#ifndef ZV_IOVA_SPACE_H
#define ZV_IOVA_SPACE_H

#include <stdint.h>

#define IOVA_ALIGN     (2ull << 20)
#define IOVA_FIRST     (4ull << 30) /* above what firmware and interrupt windows of PCs occupy */
#define IOVA_HOLES_MAX 64u

/* Initially zero: nothing is free. The caller locks. */
struct iova_space {
	uint64_t next, last; /* free: next to last; next 0: no range yet */
	struct iova_hole {
		uint64_t at, len; /* given back, below next; len 0: none */
	} holes[IOVA_HOLES_MAX];
};

/* Uses the range @start..@last if it is the first that contains IOVA_FIRST or lies above it. */
void iova_space_range(struct iova_space *s, uint64_t start, uint64_t last);
/* Allocates @len bytes, aligned to IOVA_ALIGN. 0: none are left. */
uint64_t iova_space_alloc(struct iova_space *s, uint64_t len);
/*
 * Frees these @len bytes, where nothing is mapped any more. Holes beyond IOVA_HOLES_MAX are lost.
 */
void iova_space_free(struct iova_space *s, uint64_t at, uint64_t len);

#endif
