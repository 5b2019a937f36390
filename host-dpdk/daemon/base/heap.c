/* SPDX-License-Identifier: BSD-3-Clause */
#include "heap.h"
#include "clock.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
	uint64_t next_ms; /* no look before */
	size_t least;	  /* lowest value of held() since the last trim, including right after it */
} heap;

/* Bytes of resident private memory, without the guests'. 0: unknown. */
static size_t held(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long resident, shared;
	int n = f ? fscanf(f, "%*u %lu %lu", &resident, &shared) : 0;

	if (f)
		(void)fclose(f);
	return n == 2 && resident > shared ? (resident - shared) * (size_t)sysconf(_SC_PAGESIZE)
					   : 0;
}

/* Of these, the bytes that malloc has allocated. */
static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

void heap_check(void)
{
	uint64_t now = now_ms();
	size_t have;

	if (now < heap.next_ms)
		return;
	heap.next_ms = now + HEAP_CHECK_MS;
	have = held();
	if (have < heap.least)
		heap.least = have;
	if (have < heap.least + HEAP_SLACK || have < in_use() + HEAP_SLACK)
		return;
	(void)malloc_trim(0);
	heap.least = held();
}

void *heap_sparse(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void heap_sparse_free(void *p, size_t bytes)
{
	if (p)
		(void)munmap(p, bytes);
}
