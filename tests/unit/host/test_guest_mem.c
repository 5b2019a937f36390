/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_fix.h"
#include "map_limit.h"
#include "mem/guest_shared.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>

/* Two regions with a hole between, and one at the very top of the address space. */
static struct guest_mem *three(const struct guest *g)
{
	struct guest_mem_src s[3] = {
		{.gpa = {0x1000}, .uva = {G_UVA}, .size = 0x3000, .offset = 0, .fd = g->fd},
		{.gpa = {0x8000},
		 .uva = {G_UVA + 0x10000},
		 .size = 0x1800,
		 .offset = 0x5800,
		 .fd = g->fd},
		{.gpa = {UINT64_MAX - 0xfff},
		 .uva = {0x1000},
		 .size = 0x1000,
		 .offset = 0x9000,
		 .fd = g->fd},
	};
	struct guest_mem *m = NULL;

	assert_int_equal(guest_mem_import(&m, s, 3), 0);
	return m;
}

static void translation(void **state)
{
	static const struct {
		uint64_t gpa, len;
		int64_t off; /* of the byte in the file; -1: refused */
	} t[] = {
		{0x1000, 1, 0},
		{0x1000, 0x3000, 0},
		{0x1000, 0x3001, -1},
		{0x0fff, 1, -1},
		{0x0fff, 2, -1},
		{0x3fff, 1, 0x2fff},
		{0x3fff, 2, -1},
		{0x4000, 1, -1},
		{0x5000, 1, -1},
		{0x7fff, 2, -1},
		{0x8000, 0x1800, 0x5800},
		{0x8000, 0x1801, -1},
		{0x97ff, 1, 0x6fff},
		{0x9800, 1, -1},
		{0, 1, -1},
		{0, UINT64_MAX, -1},
		{0x1000, UINT64_MAX, -1},
		{0x1001, UINT64_MAX, -1},
		{0x1000, UINT64_MAX - 0xfff, -1},
		{UINT64_MAX, 1, 0x9fff},
		{UINT64_MAX, 2, -1},
		{UINT64_MAX, 0x1002, -1},
		{UINT64_MAX, UINT64_MAX, -1},
		{UINT64_MAX - 0xfff, 0x1000, 0x9000},
		{UINT64_MAX - 0xfff, 0x1001, -1},
		{UINT64_MAX - 0x1000, 1, -1},
	};
	struct guest g;
	struct guest_mem *m;

	(void)state;
	guest_make(&g);
	for (unsigned i = 0; i < 0x10; i++)
		memset(g.mem + i * 0x1000, (int)i + 1, 0x1000);
	m = three(&g);
	/* whatever region the hint names */
	for (uint32_t h = 0; h < 3; h++)
		for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			uint32_t hint = h;
			uint8_t *va = guest_mem_gpa(m, &hint, (struct gpa){t[i].gpa}, t[i].len);

			if (t[i].off < 0) {
				assert_null(va);
				assert_int_equal(hint, h);
				continue;
			}
			assert_non_null(va);
			*va ^= 0xff;
			assert_int_equal(g.mem[t[i].off] ^ 0xff, (uint8_t)(t[i].off / 0x1000 + 1));
			*va ^= 0xff;
		}
	guest_mem_put(m);
	guest_free(&g);
}

static void frontend_addresses(void **state)
{
	struct guest g;
	struct guest_mem *m;

	(void)state;
	guest_make(&g);
	m = three(&g);
	assert_ptr_equal(guest_mem_uva(m, (struct uva){G_UVA}, 0x3000), m->r[0].va);
	assert_null(guest_mem_uva(m, (struct uva){G_UVA}, 0x3001));
	assert_ptr_equal(guest_mem_uva(m, (struct uva){G_UVA + 0x2fff}, 1), m->r[0].va + 0x2fff);
	assert_null(guest_mem_uva(m, (struct uva){G_UVA + 0x3000}, 1));
	assert_null(guest_mem_uva(m, (struct uva){G_UVA - 1}, 1));
	assert_null(guest_mem_uva(m, (struct uva){UINT64_MAX}, 2));
	assert_null(guest_mem_uva(m, (struct uva){0x1000}, UINT64_MAX));
	assert_ptr_equal(guest_mem_uva(m, (struct uva){0x1fff}, 1), m->r[2].va + 0xfff);
	guest_mem_put(m);
	guest_free(&g);
}

