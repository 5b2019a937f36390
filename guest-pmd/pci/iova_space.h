/* SPDX-License-Identifier: BSD-3-Clause */
/* Which addresses of an IOMMU's address space are free: a range, and holes in what was taken. */
#ifndef ZV_IOVA_SPACE_H
#define ZV_IOVA_SPACE_H

#include <stdint.h>

#define IOVA_ALIGN     (2ull << 20)
#define IOVA_FIRST     (4ull << 30) /* above what firmware and interrupt windows of PCs occupy */
#define IOVA_HOLES_MAX 64u

/* Zero at first: nothing is free. The caller locks. */
struct iova_space {
	uint64_t next, last; /* free: next to last; next 0: no range yet */
	struct iova_hole {
		uint64_t at, len; /* given back, below next; len 0: none */
	} holes[IOVA_HOLES_MAX];
};

/* Takes over the range @start..@last when it is the first that holds IOVA_FIRST or lies above. */
void iova_space_range(struct iova_space *s, uint64_t start, uint64_t last);
/* @len bytes, aligned to IOVA_ALIGN, that nobody has. 0: there are none. */
uint64_t iova_space_take(struct iova_space *s, uint64_t len);
/* Nothing is mapped at these @len bytes any more. More than IOVA_HOLES_MAX holes are forgotten. */
void iova_space_give(struct iova_space *s, uint64_t at, uint64_t len);

#endif
