/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions that are taken from a guest's memory table. RAM is a memfd of two entries with a ring in
 * the first, the region a file of its own behind a hole.
 */
#include "guest_fix.h"
#include "mem/guest_shared.h"
#include "proto/ctrl/alive.h"
#include "sigbus.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define REGION_GPA  0x100000000ull
#define REGION_SIZE 0x100000ull
#define SEALS	    (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct testbed {
	int ram;
	struct guest_mem_src src[3];
	struct guest_mem *mem;
	struct guest_shares shares;
};

static int memory_file(size_t size, unsigned seals)
{
	int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* The table changes to what w->src says. */
static void new_table(struct testbed *w)
{
	struct guest_mem *old = w->mem;

	assert_int_equal(guest_mem_import(&w->mem, w->src, 3), 0);
	guest_shares_table(&w->shares, w->mem, w->src);
	guest_mem_put(old);
}

/* A guest whose region is @fd. */
static void make(struct testbed *w, int fd)
{
	*w = (struct testbed){.ram = memory_file(0x20000, 0)};
	w->src[0] = (struct guest_mem_src){{0}, {G_UVA}, 0x10000, 0, w->ram};
	w->src[1] = (struct guest_mem_src){{0x20000}, {G_UVA + 0x20000}, 0x10000, 0x10000, w->ram};
	w->src[2] = (struct guest_mem_src){{REGION_GPA}, {G_UVA + 0x1000000}, REGION_SIZE, 0, fd};
	new_table(w);
	guest_shares_ring(&w->shares, w->mem->r[0].va + 0x1000);
}

static void no_table(struct testbed *w)
{
	guest_shares_table(&w->shares, NULL, NULL);
	guest_mem_put(w->mem);
	w->mem = NULL;
}

static void done(struct testbed *w)
{
	no_table(w);
	close(w->ram);
	close(w->src[2].fd);
}

static struct guest_shared *take(struct testbed *w, uint64_t gpa, uint64_t size)
{
	struct guest_shared *r = NULL;
	int err = -1;

	assert_int_equal(guest_shared_import(&w->shares, (struct gpa){gpa}, size, &r, &err),
			 GUEST_SHARED_OK);
	assert_int_equal(err, 0);
	assert_non_null(r);
	return r;
}

static void refused(struct testbed *w, uint64_t gpa, uint64_t size, enum guest_shared_fault why,
		    int errno_is)
{
	struct guest_shared *r = NULL;
	int err = 0;

	assert_int_equal(guest_shared_import(&w->shares, (struct gpa){gpa}, size, &r, &err), why);
	assert_int_equal(err, -errno_is);
	assert_null(r);
}

static void the_region_is_the_guests_memory(void **state)
{
	struct guest_shared *r, *again, *part;
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	r = take(&w, REGION_GPA, REGION_SIZE);
	strcpy((char *)w.mem->r[2].va, "from the guest");
	assert_string_equal(r->map.addr, "from the guest");
	assert_int_not_equal(r->map.fd, w.src[2].fd);
	again = take(&w, REGION_GPA, REGION_SIZE);
	assert_ptr_equal(again, r);
	part = take(&w, REGION_GPA + 0x2000, 0x1000);
	assert_ptr_not_equal(part, r);
	assert_int_equal(part->offset, 0x2000);
	assert_int_equal(part->dev, r->dev);
	assert_int_equal(part->ino, r->ino);
	w.mem->r[2].va[0x2000] = 7;
	assert_int_equal(*(uint8_t *)part->map.addr, 7);
	guest_shared_put(part);
	guest_shared_put(r);
	*(uint8_t *)again->map.addr = 'F';
	assert_int_equal(w.mem->r[2].va[0], 'F');
	guest_shared_put(again);
	done(&w);
}

static void what_is_not_wholly_in_one_entry_is_not_there(void **state)
{
	static const struct {
		uint64_t gpa, size;
	} t[] = {
		{REGION_GPA, 0},
		{REGION_GPA, REGION_SIZE + 1},
		{REGION_GPA + 1, REGION_SIZE},
		{REGION_GPA - 1, 1},
		{REGION_GPA - 1, REGION_SIZE},
		{REGION_GPA + REGION_SIZE, 1},
		{REGION_GPA + REGION_SIZE - 1, 2},
		{REGION_GPA, UINT64_MAX},
		{REGION_GPA + 1, UINT64_MAX},
		{REGION_GPA, 0 - REGION_GPA},
		{REGION_GPA + 0x1000, 0 - REGION_GPA}, /* wraps to below the region */
		{UINT64_MAX, 1},
		{UINT64_MAX, UINT64_MAX},
		{0x10000, 0x1000}, /* the hole */
		{0xf000, 0x12000}, /* over both entries of RAM */
	};
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		refused(&w, t[i].gpa, t[i].size, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	no_table(&w);
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	done(&w);
}

static void ram_is_not_handed_out(void **state)
{
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	refused(&w, 0x2000, 0x1000, GUEST_SHARED_RAM, EPERM);  /* has a ring, and two entries */
	refused(&w, 0x20000, 0x1000, GUEST_SHARED_RAM, EPERM); /* the same file */
	/* A ring in the region makes it RAM. */
	guest_shares_ring(&w.shares, w.mem->r[2].va + REGION_SIZE - 64);
	refused(&w, REGION_GPA, 0x1000, GUEST_SHARED_RAM, EPERM);
	/* In another table it is none, until another entry is of the same file, under whatever
	 * descriptor. */
	new_table(&w);
	guest_shared_put(take(&w, REGION_GPA, 0x1000));
	w.src[1].fd = fcntl(w.src[2].fd, F_DUPFD_CLOEXEC, 0);
	new_table(&w);
	refused(&w, REGION_GPA, 0x1000, GUEST_SHARED_RAM, EPERM);
	refused(&w, 0x20000, 0x1000, GUEST_SHARED_RAM, EPERM);
	close(w.src[1].fd);
	done(&w);
}

/* All of RAM is one piece of one file, and a hostile driver has its rings in the region. */
static void ram_without_a_ring_is_not_handed_out(void **state)
{
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	close(w.ram);
	w.ram = memory_file(0x20000, SEALS);
	w.src[0].fd = w.ram;
	w.src[1].fd = memory_file(0x20000, SEALS); /* of a second node */
	new_table(&w);
	guest_shares_ring(&w.shares, w.mem->r[2].va + 0x1000);
	refused(&w, 0, 0x10000, GUEST_SHARED_RAM, EPERM);
	refused(&w, 0x2000, 0x1000, GUEST_SHARED_RAM, EPERM);
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_RAM, EPERM);
	guest_shared_put(take(&w, 0x20000, 0x10000)); /* docs/threat-model.md */
	close(w.src[1].fd);
	done(&w);
}

static void a_file_that_can_be_cut_off_is_sealed_or_refused(void **state)
{
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, 0));
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_NOT_SEALED, EPERM);
	assert_int_equal(fcntl(w.src[2].fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_NOT_SEALED, EPERM);
	assert_int_equal(fcntl(w.src[2].fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	guest_shared_put(take(&w, REGION_GPA, REGION_SIZE));
	done(&w);
}

static void a_file_on_disk_is_refused(void **state)
{
	char path[] = "zv-shared-XXXXXX"; /* in the build folder */
	int fd = mkstemp(path);
	struct testbed w;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, REGION_SIZE), 0);
	if (fcntl(fd, F_GET_SEALS) >= 0) {
		print_message("the build folder is on tmpfs: no file on disk to try\n");
		close(fd);
		skip();
	}
	make(&w, fd);
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_NO_MEMORY, EINVAL);
	done(&w);
}