static void refused_tables(void **state)
{
	struct guest g;
	struct guest_mem *m = NULL;
	struct guest_mem_src ok, s, many[GUEST_MEM_REGIONS + 1];

	(void)state;
	guest_make(&g);
	ok = guest_src(&g);
	for (unsigned i = 0; i <= GUEST_MEM_REGIONS; i++)
		many[i] = ok;
	assert_int_equal(guest_mem_import(&m, &ok, 0), -EINVAL);
	assert_int_equal(guest_mem_import(&m, many, GUEST_MEM_REGIONS + 1), -EINVAL);
	s = ok, s.size = 0;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.gpa.v = UINT64_MAX - G_SIZE + 2;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.uva.v = UINT64_MAX - G_SIZE + 2;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.offset = UINT64_MAX - 0xfff;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.offset = 1; /* the last byte is behind the end of the file */
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.size++;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EINVAL);
	s = ok, s.fd = -1;
	assert_int_equal(guest_mem_import(&m, &s, 1), -EBADF);
	many[1] = s; /* the first is unmapped again */
	assert_int_equal(guest_mem_import(&m, many, 2), -EBADF);
	assert_null(m);
	s = ok, s.gpa.v = UINT64_MAX - G_SIZE + 1; /* ends exactly at 2^64 */
	assert_int_equal(guest_mem_import(&m, &s, 1), 0);
	guest_mem_put(m);
	guest_free(&g);
}

/* A mapping stays as long as somebody refers to it. */
static void references(void **state)
{
	struct guest g;
	struct guest_mem *m, *two;
	volatile uint8_t *va;
	unsigned char vec;

	(void)state;
	guest_make(&g);
	m = three(&g);
	two = guest_mem_get(m);
	va = m->r[0].va;
	guest_mem_put(m);
	g.mem[0] = 42;
	assert_int_equal(*va, 42);
	guest_mem_put(two);
	assert_int_equal(mincore((void *)(uintptr_t)va, 0x1000, &vec), -1); /* not mapped */
	guest_mem_put(NULL);
	guest_free(&g);
}

/* What was kept is there, the rest is zeroes, writes reach nobody, addresses are as before. */
static void revocation(void **state)
{
	struct guest g;
	struct guest_mem *m, *other;

	(void)state;
	guest_make(&g);
	m = three(&g);
	other = three(&g);
	memset(g.mem, 7, 0x10000);
	assert_int_equal(m->r[1].va[5], 7);
	assert_int_equal(guest_mem_revoke_begin(m, false), 0);
	guest_mem_preserve(m, m->r[1].va + 3, 100);
	guest_mem_preserve(m, m->r[1].va + m->r[1].size, 1u << 30); /* not in the map: nothing */
	guest_mem_preserve(m, m->r[1].va, 0);
	assert_int_equal(guest_mem_revoke_end(m), 0);
	guest_mem_revoke_done(m);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(m->r[1].va[i], i >= 3 && i < 103 ? 7 : 0);
	memset(g.mem, 8, 0x10000); /* the guest uses it for something else */
	assert_int_equal(m->r[1].va[3], 7);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(m->r[i].va[m->r[i].size - 1], 0);
		memset(m->r[i].va, 9, m->r[i].size);
	}
	for (unsigned i = 0; i < 0x10000; i++)
		assert_int_equal(g.mem[i], 8);
	/* other generations of the same memory do not notice */
	assert_int_equal(other->r[1].va[5], 8);
	guest_mem_put(m);
	guest_mem_put(other);
	guest_free(&g);
}

/* What the application writes between copy and move is not lost, nor what it writes after that. */
static void written_meanwhile(void **state)
{
	struct guest g;
	struct guest_mem *m, *now, *elsewhere;
	struct guest_mem_src src;
	uint8_t *va;
	int fd = memfd_create("other", MFD_CLOEXEC);

	(void)state;
	guest_make(&g);
	m = three(&g);
	now = three(&g);
	va = m->r[0].va + 0x100;
	memset(va, 1, 300);
	assert_int_equal(guest_mem_revoke_begin(m, true), 0);
	guest_mem_preserve(m, va, 300);
	memset(va + 100, 2, 100);
	assert_int_equal(guest_mem_revoke_end(m), 0);
	memset(va + 150, 3, 100);
	assert_true(guest_mem_catch_up(m, now, va, 300));
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(va[i], i < 100 ? 1 : i < 150 ? 2 : i < 250 ? 3 : 1);
	/* a map of other memory has nothing to tell */
	assert_int_equal(ftruncate(fd, G_SIZE), 0);
	src = guest_src(&g);
	src.fd = fd;
	assert_int_equal(guest_mem_import(&elsewhere, &src, 1), 0);
	assert_false(guest_mem_catch_up(m, elsewhere, va, 300));
	guest_mem_revoke_done(m);
	guest_mem_put(elsewhere);
	guest_mem_put(now);
	guest_mem_put(m);
	guest_free(&g);
	close(fd);
}

