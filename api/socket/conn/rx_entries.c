/* SPDX-License-Identifier: BSD-3-Clause */
#include "rx_entries.h"

#include <sys/mman.h>
#include <unistd.h>

#define ENTRIES_FIRST 64u
#define TRIM_ENTRIES  2048u /* by one call: 32 pages of 4 KiB */

static size_t bytes_of(uint32_t entries)
{
	return (size_t)entries * sizeof(struct rx_entry);
}

bool rx_entries_grow(struct rx_loans *r)
{
	uint32_t size = r->size ? r->size * 2 : ENTRIES_FIRST;
	void *e;

	if (size <= r->size)
		return false;
	if (r->e)
		e = mremap(r->e, bytes_of(r->size), bytes_of(size), MREMAP_MAYMOVE);
	else
		e = mmap(NULL, bytes_of(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (e == MAP_FAILED)
		return false;
	r->e = e;
	r->size = size;
	return true;
}

static bool trim_due(const struct rx_loans *r)
{
	return r->touched > RX_ENTRIES_KEPT && r->touched > r->top;
}

void rx_entries_unused(struct rx_loans *r)
{
	if (r->top > r->touched)
		r->touched = r->top;
	r->free = LOAN_NONE;
	r->top = 0;
	r->chores |= trim_due(r);
}

bool rx_entries_trim(struct rx_loans *r)
{
	uint32_t keep = r->top > RX_ENTRIES_KEPT ? r->top : RX_ENTRIES_KEPT, from;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), lo, hi;

	if (!trim_due(r))
		return false;
	from = r->touched - keep > TRIM_ENTRIES ? r->touched - TRIM_ENTRIES : keep;
	lo = (bytes_of(from) + page - 1) & ~(page - 1);
	hi = (bytes_of(r->touched) + page - 1) & ~(page - 1);
	if (lo < hi)
		(void)madvise((char *)r->e + lo, hi - lo, MADV_DONTNEED);
	r->touched = from;
	return trim_due(r);
}

void rx_entries_fini(struct rx_loans *r)
{
	if (r->e)
		(void)munmap(r->e, bytes_of(r->size));
	r->e = NULL;
}
