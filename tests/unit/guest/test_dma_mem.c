/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory in an address space that other devices of the IOMMU group have a part of. The IOMMU is
 * a list of ranges in this file.
 */
#include "pci/dma_mem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB   ((uint64_t)1 << 20)
#define PAGE  (2 * MIB)
#define FIRST (4096 * MIB) /* of the addresses that are given out */

static struct range {
	uint64_t at, len;
} mapped[16];
static unsigned nmapped, nput;
static uint64_t next, last;

static int fake_iova(struct pci_dev *d, uint64_t len, struct iova *at)
{
	(void)d;
	len = (len + PAGE - 1) & ~(PAGE - 1);
	if (last - next < len)
		return -ENOSPC;
	at->v = next;
	next += len;
	return 0;
}

static void fake_iova_put(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	assert_true(at.v >= FIRST && at.v + len <= next); /* it was given out */
	for (unsigned i = 0; i < nmapped; i++)
		assert_true(mapped[i].at != at.v);
	nput++;
}

static int fake_map(struct pci_dev *d, void *va, uint64_t len, struct iova at)
{
	(void)d;
	assert_non_null(va);
	for (unsigned i = 0; i < nmapped; i++)
		if (at.v < mapped[i].at + mapped[i].len && mapped[i].at < at.v + len)
			return -EEXIST;
	mapped[nmapped++] = (struct range){at.v, len};
	return 0;
}

static void fake_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	for (unsigned i = 0; i < nmapped; i++)
		if (mapped[i].at == at.v && mapped[i].len == len) {
			mapped[i] = mapped[--nmapped];
			return;
		}
	fail_msg("nothing was mapped at 0x%llx", (unsigned long long)at.v);
}

static const struct pci_access access_of_fake = {.scheme = "fake",
						 .driver = "fake",
						 .confined = true,
						 .iova = fake_iova,
						 .iova_put = fake_iova_put,
						 .dma_map = fake_map,
						 .dma_unmap = fake_unmap};
static struct pci_dev dev = {.how = &access_of_fake, .info = {.bdf = "0000:00:05.0"}};

static int begin(void **state)
{
	(void)state;
	nmapped = nput = 0;
	next = FIRST;
	last = FIRST + 64 * MIB;
	return 0;
}

static bool is_mapped(uint64_t at, uint64_t len)
{
	for (unsigned i = 0; i < nmapped; i++)
		if (at >= mapped[i].at && at + len <= mapped[i].at + mapped[i].len)
			return true;
	return false;
}

/* Hugepages of a neighbour whose addresses are physical may lie where IOVAs begin. */
static void an_iova_in_use_is_not_taken(void **state)
{
	struct guest_part parts[2] = {{.size = 3 * MIB}, {.size = 4096}};
	struct dma_mem m;

	(void)state;
	mapped[nmapped++] = (struct range){FIRST + PAGE, PAGE};
	assert_int_equal(dma_mem_create(&m, &dev, parts, 2, false), 0);
	assert_int_equal(nmapped, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(parts[i].at.v >= FIRST + 2 * PAGE);
		assert_true(is_mapped(parts[i].at.v, parts[i].size));
		assert_true(dma_mem_iova(&m, parts[i].addr).v == parts[i].at.v);
	}
	dma_mem_destroy(&m);
	assert_int_equal(nmapped, 1);
	assert_int_equal(nput, 1);
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
	mapped[nmapped++] = (struct range){FIRST, 64 * MIB};
	assert_int_equal(dma_mem_create(&m, &dev, &part, 1, false), -ENOSPC);
	assert_int_equal(nmapped, 1);
}

/* The device goes past the IOMMU: where its pages are mapped there is nothing to it. */
static void physical_memory_is_kept_wherever_there_is_room(void **state)
{
	struct dma_run run[3] = {{.offset = 0, .size = PAGE, .used = PAGE, .at = {FIRST}},
				 {.offset = PAGE, .size = PAGE, .at = {FIRST + 8 * PAGE}},
				 {.offset = 2 * PAGE, .size = PAGE, .used = 1, .at = {64 * MIB}}};
	struct dma_mem m = {
		.dev = &dev, .addr = (uint8_t *)PAGE, .size = 3 * PAGE, .run = run, .nruns = 3};

	(void)state;
	mapped[nmapped++] = (struct range){FIRST, 2 * PAGE}; /* of a translated neighbour */
	assert_int_equal(dma_map_runs(&m), 0);
	assert_int_equal(nmapped, 3); /* the second run has nothing in it */
	assert_true(run[0].at.v == FIRST);
	assert_true(dma_mem_iova(&m, m.addr + 5).v == FIRST + 5);
	assert_true(run[0].map_at.v == FIRST + 2 * PAGE);
	assert_true(run[2].map_at.v == 64 * MIB);
	dma_mem_unmap(&m);
	assert_int_equal(nmapped, 1);
	assert_int_equal(nput, 1); /* the other address was not given out */
	/* No room: said, and nothing is left behind. */
	next = last;
	assert_int_equal(dma_map_runs(&m), -EEXIST);
	dma_mem_unmap(&m);
	assert_int_equal(nmapped, 1);
}

#define T(name) cmocka_unit_test_setup(name, begin)

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