static void pages_are_not_cut(void **state)
{
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	refused(&w, REGION_GPA + 64, 0x1000, GUEST_SHARED_NOT_ALIGNED, EINVAL);
	guest_shared_put(take(&w, REGION_GPA + 0x1000, 100));
	done(&w);
}

static void a_read_only_file_is_refused(void **state)
{
	struct testbed w;
	char path[32];

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	/* What the frontend maps and what it hands over need not be the same. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", w.src[2].fd);
	w.shares.fd[2] = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(w.shares.fd[2] >= 0);
	refused(&w, REGION_GPA, REGION_SIZE, GUEST_SHARED_READ_ONLY, EACCES);
	close(w.shares.fd[2]);
	done(&w);
}

static void a_region_outlives_the_table_and_knows_that_it_is_gone(void **state)
{
	struct guest_shared *r, *half;
	struct testbed w;
	int fd;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	r = take(&w, REGION_GPA, REGION_SIZE);
	half = take(&w, REGION_GPA, REGION_SIZE / 2);
	strcpy(r->map.addr, "stays");

	/* The same once more, by another descriptor. */
	fd = fcntl(w.src[2].fd, F_DUPFD_CLOEXEC, 0);
	close(w.src[2].fd);
	w.src[2].fd = fd;
	new_table(&w);
	assert_false(guest_shared_gone(r));
	assert_ptr_equal(take(&w, REGION_GPA, REGION_SIZE), r);
	guest_shared_put(r);

	/* Shorter: only the half is there whole. */
	w.src[2].size = REGION_SIZE / 2;
	new_table(&w);
	assert_true(guest_shared_gone(r));
	assert_false(guest_shared_gone(half));

	/* As before: what is gone does not come back, but can be taken anew. */
	w.src[2].size = REGION_SIZE;
	new_table(&w);
	assert_true(guest_shared_gone(r));
	assert_string_equal(r->map.addr, "stays");
	guest_shared_put(r);
	r = take(&w, REGION_GPA, REGION_SIZE);
	assert_false(guest_shared_gone(r));

	/* Another part of the file at that address; then the device goes. */
	w.src[2].offset = 0x1000;
	w.src[2].size = REGION_SIZE - 0x1000;
	new_table(&w);
	assert_true(guest_shared_gone(half));
	guest_shared_put(half);
	half = take(&w, REGION_GPA, REGION_SIZE / 2);
	no_table(&w);
	assert_true(guest_shared_gone(half));
	assert_string_equal(r->map.addr, "stays");
	guest_shared_put(half);
	guest_shared_put(r);
	guest_shared_put(NULL);
	done(&w);
}