/* A PC's memory in 2 MiB pages: its regions begin and end amid pages, mappings must not. */
static void regions_within_hugepages(void **state)
{
	const uint64_t size = 4u << 20, hole = 0xa0000, high = 0xc0000;
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	struct guest_mem_src s[2] = {
		{.gpa = {0}, .uva = {G_UVA}, .size = hole, .fd = fd},
		{.gpa = {high},
		 .uva = {G_UVA + high},
		 .size = size - high,
		 .offset = high,
		 .fd = fd},
	};
	struct guest_mem *m = NULL, *kept;
	volatile uint8_t *va[2];
	unsigned char vec;
	uint8_t *mem;

	(void)state;
	if (fd < 0 || fallocate(fd, 0, 0, (off_t)size) < 0) {
		print_message("no two hugepages of 2 MiB are free: %s\n", strerror(errno));
		if (fd >= 0)
			close(fd);
		skip();
	}
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mem != MAP_FAILED);
	assert_int_equal(guest_mem_import(&m, s, 2), 0);
	assert_int_equal(guest_mem_import(&kept, s, 2), 0);
	assert_int_equal(m->page_size, 2u << 20);
	for (unsigned i = 0; i < 2; i++) {
		va[i] = m->r[i].va;
		mem[s[i].offset] = 42;
		mem[s[i].offset + s[i].size - 1] = 43;
		assert_int_equal(va[i][0], 42);
		assert_int_equal(va[i][s[i].size - 1], 43);
	}
	assert_int_equal(guest_mem_revoke_begin(m, true), 0);
	guest_mem_preserve(m, (uint8_t *)(uintptr_t)va[1], 1);
	va[1][0] = 44;
	assert_int_equal(guest_mem_revoke_end(m), 0);
	assert_true(guest_mem_catch_up(m, kept, (uint8_t *)(uintptr_t)va[1], 1));
	guest_mem_revoke_done(m);
	assert_int_equal(va[0][0], 0);
	assert_int_equal(va[1][0], 44);
	va[1][0] = 0;
	assert_int_equal(kept->r[1].va[0], 44);
	guest_mem_put(m);
	va[0] = kept->r[0].va;
	va[1] = kept->r[1].va;
	guest_mem_put(kept);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			mincore((void *)((uintptr_t)va[i] & ~(uintptr_t)0xfff), 0x1000, &vec),
			-1); /* not mapped */
	munmap(mem, size);
	close(fd);
}

/* Sparse ones, as many as one likes: small ones still fit in. */
static void large_maps_leave_room(void **state)
{
	struct guest_mem *large[100], *small[100];
	struct guest_mem_src s = {
		.gpa = {0x1000},
		.uva = {G_UVA},
		.size = 1ull << 42,
		.fd = memfd_create("sparse", MFD_CLOEXEC),
	};
	unsigned n = 0;
	int ret = 0;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("the thread sanitizer has the address space for itself\n");
	close(s.fd);
	skip();
#endif
	assert_int_equal(ftruncate(s.fd, (off_t)s.size), 0);
	while (n < 100 && (ret = guest_mem_import(&large[n], &s, 1)) == 0)
		n++;
	assert_int_equal(ret, -ENOMEM);
	assert_in_range(n, 1, 16); /* 64 TiB */
	s.size = GUEST_MEM_SMALL;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(guest_mem_import(&small[i], &s, 1), 0);
	while (n)
		guest_mem_put(large[--n]);
	s.size = 1ull << 42;
	assert_int_equal(guest_mem_import(&large[0], &s, 1), 0);
	guest_mem_put(large[0]);
	for (unsigned i = 0; i < 100; i++)
		guest_mem_put(small[i]);
	close(s.fd);
}

/* As many maps as one likes, however small: the process keeps some for itself. */
static void mappings_leave_room(void **state)
{
	struct guest_mem *m[100];
	struct guest_mem_src s[GUEST_MEM_REGIONS];
	int fd = memfd_create("small", MFD_CLOEXEC), ret = 0;
	unsigned n = 0;

	(void)state;
	assert_int_equal(ftruncate(fd, 0x10000), 0);
	for (unsigned i = 0; i < GUEST_MEM_REGIONS; i++)
		s[i] = (struct guest_mem_src){.gpa = {0x10000 * (i + 1)},
					      .uva = {G_UVA + 0x10000 * i},
					      .size = 0x1000,
					      .offset = 0x2000 * i,
					      .fd = fd};
	assert_int_equal(guest_mem_maps(), 0);
	map_limit_set(400);
	while (n < 100 && (ret = guest_mem_import(&m[n], s, GUEST_MEM_REGIONS)) == 0)
		n++;
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(n, 300 / GUEST_MEM_REGIONS);
	assert_int_equal(guest_mem_maps(), n * GUEST_MEM_REGIONS); /* nothing of the refused one */
	guest_mem_put(m[--n]);
	assert_int_equal(guest_mem_import(&m[n], s, GUEST_MEM_REGIONS), 0);
	for (unsigned i = 0; i <= n; i++)
		guest_mem_put(m[i]);
	assert_int_equal(guest_mem_maps(), 0);
	map_limit_set(0);
	assert_true(map_limit_loans() < map_limit_peers());
	close(fd);
}

