/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_mem_int.h"

#include "map_limit.h"
#include "mem_look.h"
#include "sigbus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* mremap() moves whole page tables, up to the bytes of one, if both addresses are congruent. */
#define TABLE ((size_t)1 << 30)

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

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

/* Checks region @i, before anything is mapped, and says where in the file its map begins. */
static int check_region(struct guest_mem *m, unsigned i, const struct guest_mem_src *s,
			uint64_t *start)
{
	struct stat st;
	uint64_t page, len;

	if (!vm_range_ok(s->gpa.v, s->size) || !vm_range_ok(s->uva.v, s->size) ||
	    !vm_range_ok(s->offset, s->size))
		return -EINVAL;
	if (fstat(s->fd, &st) < 0)
		return -errno;
	/* An access beyond the end of a file raises SIGBUS: refuse files that are already too
	 * short. */
	if (S_ISREG(st.st_mode) && s->offset + s->size - 1 >= (uint64_t)st.st_size)
		return -EINVAL;
	page = file_page_size(&st);
	*start = s->offset & ~(page - 1);
	len = s->offset - *start + s->size;
	if (len < s->size || len > SIZE_MAX / 2 || *start > INT64_MAX)
		return -EINVAL;
	m->map[i].len = (len + page - 1) & ~(page - 1);
	m->map[i].dev = st.st_dev;
	m->map[i].ino = st.st_ino;
	m->map[i].offset = s->offset;
	m->r[i].gpa = s->gpa;
	m->r[i].uva = s->uva;
	m->r[i].size = s->size;
	if (m->page_size == 0 || page < m->page_size)
		m->page_size = page;
	return 0;
}

/* @start: of its map, in the file. */
static int map_region(struct guest_mem *m, unsigned i, const struct guest_mem_src *s,
		      uint64_t start)
{
	void *addr = guest_mem_space_map(s->fd, start, m->map[i].len);
	int watch;

	if (addr == MAP_FAILED)
		return -errno;
	watch = sigbus_watch(addr, m->map[i].len, &m->fault);
	if (watch < 0) {
		guest_mem_space_drop(addr, m->map[i].len);
		return watch;
	}
	m->map[i].addr = addr;
	m->map[i].watch = watch;
	m->r[i].va = (uint8_t *)addr + (s->offset - start);
	return 0;
}

/* Order of regions: those of one file together, by their offsets. */
static bool before(const struct guest_mem *m, unsigned a, unsigned b)
{
	if (m->map[a].dev != m->map[b].dev)
		return m->map[a].dev < m->map[b].dev;
	if (m->map[a].ino != m->map[b].ino)
		return m->map[a].ino < m->map[b].ino;
	return m->map[a].offset < m->map[b].offset;
}

/* Bytes of files that the regions have between them, each counted once. */
static uint64_t bytes_of_files(const struct guest_mem *m, unsigned n)
{
	unsigned order[GUEST_MEM_REGIONS];
	uint64_t bytes = 0, until = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		for (; at && before(m, i, order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (unsigned k = 0; k < n; k++) {
		unsigned i = order[k];
		uint64_t start = m->map[i].offset, end = start + m->r[i].size;

		if (k && m->map[i].dev == m->map[order[k - 1]].dev &&
		    m->map[i].ino == m->map[order[k - 1]].ino && start < until)
			start = until;
		if (end > start) {
			bytes += end - start;
			until = end;
		}
	}
	return bytes;
}

static bool has_aliases(const struct guest_mem *m, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += m->r[i].size;
	return bytes / 2 > bytes_of_files(m, n);
}

/* Nobody has used the maps of @m yet. */
static void import_failed(struct guest_mem *m)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		sigbus_unwatch(m->map[i].watch);
		guest_mem_space_drop(m->map[i].addr, m->map[i].len);
	}
	mem_account_put(m->pays);
	free(m);
}

int guest_mem_import(struct guest_mem **out, const struct guest_mem_src *src, unsigned n)
{
	uint64_t start[GUEST_MEM_REGIONS] = {0};
	struct guest_mem *m;
	int ret = 0;

	if (n == 0 || n > GUEST_MEM_REGIONS)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->refs = m->holders = 1;
	m->pays = mem_account_hold(mem_payer());
	for (unsigned i = 0; i < n && ret == 0; i++)
		ret = check_region(m, i, &src[i], &start[i]);
	if (ret == 0 && has_aliases(m, n))
		ret = -EMLINK;
	for (unsigned i = 0; i < n && ret == 0; i++) {
		ret = map_region(m, i, &src[i], start[i]);
		m->nregions += ret == 0;
	}
	if (ret < 0) {
		import_failed(m);
		return ret;
	}
	*out = m;
	return 0;
}