/* Serves guest @cid until there is a word in slot @s. */
static void serve(struct guest_shared *r, uint64_t cid, const struct alive_slot *s)
{
	for (unsigned i = 0; i < 30000 && !shm_load32(&s->host); i++, (void)usleep(1000))
		guest_shared_serve(r, cid);
	assert_int_not_equal(shm_load32(&s->host), 0);
}

/* In the driver's slot, and of no region whose end cannot be the page of slots. */
static void a_driver_learns_that_the_host_lives(void **state)
{
	struct guest_shared *r, *odd;
	uint64_t cids[2];
	struct alive_slot *s;
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	r = take(&w, REGION_GPA, REGION_SIZE);
	guest_shared_serve(r, 3); /* no driver, no slot */
	assert_false(guest_shared_orphaned(r, 3));
	s = alive_find(alive_slots(w.mem->r[2].va, REGION_SIZE), 3, 1);
	serve(r, 3, s);
	odd = take(&w, REGION_GPA, REGION_SIZE - 3);
	guest_shared_serve(odd, 3);
	assert_false(guest_shared_orphaned(odd, 3));
	guest_shared_put(odd);
	shm_store_release32(&s->owner, ALIVE_DIED);
	assert_true(guest_shared_orphaned(r, 3));
	assert_false(guest_shared_orphaned(r, 3));
	/* A guest that was served by a process that has died, until it is served again. */
	s = alive_find(alive_slots(w.mem->r[2].va, REGION_SIZE), 4, 1);
	assert_int_equal(guest_shared_lent(r, cids, 2), 0);
	shm_store_release32(&s->owner, 4711);
	assert_int_equal(guest_shared_lent(r, cids, 2), 0);
	shm_store_release32(&s->host, ALIVE_DIED);
	assert_int_equal(guest_shared_lent(r, cids, 2), 1);
	assert_int_equal(cids[0], 4);
	assert_int_equal(guest_shared_lent(r, cids, 0), 0);
	guest_shared_serve(r, 4);
	assert_int_equal(guest_shared_lent(r, cids, 2), 0);
	shm_store_release32(&s->host, ALIVE_DIED);
	shm_store_release32(&s->owner, ALIVE_DIED); /* its driver is dead as well */
	assert_int_equal(guest_shared_lent(r, cids, 2), 0);
	s = alive_find(alive_slots(w.mem->r[2].va, REGION_SIZE), 3, 0);
	guest_shared_put(r); /* another region takes its place */
	assert_int_equal(shm_load32(&s->host), 0);
	r = take(&w, REGION_GPA, REGION_SIZE);
	serve(r, 3, s);
	no_table(&w); /* the device is closed */
	guest_shared_put(r);
	done(&w);
}

