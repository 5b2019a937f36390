/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_mem.h"

#include "sigbus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* True when [start, start + size) is not empty and does not run past 2^64. */
static bool range_ok(uint64_t start, uint64_t size)
{
	return size != 0 && size - 1 <= UINT64_MAX - start;
}

/*
 * The page size of a file: hugetlbfs reports it as its block size, and a mapping of such a file
 * must start at a multiple of it. Other file systems report what they like.
 */
static uint64_t file_page_size(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t blk = (uint64_t)st->st_blksize;

	return blk > page && (blk & (blk - 1)) == 0 ? blk : page;
}

static int map_region(struct guest_mem *m, unsigned i, const struct guest_mem_src *s)
{
	struct stat st;
	uint64_t page, start, len;
	void *addr;
	int watch;

	if (!range_ok(s->gpa, s->size) || !range_ok(s->uva, s->size) ||
	    !range_ok(s->offset, s->size))
		return -EINVAL;
	if (fstat(s->fd, &st) < 0)
		return -errno;
	/* Touching a page behind the end of a file is a SIGBUS; refuse what is short already. */
	if (S_ISREG(st.st_mode) && s->offset + s->size - 1 >= (uint64_t)st.st_size)
		return -EINVAL;
	page = file_page_size(&st);
	start = s->offset & ~(page - 1);
	len = s->offset - start + s->size;
	if (len < s->size || len > SIZE_MAX / 2 || start > INT64_MAX)
		return -EINVAL;
	len = (len + page - 1) & ~(page - 1);
	addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, (off_t)start);
	if (addr == MAP_FAILED)
		return -errno;
	watch = sigbus_watch(addr, len, &m->fault);
	if (watch < 0) {
		(void)munmap(addr, len);
		return watch;
	}
	m->map[i].addr = addr;
	m->map[i].len = len;
	m->map[i].watch = watch;
	m->map[i].dev = st.st_dev;
	m->map[i].ino = st.st_ino;
	m->map[i].offset = s->offset;
	m->r[i].gpa = s->gpa;
	m->r[i].uva = s->uva;
	m->r[i].size = s->size;
	m->r[i].va = (uint8_t *)addr + (s->offset - start);
	if (m->page_size == 0 || page < m->page_size)
		m->page_size = page;
	return 0;
}

int guest_mem_import(struct guest_mem **out, const struct guest_mem_src *src, unsigned n)
{
	struct guest_mem *m;
	int ret;

	if (n == 0 || n > GUEST_MEM_REGIONS)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->refs = 1;
	for (unsigned i = 0; i < n; i++) {
		ret = map_region(m, i, &src[i]);
		if (ret < 0) {
			guest_mem_put(m);
			return ret;
		}
		m->nregions++;
	}
	*out = m;
	return 0;
}

struct guest_mem *guest_mem_get(struct guest_mem *m)
{
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

void guest_mem_put(struct guest_mem *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (uint32_t i = 0; i < m->nregions; i++) {
		sigbus_unwatch(m->map[i].watch);
		(void)munmap(m->map[i].addr, m->map[i].len);
	}
	free(m);
}

int guest_mem_revoke(struct guest_mem *m)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		void *addr = mmap(m->map[i].addr, m->map[i].len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

		if (addr == MAP_FAILED)
			return -errno;
	}
	return 0;
}

/* Region @i of @m is wholly in @now too: the same bytes of the same file at the same address. */
static bool region_kept(const struct guest_mem *m, uint32_t i, const struct guest_mem *now)
{
	for (uint32_t k = 0; k < now->nregions; k++) {
		uint64_t off = m->r[i].gpa - now->r[k].gpa;

		if (off < now->r[k].size && m->r[i].size <= now->r[k].size - off &&
		    m->map[i].dev == now->map[k].dev && m->map[i].ino == now->map[k].ino &&
		    m->map[i].offset == now->map[k].offset + off)
			return true;
	}
	return false;
}

bool guest_mem_gone(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
		    uint64_t len)
{
	for (uint32_t i = 0; i < m->nregions && len; i++) {
		uintptr_t start = (uintptr_t)m->r[i].va, at = (uintptr_t)va;

		if (at < start + m->r[i].size && start < at + len && !region_kept(m, i, now))
			return true;
	}
	return false;
}

uint8_t *guest_mem_search(const struct guest_mem *m, uint32_t *hint, uint64_t gpa, uint64_t len)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uint64_t off = gpa - m->r[i].gpa;

		if (off < m->r[i].size && len <= m->r[i].size - off) {
			*hint = i;
			return m->r[i].va + off;
		}
	}
	return NULL;
}

uint8_t *guest_mem_uva(const struct guest_mem *m, uint64_t uva, uint64_t len)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uint64_t off = uva - m->r[i].uva;

		if (off < m->r[i].size && len <= m->r[i].size - off)
			return m->r[i].va + off;
	}
	return NULL;
}