struct guest_mem *guest_mem_get(struct guest_mem *m)
{
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

static bool last_use(struct guest_mem *m)
{
	return __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

void guest_mem_forget(struct guest_mem *m)
{
	if (__atomic_sub_fetch(&m->holders, 1, __ATOMIC_ACQ_REL))
		return;
	mem_account_put(m->pays);
	free(m);
}

/* The map, which nobody uses any more, is a holder too. */
static void unmap(struct guest_mem *m, bool waits)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		sigbus_unwatch(m->map[i].watch);
		guest_mem_space_unmap(m->map[i].addr, m->map[i].len, m->pays, waits);
	}
	__atomic_store_n(&m->unmapped, 1, __ATOMIC_RELEASE);
	guest_mem_forget(m);
}

void guest_mem_put(struct guest_mem *m)
{
	if (m && last_use(m))
		unmap(m, false);
}

bool guest_mem_leave(struct guest_mem *m)
{
	__atomic_add_fetch(&m->holders, 1, __ATOMIC_RELAXED);
	return last_use(m);
}

void guest_mem_unmap(struct guest_mem *m)
{
	unmap(m, true);
}

bool guest_mem_unmapped(const struct guest_mem *m)
{
	return __atomic_load_n(&m->unmapped, __ATOMIC_ACQUIRE);
}

/* ---- page tables ---- */

/* An address at which @len bytes are free, congruent to @addr. Somebody else may take it. */
static uint8_t *find_room(const uint8_t *addr, size_t len)
{
	uint8_t *room = mmap(NULL, len + TABLE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return NULL;
	(void)munmap(room, len + TABLE);
	return room + ((uintptr_t)addr - (uintptr_t)room) % TABLE;
}

/* Moves the pages of the map at @addr to another address. NULL: they are where they were. */
static uint8_t *move_pages(uint8_t *addr, size_t len, struct mem_account *pays)
{
	const unsigned long flags = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
	struct mem_account *was;
	void *room;
	long to;

	if (!guest_mem_space_take(len))
		return NULL;
	/* Without MREMAP_FIXED the address is a hint, which mremap() of glibc before 2.41 drops. */
	room = find_room(addr, len);
	was = mem_map_begin(pays);
	to = syscall(SYS_mremap, addr, len, len, flags, room);
	mem_map_end(was);
	if (to == -1) {
		guest_mem_space_give(len);
		return NULL;
	}
	return (uint8_t *)to; /* NOLINT(performance-no-int-to-ptr) */
}

struct guest_mem *guest_mem_strip(struct guest_mem *m)
{
	struct guest_mem *s;

	if (__atomic_load_n(&m->fault, __ATOMIC_RELAXED) ||
	    guest_mem_maps() + m->nregions > map_limit_loans())
		return NULL;
	s = calloc(1, sizeof(*s));
	for (uint32_t i = 0; s && i < m->nregions; i++) {
		uint8_t *addr = move_pages(m->map[i].addr, m->map[i].len, m->pays);

		if (!addr)
			continue;
		s->map[s->nregions].addr = addr;
		s->map[s->nregions].len = m->map[i].len;
		s->map[s->nregions++].watch = -1;
	}
	if (s && !s->nregions) {
		free(s);
		s = NULL;
	}
	if (s) {
		s->holders = 2;
		s->pays = mem_account_hold(m->pays);
	}
	return s;
}

/* ---- revocation ---- */

static void *blank(size_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
}

static void drop(uint8_t **p, size_t len)
{
	if (*p)
		(void)munmap(*p, len);
	*p = NULL;
}

void guest_mem_revoke_done(struct guest_mem *m)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		drop(&m->map[i].blank, m->map[i].len);
		drop(&m->map[i].first, m->map[i].len);
	}
}

int guest_mem_revoke_begin(struct guest_mem *m, bool written)
{
	int err;

	for (uint32_t i = 0; i < m->nregions; i++) {
		void *p = blank(m->map[i].len), *q = written ? blank(m->map[i].len) : NULL;

		err = errno;
		m->map[i].blank = p == MAP_FAILED ? NULL : p;
		m->map[i].first = q == MAP_FAILED ? NULL : q;
		if (p == MAP_FAILED || q == MAP_FAILED) {
			guest_mem_revoke_done(m);
			return -err;
		}
	}
	return 0;
}

/* The application may be writing there; ThreadSanitizer must not report that. All maps of a region
 * start on a page, so source and target have the same alignment. */