/* Two guests have it: when the import that keeps the words goes, the other one keeps them. */
static void words_are_kept_while_any_guest_has_the_region(void **state)
{
	struct guest_shared *r, *other;
	struct testbed w, v;
	struct alive_slot *s;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	make(&v, dup(w.src[2].fd));
	r = take(&w, REGION_GPA, REGION_SIZE);
	other = take(&v, REGION_GPA, REGION_SIZE);
	s = alive_find(alive_slots(w.mem->r[2].va, REGION_SIZE), 3, 1);
	serve(r, 3, s);
	guest_shared_put(r);
	serve(other, 4, s); /* no slot */
	guest_shared_put(other);
	assert_int_equal(shm_load32(&s->host), 0);
	done(&v);
	done(&w);
}

static void another_file_at_that_address_is_another_region(void **state)
{
	struct guest_shared *r;
	struct testbed w;

	(void)state;
	make(&w, memory_file(REGION_SIZE, SEALS));
	r = take(&w, REGION_GPA, REGION_SIZE);
	close(w.src[2].fd);
	w.src[2].fd = memory_file(REGION_SIZE, SEALS);
	new_table(&w);
	assert_true(guest_shared_gone(r));
	guest_shared_put(r);
	done(&w);
}

/* VIRTIO shared memory of ours, which the VMM maps when the driver has started the device. */
static void what_was_given_is_taken_before_it_is_there(void **state)
{
	struct guest_shared *r, *again, *other;
	struct shm_region host_shm;
	struct testbed w;

	(void)state;
	assert_int_equal(shm_region_create(&host_shm, "given", REGION_SIZE, SHM_NO_HUGE), 0);
	make(&w, memory_file(REGION_SIZE, SEALS));
	w.shares.host_shm = &host_shm;
	assert_false(guest_shares_has_host_shm(&w.shares));
	refused(&w, 2 * REGION_GPA, REGION_SIZE - 0x1000, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	refused(&w, 2 * REGION_GPA, 2 * REGION_SIZE, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	refused(&w, 2 * REGION_GPA + 1, REGION_SIZE, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	refused(&w, UINT64_MAX - 0xfff, REGION_SIZE, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	r = take(&w, 2 * REGION_GPA, REGION_SIZE);
	assert_ptr_equal(take(&w, 2 * REGION_GPA, REGION_SIZE), r);
	guest_shared_put(r);
	strcpy(host_shm.addr, "ours");
	assert_string_equal(r->map.addr, "ours");
	assert_true(guest_shared_pending(r));
	new_table(&w);
	assert_true(guest_shared_pending(r));
	assert_false(guest_shared_gone(r));
	other = take(&w, 3 * REGION_GPA, REGION_SIZE); /* a driver that names another place */

	close(w.src[2].fd);
	w.src[2].fd = fcntl(host_shm.fd, F_DUPFD_CLOEXEC, 0);
	w.src[2].gpa.v = 2 * REGION_GPA;
	new_table(&w);
	assert_true(guest_shares_has_host_shm(&w.shares));
	assert_false(guest_shared_pending(r));
	assert_true(guest_shared_pending(other));
	assert_ptr_equal(take(&w, 2 * REGION_GPA, REGION_SIZE), r);
	guest_shared_put(r);

	w.src[2].gpa.v = 4 * REGION_GPA; /* the driver has reset the device */
	new_table(&w);
	assert_true(guest_shared_gone(r));
	assert_false(guest_shared_gone(other));
	again = take(&w, 2 * REGION_GPA, REGION_SIZE);
	assert_ptr_not_equal(again, r);
	assert_true(guest_shared_pending(again));
	no_table(&w);
	assert_true(guest_shared_gone(again));
	assert_true(guest_shared_gone(other));
	refused(&w, 2 * REGION_GPA, REGION_SIZE, GUEST_SHARED_NOT_IN_TABLE, ENXIO);
	guest_shared_put(r);
	guest_shared_put(again);
	guest_shared_put(other);
	done(&w);
	shm_region_destroy(&host_shm);
}

/* Two guests that have one file are recognised by its identity. */
static void a_common_file_is_a_common_region(void **state)
{
	int fd = memory_file(2 * REGION_SIZE, SEALS);
	struct guest_shared *r, *s;
	struct testbed a, b;

	(void)state;
	make(&a, fcntl(fd, F_DUPFD_CLOEXEC, 0));
	make(&b, fd);
	b.src[2].gpa.v = 2 * REGION_GPA;
	b.src[2].size = 2 * REGION_SIZE;
	new_table(&b);
	r = take(&a, REGION_GPA, REGION_SIZE);
	s = take(&b, 2 * REGION_GPA, REGION_SIZE);
	assert_ptr_not_equal(r, s);
	assert_int_equal(r->dev, s->dev);
	assert_int_equal(r->ino, s->ino);
	assert_int_equal(r->offset, s->offset);
	*(uint8_t *)r->map.addr = 9;
	assert_int_equal(*(uint8_t *)s->map.addr, 9);
	guest_shared_put(s);
	s = take(&b, 2 * REGION_GPA + REGION_SIZE, REGION_SIZE);
	assert_int_not_equal(r->offset, s->offset);
	guest_shared_put(r);
	guest_shared_put(s);
	done(&a);
	done(&b);
}

/* A file that nobody can seal (a path on tmpfs), cut off while it is mapped. */
static void a_file_that_is_cut_off_is_survived(void **state)
{
	char path[] = "/dev/shm/zv-shared-XXXXXX";
	int fd = mkstemp(path);
	struct guest_shared *r;
	struct testbed w;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, REGION_SIZE), 0);
	assert_int_equal(sigbus_install(), 0);
	make(&w, fd);
	r = take(&w, REGION_GPA, REGION_SIZE);
	memset(r->map.addr, 5, REGION_SIZE);
	assert_int_equal(ftruncate(fd, 0x1000), 0);
	assert_false(guest_shared_truncated(r));
	assert_int_equal(((volatile uint8_t *)r->map.addr)[REGION_SIZE - 1], 0);
	assert_true(guest_shared_truncated(r));
	((volatile uint8_t *)r->map.addr)[REGION_SIZE - 1] = 1;
	refused(&w, REGION_GPA + 0x1000, REGION_SIZE - 0x1000, GUEST_SHARED_TOO_SHORT, EINVAL);
	guest_shared_put(r);
	done(&w);
}

static void every_fault_has_its_words(void **state)
{
	(void)state;
	for (int i = 0; i <= GUEST_SHARED_SYSTEM; i++)
		assert_string_not_equal(guest_shared_fault_text((enum guest_shared_fault)i),
					"unknown fault");
	assert_string_equal(guest_shared_fault_text((enum guest_shared_fault)99), "unknown fault");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_region_is_the_guests_memory),
		cmocka_unit_test(what_is_not_wholly_in_one_entry_is_not_there),
		cmocka_unit_test(ram_is_not_handed_out),
		cmocka_unit_test(ram_without_a_ring_is_not_handed_out),
		cmocka_unit_test(a_file_that_can_be_cut_off_is_sealed_or_refused),
		cmocka_unit_test(a_file_on_disk_is_refused),
		cmocka_unit_test(pages_are_not_cut),
		cmocka_unit_test(a_read_only_file_is_refused),
		cmocka_unit_test(a_region_outlives_the_table_and_knows_that_it_is_gone),
		cmocka_unit_test(a_driver_learns_that_the_host_lives),
		cmocka_unit_test(words_are_kept_while_any_guest_has_the_region),
		cmocka_unit_test(another_file_at_that_address_is_another_region),
		cmocka_unit_test(what_was_given_is_taken_before_it_is_there),
		cmocka_unit_test(a_common_file_is_a_common_region),
		cmocka_unit_test(a_file_that_is_cut_off_is_survived),
		cmocka_unit_test(every_fault_has_its_words),
	};

	return cmocka_run_group_tests_name("guest_shared", tests, NULL, NULL);
}
