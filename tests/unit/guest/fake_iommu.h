/* SPDX-License-Identifier: BSD-3-Clause */
/* An IOMMU for tests: a list of what is mapped, and addresses that are given out in order. */
#ifndef ZV_TEST_FAKE_IOMMU_H
#define ZV_TEST_FAKE_IOMMU_H

#include "pci/device/pci_dev.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB	   ((uint64_t)1 << 20)
#define FAKE_PAGE  (2 * MIB)
#define FAKE_FIRST (4096 * MIB) /* of the addresses that are given out */

static struct fake_iommu {
	struct fake_range {
		uint64_t at, len;
		void *va;
	} mapped[16];
	unsigned n, put;
	uint64_t next, last;
	int error; /* of the next map; -EEXIST once, others each time */
} iommu;

static inline int fake_iommu_begin(void **state)
{
	(void)state;
	iommu = (struct fake_iommu){.next = FAKE_FIRST, .last = FAKE_FIRST + 64 * MIB};
	return 0;
}

/* As if another device had something there. */
static inline void fake_iommu_take(uint64_t at, uint64_t len)
{
	iommu.mapped[iommu.n++] = (struct fake_range){at, len, NULL};
}

static inline int fake_iova(struct pci_dev *d, uint64_t len, struct iova *at)
{
	(void)d;
	len = (len + FAKE_PAGE - 1) & ~(FAKE_PAGE - 1);
	if (iommu.last - iommu.next < len)
		return -ENOSPC;
	at->v = iommu.next;
	iommu.next += len;
	return 0;
}

static inline void fake_iova_put(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	assert_true(at.v >= FAKE_FIRST && at.v + len <= iommu.next); /* it was given out */
	for (unsigned i = 0; i < iommu.n; i++)
		assert_true(iommu.mapped[i].at != at.v);
	iommu.put++;
}

static inline int fake_map(struct pci_dev *d, void *va, uint64_t len, struct iova at)
{
	int ret = iommu.error;

	(void)d;
	assert_non_null(va);
	if (ret == -EEXIST)
		iommu.error = 0;
	for (unsigned i = 0; i < iommu.n && ret == 0; i++)
		if (at.v < iommu.mapped[i].at + iommu.mapped[i].len &&
		    iommu.mapped[i].at < at.v + len)
			ret = -EEXIST;
	if (ret == 0)
		iommu.mapped[iommu.n++] = (struct fake_range){at.v, len, va};
	return ret;
}

static inline void fake_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	for (unsigned i = 0; i < iommu.n; i++)
		if (iommu.mapped[i].at == at.v && iommu.mapped[i].len == len) {
			iommu.mapped[i] = iommu.mapped[--iommu.n];
			return;
		}
	fail_msg("nothing was mapped at 0x%llx", (unsigned long long)at.v);
}

static const struct pci_access fake_iommu_access = {.scheme = "fake",
						    .driver = "fake",
						    .confined = true,
						    .iova = fake_iova,
						    .iova_put = fake_iova_put,
						    .dma_map = fake_map,
						    .dma_unmap = fake_unmap};

#endif
