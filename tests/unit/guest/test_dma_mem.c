/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory in an address space that other devices of the IOMMU group have a part of. The IOMMU is
 * a list of ranges in this file.
 */
#include "fake_iommu.h"
#include "pci/dma_mem.h"

#include <stdlib.h>

static struct pci_dev dev = {.access = &fake_iommu_access, .info = {.bdf = "0000:00:05.0"}};

static bool is_mapped(uint64_t at, uint64_t len)
{
	for (unsigned i = 0; i < iommu.n; i++)
		if (at >= iommu.mapped[i].at &&
		    at + len <= iommu.mapped[i].at + iommu.mapped[i].len)
			return true;
	return false;
}

/* Hugepages of a neighbour whose addresses are physical may lie where IOVAs begin. */
static void an_iova_in_use_is_not_taken(void **state)
{
	struct guest_part parts[2] = {{.size = 3 * MIB}, {.size = 4096}};
	struct dma_mem m;

	(void)state;
	fake_iommu_take(FAKE_FIRST + FAKE_PAGE, FAKE_PAGE);
	assert_int_equal(dma_mem_create(&m, &dev, parts, 2, false), 0);
	assert_int_equal(iommu.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(parts[i].at.v >= FAKE_FIRST + 2 * FAKE_PAGE);
		assert_true(is_mapped(parts[i].at.v, parts[i].size));
		assert_true(dma_mem_iova(&m, parts[i].addr).v == parts[i].at.v);
	}
	dma_mem_destroy(&m);
	assert_int_equal(iommu.n, 1);
	assert_int_equal(iommu.put, 1);
}

/*
 * Pages of ours are contiguous for the device's addresses, but not for the VMM behind them: no area
 * of a ring may cross from one to the next. In hugepages it may.
 */
static void rings_begin_with_a_page(void **state)
{
	struct guest_part parts[] = {{.size = 300},
				     {.size = 6912, .ring = true},
				     {.size = MIB + 64},
				     {.size = 1200, .ring = true}};
	struct dma_mem m;

	(void)state;
	assert_int_equal(dma_mem_create(&m, &dev, parts, 4, false), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(parts[i].at.v % 4096, 0);
		assert_true(is_mapped(parts[i].at.v, parts[i].size));
	}
	dma_mem_destroy(&m);
}

static void large_rings_take_hugepages(void **state)
{
	struct guest_part parts[] = {{.size = MIB}, {.size = 8193, .ring = true}};
	struct dma_mem m;
	int ret = dma_mem_create(&m, &dev, parts, 2, false);

	(void)state;
	if (ret == 0) { /* there are some */
		assert_int_equal(m.page_size, 2 * MIB);
		dma_mem_destroy(&m);
		return;
	}
	assert_int_equal(ret, -ENOMEM);
	assert_non_null(
		strstr(zv_error_text(), "rings of more than 256 descriptors take hugepages"));
	assert_non_null(strstr(zv_error_text(), "reserve 1 (zv-bind hugepages 1)"));
}

static void when_all_are_in_use_open_fails(void **state)
{
	struct guest_part part = {.size = MIB};
	struct dma_mem m;

	(void)state;
	fake_iommu_take(FAKE_FIRST, 64 * MIB);
	assert_int_equal(dma_mem_create(&m, &dev, &part, 1, false), -ENOSPC);
	assert_int_equal(iommu.n, 1);
}

/* The device goes past the IOMMU: where its pages are mapped there is nothing to it. */
static void physical_memory_is_kept_wherever_there_is_room(void **state)
{
	struct dma_run run[3] = {
		{.offset = 0, .size = FAKE_PAGE, .used = FAKE_PAGE, .at = {FAKE_FIRST}},
		{.offset = FAKE_PAGE, .size = FAKE_PAGE, .at = {FAKE_FIRST + 8 * FAKE_PAGE}},
		{.offset = 2 * FAKE_PAGE, .size = FAKE_PAGE, .used = 1, .at = {64 * MIB}}};
	struct dma_mem m = {.dev = &dev,
			    .addr = (uint8_t *)FAKE_PAGE,
			    .size = 3 * FAKE_PAGE,
			    .run = run,
			    .nruns = 3};

	(void)state;
	fake_iommu_take(FAKE_FIRST, 2 * FAKE_PAGE); /* of a translated neighbour */
	assert_int_equal(dma_map_runs(&m), 0);
	assert_int_equal(iommu.n, 3); /* the second run has nothing in it */
	assert_true(run[0].at.v == FAKE_FIRST);
	assert_true(dma_mem_iova(&m, m.addr + 5).v == FAKE_FIRST + 5);
	assert_true(run[0].map_at.v == FAKE_FIRST + 2 * FAKE_PAGE);
	assert_true(run[2].map_at.v == 64 * MIB);
	dma_mem_unmap(&m);
	assert_int_equal(iommu.n, 1);
	assert_int_equal(iommu.put, 1); /* the other address was not given out */
	/* No room: said, and nothing is left behind. */
	iommu.next = iommu.last;
	assert_int_equal(dma_map_runs(&m), -EEXIST);
	dma_mem_unmap(&m);
	assert_int_equal(iommu.n, 1);
}

#define T(name) cmocka_unit_test_setup(name, fake_iommu_begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_iova_in_use_is_not_taken),
		T(rings_begin_with_a_page),
		T(large_rings_take_hugepages),
		T(when_all_are_in_use_open_fails),
		T(physical_memory_is_kept_wherever_there_is_room),
	};

	return cmocka_run_group_tests_name("dma_mem", tests, NULL, NULL);
}