static __attribute__((no_sanitize_thread)) void copy_racing(uint8_t *to, const uint8_t *from,
							    size_t len)
{
	for (; len && (uintptr_t)from % 8; len--)
		*(volatile uint8_t *)to++ = *(const volatile uint8_t *)from++;
	for (; len >= 8; len -= 8, to += 8, from += 8)
		*(volatile uint64_t *)(void *)to = *(const volatile uint64_t *)(const void *)from;
	while (len--)
		*(volatile uint8_t *)to++ = *(const volatile uint8_t *)from++;
}

/* The region whose map contains all of [@va, @va + @len); nregions: none. */
static uint32_t map_of(const struct guest_mem *m, const uint8_t *va, size_t len)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uintptr_t off = (uintptr_t)va - (uintptr_t)m->map[i].addr;

		if (off < m->map[i].len && len <= m->map[i].len - off)
			return i;
	}
	return m->nregions;
}

void guest_mem_preserve(struct guest_mem *m, const uint8_t *va, size_t len)
{
	uint32_t i = len ? map_of(m, va, len) : m->nregions;
	size_t off;

	if (i == m->nregions)
		return;
	off = (uintptr_t)va - (uintptr_t)m->map[i].addr;
	copy_racing(m->map[i].blank + off, va, len);
	if (m->map[i].first)
		memcpy(m->map[i].first + off, m->map[i].blank + off, len);
}

int guest_mem_revoke_end(struct guest_mem *m)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		size_t len = m->map[i].len;
		struct mem_account *was = mem_map_begin(m->pays);
		void *at;

		at = mremap(m->map[i].blank, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			    m->map[i].addr);
		mem_map_end(was);
		if (at == MAP_FAILED)
			return -errno;
		m->map[i].blank = NULL;
	}
	return 0;
}

/* Eight aligned bytes that are unchanged. */
static inline __attribute__((no_sanitize_thread)) bool same8(const uint8_t *first,
							     const uint8_t *last)
{
	return (uintptr_t)first % 8 == 0 && (uintptr_t)last % 8 == 0 &&
	       *(const uint64_t *)(const void *)first ==
		       *(const volatile uint64_t *)(const void *)last;
}

/* A byte that was written between the copy and the end, and not again since. */
static __attribute__((no_sanitize_thread)) void catch_up(uint8_t *mine, const uint8_t *first,
							 const uint8_t *last, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t was, is;

		if (len - i >= 8 && same8(first + i, last + i)) {
			i += 7;
			continue;
		}
		was = first[i];
		is = *(const volatile uint8_t *)&last[i];
		if (is != was)
			(void)__atomic_compare_exchange_n(&mine[i], &was, is, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
}

uint8_t *guest_mem_same(const struct guest_mem *m, const struct guest_mem *now, const uint8_t *va,
			size_t len)
{
	uint32_t i = map_of(m, va, len), hint = 0;

	if (i == m->nregions)
		return NULL;
	return guest_mem_gpa(now, &hint, gpa_add(m->r[i].gpa, (uint64_t)(va - m->r[i].va)), len);
}

bool guest_mem_catch_up(struct guest_mem *m, const struct guest_mem *now, uint8_t *va, size_t len)
{
	uint32_t i = len ? map_of(m, va, len) : m->nregions;
	const uint8_t *last;

	if (i == m->nregions)
		return len == 0;
	last = guest_mem_same(m, now, va, len);
	if (!last || guest_mem_gone(m, now, va, len))
		return false;
	catch_up(va, m->map[i].first + (va - (uint8_t *)m->map[i].addr), last, len);
	return true;
}

/* ---- looking up ---- */

/* True: all of region @i of @m is in @now too, with the same bytes of the same file at the same
 * address. */
static bool region_unchanged(const struct guest_mem *m, uint32_t i, const struct guest_mem *now)
{
	for (uint32_t k = 0; k < now->nregions; k++) {
		uint64_t off = m->r[i].gpa.v - now->r[k].gpa.v;

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

		if (at < start + m->r[i].size && start < at + len && !region_unchanged(m, i, now))
			return true;
	}
	return false;
}

uint8_t *guest_mem_search(const struct guest_mem *m, uint32_t *hint, struct gpa a, uint64_t len)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uint64_t off = a.v - m->r[i].gpa.v;

		if (off < m->r[i].size && len <= m->r[i].size - off) {
			*hint = i;
			return m->r[i].va + off;
		}
	}
	return NULL;
}

uint8_t *guest_mem_uva(const struct guest_mem *m, struct uva a, uint64_t len)
{
	for (uint32_t i = 0; i < m->nregions; i++) {
		uint64_t off = a.v - m->r[i].uva.v;

		if (off < m->r[i].size && len <= m->r[i].size - off)
			return m->r[i].va + off;
	}
	return NULL;
}
