/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's memory for fuzz_dev_ring.c: eight regions, in two makes.
 *
 * HEAP: each region is a heap block of just its size, so that AddressSanitizer sees one byte too
 * far; replacing the memory table copies to new blocks, and the old ones are freed as soon as the
 * code under test has dropped its references, so that it sees one use too many.
 * FILE: regions of a memfd through guest_mem_import(), as in real life, with a second mapping that
 * stands for the guest; so revocation is real, and late writes would be seen by the guest.
 *
 * Regions 0 to 2 are descriptor table, avail and used ring of the receive ring, 3 to 5 those of the
 * transmit ring, 6 and 7 are data. 6 and 7 touch in guest addresses but not in ours, and region 5
 * ends where the address space ends.
 */
#ifndef ZV_GUEST_TESTBED_H
#define ZV_GUEST_TESTBED_H

#include "mem/guest_mem.h"

#include <stdbool.h>

#define REGIONS	 8u
#define DATA_A	 6u
#define DATA_B	 7u
#define SIZE_A	 3000u
#define SIZE_B	 2000u
#define GPA_A	 0x10000ull
#define GENS	 48u /* most tables alive at once */
#define RING_MAX 64u

struct gen {
	struct guest_mem *gm; /* with a reference of ours */
	uint8_t *heap[REGIONS];
};

struct guest_testbed {
	bool file;
	uint32_t ring_size;
	uint64_t gpa[REGIONS];
	uint32_t size[REGIONS];
	uint8_t *view[REGIONS]; /* the guest's own look at the regions */
	struct gen gen[GENS];
	unsigned ngen; /* the last one is current */
};

void testbed_init(struct guest_testbed *w, bool file, uint32_t ring_size);
/* A new table with the same contents. False: too many are alive. */
bool testbed_next(struct guest_testbed *w);
/* Frees the tables, the current one excepted, that nobody refers to any more. */
void testbed_reap(struct guest_testbed *w);
/* Frees everything; nobody may refer to a table any more. */
void testbed_fini(struct guest_testbed *w);
/* @len bytes at @p lie inside one region of a table that is alive. */
bool testbed_has(const struct guest_testbed *w, const uint8_t *p, uint64_t len);
/* FILE: all of the guest's memory, TESTBED_FILE bytes. */
const uint8_t *testbed_file(void);
#define TESTBED_FILE (8u * 4096u)

static inline struct gen *testbed_now(struct guest_testbed *w)
{
	return &w->gen[w->ngen - 1];
}

#endif