/* Some machines have memory at two addresses, but page tables for more than that are refused. */
static void a_file_is_mapped_twice_at_most(void **state)
{
	struct guest_mem_src s[GUEST_MEM_REGIONS];
	int fd[2] = {memfd_create("a", MFD_CLOEXEC), memfd_create("b", MFD_CLOEXEC)};
	struct guest_mem *m;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(ftruncate(fd[i], 0x10000), 0);
	for (unsigned i = 0; i < GUEST_MEM_REGIONS; i++)
		s[i] = (struct guest_mem_src){.gpa = {0x10000 * (i + 1)},
					      .uva = {G_UVA + 0x10000 * i},
					      .size = 0x8000,
					      .fd = fd[i % 2]};
	assert_int_equal(guest_mem_import(&m, s, 4), 0);
	guest_mem_put(m);
	assert_int_equal(guest_mem_import(&m, s, 5), -EMLINK);
	s[4].offset = s[2].offset = 0x4000; /* three quarters of the file: 0x18000 of 0x14000 */
	assert_int_equal(guest_mem_import(&m, s, 5), 0);
	guest_mem_put(m);
	assert_int_equal(guest_mem_import(&m, s, GUEST_MEM_REGIONS), -EMLINK);
	for (unsigned i = 0; i < GUEST_MEM_REGIONS; i++)
		s[i].offset = 0x1000 * (GUEST_MEM_REGIONS - 1 - i);
	assert_int_equal(guest_mem_import(&m, s, 4), 0);
	guest_mem_put(m);
	assert_int_equal(guest_mem_import(&m, s, GUEST_MEM_REGIONS), -EMLINK);
	assert_int_equal(guest_mem_maps(), 0);
	for (unsigned i = 0; i < 2; i++)
		close(fd[i]);
}

/* A region for channels is another map of the same memory. */
static void large_regions_leave_room(void **state)
{
	struct guest_mem_src s = {
		.gpa = {0x1000},
		.uva = {G_UVA},
		.size = 1ull << 42,
		.fd = memfd_create("sparse", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	};
	struct guest_shares shares = {0};
	struct guest_shared *r;
	struct guest_mem *m;
	unsigned n = 0;
	int err;

	(void)state;
#ifdef __SANITIZE_THREAD__
	print_message("the thread sanitizer has the address space for itself\n");
	close(s.fd);
	skip();
#endif
	assert_int_equal(ftruncate(s.fd, (off_t)s.size), 0);
	assert_int_equal(fcntl(s.fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(guest_mem_import(&m, &s, 1), 0);
	guest_shares_table(&shares, m, &s);
	while (guest_mem_space_take(s.size))
		n++;
	assert_int_equal(guest_shared_import(&shares, s.gpa, s.size, &r, &err),
			 GUEST_SHARED_SYSTEM);
	assert_int_equal(err, -ENOMEM);
	guest_mem_space_give(s.size);
	assert_int_equal(guest_shared_import(&shares, s.gpa, s.size, &r, &err), GUEST_SHARED_OK);
	assert_false(guest_mem_space_take(s.size));
	guest_shared_put(r);
	assert_true(guest_mem_space_take(s.size));
	while (n--)
		guest_mem_space_give(s.size);
	guest_shares_table(&shares, NULL, NULL);
	guest_mem_put(m);
	close(s.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(translation),
		cmocka_unit_test(frontend_addresses),
		cmocka_unit_test(refused_tables),
		cmocka_unit_test(references),
		cmocka_unit_test(revocation),
		cmocka_unit_test(written_meanwhile),
		cmocka_unit_test(large_maps_leave_room),
		cmocka_unit_test(mappings_leave_room),
		cmocka_unit_test(a_file_is_mapped_twice_at_most),
		cmocka_unit_test(large_regions_leave_room),
		cmocka_unit_test(regions_within_hugepages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
