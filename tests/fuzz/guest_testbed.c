/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_testbed.h"

#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static int file_fd = -1;
static uint8_t *file_view;

const uint8_t *testbed_file(void)
{
	return file_view;
}

static uint32_t file_offset(unsigned r)
{
	return r < DATA_A ? r * 4096u : DATA_A * 4096u + (r == DATA_B ? SIZE_A : 0);
}

static void file_once(void)
{
	if (file_fd >= 0)
		return;
	file_fd = memfd_create("guest", MFD_CLOEXEC);
	FZ_CHECK(file_fd >= 0 && ftruncate(file_fd, TESTBED_FILE) == 0);
	file_view = mmap(NULL, TESTBED_FILE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd, 0);
	FZ_CHECK(file_view != MAP_FAILED);
}

void testbed_init(struct guest_testbed *w, bool file, uint32_t ring_size)
{
	const uint32_t n = ring_size;
	const uint32_t size[REGIONS] = {16 * n,	   6 + 2 * n, 6 + 8 * n, 16 * n,
					6 + 2 * n, 6 + 8 * n, SIZE_A,	 SIZE_B};

	memset(w, 0, sizeof(*w));
	w->file = file;
	w->ring_size = n;
	memcpy(w->size, size, sizeof(size));
	for (unsigned r = 0; r < REGIONS; r++)
		w->gpa[r] = 0x100000ull * (r + 1);
	w->gpa[5] = 0 - (uint64_t)w->size[5];
	w->gpa[DATA_A] = GPA_A;
	w->gpa[DATA_B] = GPA_A + SIZE_A;
	if (file) {
		file_once();
		memset(file_view, 0, TESTBED_FILE);
	}
	FZ_CHECK(testbed_next(w));
}

static void import_file(struct guest_testbed *w, struct gen *g)
{
	struct guest_mem_src src[REGIONS];

	for (unsigned r = 0; r < REGIONS; r++) {
		src[r] = (struct guest_mem_src){.gpa = {w->gpa[r]},
						.uva = {w->gpa[r]},
						.size = w->size[r],
						.offset = file_offset(r),
						.fd = file_fd};
		w->view[r] = file_view + file_offset(r);
	}
	FZ_CHECK(guest_mem_import(&g->gm, src, REGIONS) == 0);
}

static void make_heap(struct guest_testbed *w, struct gen *g)
{
	struct guest_mem *gm = calloc(1, sizeof(*gm));

	FZ_CHECK(gm != NULL);
	gm->refs = gm->holders = 1;
	gm->nregions = REGIONS;
	gm->page_size = 4096;
	for (unsigned r = 0; r < REGIONS; r++) {
		g->heap[r] = calloc(1, w->size[r]);
		FZ_CHECK(g->heap[r] != NULL);
		FZ_CHECK(guest_mem_space_take(0)); /* given back with the others */
		if (w->view[r])
			memcpy(g->heap[r], w->view[r], w->size[r]);
		w->view[r] = g->heap[r];
		gm->r[r] = (struct guest_region){{w->gpa[r]}, w->size[r], {w->gpa[r]}, g->heap[r]};
		gm->map[r].watch = -1; /* nothing is mapped */
	}
	g->gm = gm;
}

bool testbed_next(struct guest_testbed *w)
{
	struct gen *g = &w->gen[w->ngen];

	if (w->ngen == GENS)
		return false;
	memset(g, 0, sizeof(*g));
	if (w->file)
		import_file(w, g);
	else
		make_heap(w, g);
	w->ngen++;
	return true;
}

static void gen_free(struct gen *g)
{
	FZ_CHECK(g->gm->refs == 1);
	guest_mem_put(g->gm);
	for (unsigned r = 0; r < REGIONS; r++)
		free(g->heap[r]);
}

void testbed_reap(struct guest_testbed *w)
{
	unsigned kept = 0;

	for (unsigned i = 0; i + 1 < w->ngen; i++) {
		FZ_CHECK(w->gen[i].gm->refs >= 1);
		if (w->gen[i].gm->refs == 1)
			gen_free(&w->gen[i]);
		else
			w->gen[kept++] = w->gen[i];
	}
	w->gen[kept] = w->gen[w->ngen - 1];
	w->ngen = kept + 1;
}

void testbed_fini(struct guest_testbed *w)
{
	for (unsigned i = 0; i < w->ngen; i++)
		gen_free(&w->gen[i]);
	w->ngen = 0;
}

bool testbed_has(const struct guest_testbed *w, const uint8_t *p, uint64_t len)
{
	for (unsigned i = 0; i < w->ngen; i++)
		for (unsigned r = 0; r < REGIONS; r++) {
			const struct guest_region *g = &w->gen[i].gm->r[r];

			if (p >= g->va && p < g->va + g->size &&
			    len <= (uint64_t)(g->va + g->size - p))
				return true;
		}
	return false;
}
