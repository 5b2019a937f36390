/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions that a VM has: found and mapped in a tree of files that looks as the kernel's sysfs and
 * /dev do, and what becomes of load latencies. tests/vm has the real ones.
 */
#include "region/region_dax.h"
#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE 0x400000ull
#define GPA  0x100200000ull

static char root[64];
static struct vm_region_env place = {.root = root};

/* ---- the tree ---- */

static void put(const char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *text, const char *fmt, ...)
{
	char path[512], name[200];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	(void)vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	(void)snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		(void)mkdir(path, 0700);
		*p = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void cut(const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s%s", root, name);
	assert_int_equal(unlink(path), 0);
}

/* The device @name, of 4 MiB. */
static void add_dax(const char *name)
{
	char path[256];

	put("0x100200000\n", "/sys/bus/dax/devices/%s/resource", name);
	put("4194304\n", "/sys/bus/dax/devices/%s/size", name);
	put("2097152\n", "/sys/bus/dax/devices/%s/align", name);
	put("", "/dev/%s", name);
	(void)snprintf(path, sizeof(path), "%s/dev/%s", root, name);
	assert_int_equal(truncate(path, SIZE), 0);
}

static int make_root(void **state)
{
	(void)state;
	strcpy(root, "/dev/shm/zv-vm-region-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[96];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

static void fails(const char *which, int err, const char *words)
{
	struct vm_region r;

	assert_int_equal(vm_region_open(&r, which, &place), err);
	assert_null(r.kind);
	if (words && !strstr(zv_error_text(), words))
		fail_msg("\"%s\" does not say \"%s\"", zv_error_text(), words);
}

/* ---- dax ---- */

static void a_dax_device_is_mapped(void **state)
{
	static const char *const which[] = {"auto", "dax0.0"};
	struct vm_region r;
	char path[128], seen[6] = "";
	FILE *f;

	(void)state;
	add_dax("dax0.0");
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(vm_region_open(&r, which[i], &place), 0);
		assert_string_equal(r.name, "dax0.0");
		assert_string_equal(r.kind->name, "dax");
		assert_int_equal(r.size, SIZE);
		assert_int_equal(r.gpa.v, GPA);
		assert_int_equal(r.page_size, 2 << 20);
		assert_true(load_latency_is_cached(&r.latency));
		assert_true(r.latency.here && r.latency.ordinary);
		memcpy((uint8_t *)r.addr + SIZE - 5, "guest", 5);
		vm_region_close(&r);
		vm_region_close(&r);
	}
	(void)snprintf(path, sizeof(path), "%s/dev/dax0.0", root);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fseek(f, -5, SEEK_END), 0);
	assert_int_equal(fread(seen, 1, 5, f), 5);
	assert_string_equal(seen, "guest");
	fclose(f);
}

static void looking_does_not_write(void **state)
{
	struct vm_region r;

	(void)state;
	add_dax("dax0.0");
	assert_int_equal(vm_region_open(&r, "auto", &place), 0);
	for (uint64_t i = 0; i < SIZE; i++)
		assert_int_equal(((uint8_t *)r.addr)[i], 0);
	vm_region_close(&r);
}

static void which_one_is_not_guessed(void **state)
{
	struct vm_region r;

	(void)state;
	fails("auto", -ENOENT, NULL);
	add_dax("dax1.0");
	add_dax("dax0.1");
	fails("auto", -ENOTUNIQ, "region=dax0.1");
	assert_int_equal(vm_region_open(&r, "dax1.0", &place), 0);
	vm_region_close(&r);
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = {
		"",	    "dax",     "dax0",	"dax0.",     "dax0.0x", "dax 0.0",    "dax+0.0",
		"dax0.0.0", "daxx0.0", "pmem0", "../dax0.0", "dax0.0/", "dax99999.0", "mem,dax0.0"};

	(void)state;
	add_dax("dax0.0");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		fails(bad[i], -EINVAL, "write auto, none");
}

static void what_is_missing_is_said(void **state)
{
	(void)state;
	fails("dax0.0", -ENODEV, "zv-bind dax");
	add_dax("dax0.0");
	cut("/sys/bus/dax/devices/dax0.0/resource");
	fails("dax0.0", -ENOENT, "dax0.0/resource");
	add_dax("dax0.0");
	cut("/dev/dax0.0");
	fails("dax0.0", -ENOENT, "/dev/dax0.0");
	fails("auto", -ENOENT, "/dev/dax0.0");
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		const char *resource, *size;
	} t[] = {
		{"0x0\n", "4194304\n"},	      {"0x100200800\n", "4194304\n"},
		{"0x100200000\n", "0\n"},     {"0x100200000\n", "4194305\n"},
		{"0x100200000\n", "-4096\n"}, {"0xfffffffffffff000\n", "4194304\n"},
		{"\n", "4194304\n"},	      {"0x100200000 x\n", "4194304\n"},
		{"0x100200000\n", "many\n"},  {"0x100200000\n", "99999999999999999999\n"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		add_dax("dax0.0");
		put(t[i].resource, "/sys/bus/dax/devices/dax0.0/resource");
		put(t[i].size, "/sys/bus/dax/devices/dax0.0/size");
		fails("dax0.0", -EINVAL, "region dax0.0");
	}
}

static void one_in_pieces_is_refused(void **state)
{
	(void)state;
	add_dax("dax0.0");
	put("0x200000000\n", "/sys/bus/dax/devices/dax0.0/mapping1/start");
	fails("dax0.0", -EOPNOTSUPP, "several pieces");
}

static void rights_are_asked_for(void **state)
{
	struct vm_region r;
	char path[128];
	int ret;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: who may open what cannot be told apart\n");
		skip();
	}
	add_dax("dax0.0");
	(void)snprintf(path, sizeof(path), "%s/sys/bus/dax/devices/dax0.0/resource", root);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(chmod(root, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	ret = vm_region_open(&r, "dax0.0", &place);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(ret, -EACCES);
	assert_non_null(strstr(zv_error_text(), "chmod a+r"));
}

/* ---- ivshmem ---- */

#define IVS "/sys/bus/pci/devices/0000:00:06.0"
#define BARS                                                                                       \
	"0x00000000febf1000 0x00000000febf10ff 0x0000000000040200\n"                               \
	"0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

static void add_ivshmem(bool on)
{
	char path[256], config[8] = {0};
	FILE *f;

	put("0x1af4\n", IVS "/vendor");
	put("0x1110\n", IVS "/device");
	put("0x01\n", IVS "/revision");
	put(BARS "0x0000000100000000 0x00000001003fffff 0x000000000014220c\n", IVS "/resource");
	put("", IVS "/enable");
	put("", IVS "/resource2");
	(void)snprintf(path, sizeof(path), "%s" IVS "/resource2", root);
	assert_int_equal(truncate(path, SIZE), 0);
	(void)snprintf(path, sizeof(path), "%s" IVS "/config", root);
	config[4] = on ? 2 : 0;
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(config, 1, sizeof(config), f), sizeof(config));
	fclose(f);
}

static void an_ivshmem_bar_is_mapped(void **state)
{
	static const char *const which[] = {"auto", "0000:00:06.0", "00:06.0"};
	struct vm_region r;
	char path[128], text[4] = "";
	FILE *f;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		add_ivshmem(i != 0);
		assert_int_equal(vm_region_open(&r, which[i], &place), 0);
		assert_string_equal(r.kind->name, "ivshmem");
		assert_string_equal(r.name, "0000:00:06.0");
		assert_int_equal(r.size, SIZE);
		assert_int_equal(r.gpa.v, 0x100000000);
		((uint8_t *)r.addr)[SIZE - 1] = 1;
		vm_region_close(&r);
		/* A device that is off is switched on. */
		(void)snprintf(path, sizeof(path), "%s" IVS "/enable", root);
		f = fopen(path, "r");
		assert_non_null(f);
		assert_int_equal(fread(text, 1, 1, f), i == 0);
		fclose(f);
		assert_int_equal(text[0], '1');
	}
	add_dax("dax0.0"); /* is preferred */
	assert_int_equal(vm_region_open(&r, "auto", &place), 0);
	assert_string_equal(r.name, "dax0.0");
	vm_region_close(&r);
}

static void what_is_no_ivshmem_device_is_refused(void **state)
{
	(void)state;
	fails("0000:00:06.0", -ENODEV, "no ivshmem device");
	add_ivshmem(true);
	put("0x00\n", IVS "/revision");
	fails("0000:00:06.0", -ENODEV, "revision 1");
	fails("auto", -ENOENT, NULL);
	add_ivshmem(true);
	put("0x1053\n", IVS "/device");
	fails("0000:00:06.0", -ENODEV, "no ivshmem device");
	add_ivshmem(true);
	put(BARS, IVS "/resource");
	fails("0000:00:06.0", -EINVAL, "BAR 2");
	put(BARS "0x0 0x0 0x0\n", IVS "/resource");
	fails("auto", -EINVAL, "BAR 2");
	put(BARS "0x100000000 0x100000010 0x14220c\n", IVS "/resource");
	fails("0000:00:06.0", -EINVAL, "whole pages");
	add_ivshmem(true);
	cut(IVS "/resource2");
	fails("0000:00:06.0", -ENOENT, "resource2");
}

/* ---- virtio ---- */

static void shared_memory_of_the_device_is_taken_unseen(void **state)
{
	void *memory = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct vm_region_own own = {.addr = memory, .size = SIZE, .gpa = {0xf0000000}};
	struct vm_region_own odd = own;
	struct vm_region r;

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	fails("virtio", -ENODEV, "region_kind = virtio");
	place.own = &own;
	add_ivshmem(true);
	assert_int_equal(vm_region_open(&r, "auto", &place), 0); /* no load: there is nothing yet */
	assert_string_equal(r.kind->name, "virtio");
	assert_true(r.kind->deferred);
	assert_ptr_equal(r.addr, memory);
	assert_int_equal(r.size, SIZE);
	assert_int_equal(r.gpa.v, 0xf0000000);
	assert_int_equal(mprotect(memory, SIZE, PROT_READ), 0);
	assert_int_equal(vm_region_measure(&r), 0);
	assert_true(r.latency.here);
	vm_region_close(&r);
	assert_int_equal(*(volatile uint8_t *)memory, 0); /* the device's mapping stays */
	add_dax("dax0.0");				  /* is preferred */
	assert_int_equal(vm_region_open(&r, "auto", &place), 0);
	assert_string_equal(r.name, "dax0.0");
	vm_region_close(&r);
	odd.gpa.v = 0;
	place.own = &odd;
	fails("virtio", -EINVAL, "whole pages");
	place.own = NULL;
	munmap(memory, SIZE);
}

/* ---- latencies, in picoseconds ---- */

static void uncached_mappings_are_told_from_cached_ones(void **state)
{
	static const struct {
		struct load_latency l;
		bool cached;
	} t[] = {
		{{1500, 1500}, true},	  /* write-back memory */
		{{1300, 1900}, true},	  /* which was disturbed */
		{{4200, 1500}, true},	  /* of a CPU that changed its frequency meanwhile */
		{{26000, 22000}, true},	  /* TCG */
		{{90000, 25000}, true},	  /* TCG on a busy machine */
		{{65000, 1500}, false},	  /* uncached, memory of the same socket */
		{{95000, 1400}, false},	  /* uncached, memory of another socket */
		{{700000, 1600}, false},  /* across PCI Express */
		{{9000000, 1500}, false}, /* each load is a VM exit */
		{{UINT32_MAX, 1}, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(load_latency_is_cached(&t[i].l), t[i].cached);
}

static void ordinary_memory_is_cached(void **state)
{
	static const size_t size[] = {4096, 4097, 0x200000};
	struct load_latency l;
	uint8_t *p = mmap(NULL, 0x200000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(p != MAP_FAILED);
	for (unsigned i = 0; i < 3; i++) {
		load_latency_measure(&l, p, size[i]);
		assert_true(l.here > 0 && l.here != UINT32_MAX);
		assert_true(l.ordinary > 0 && l.ordinary != UINT32_MAX);
		assert_true(load_latency_is_cached(&l));
	}
	munmap(p, 0x200000);
}

/* ---- pagemap ---- */

static void the_page_table_has_the_last_word(void **state)
{
	const uint64_t here = 1ull << 63 | 0x100200;

	(void)state;
	assert_true(vm_region_page_is(here, 4096, (struct gpa){GPA}));
	assert_false(vm_region_page_is(here + 1, 4096, (struct gpa){GPA}));
	/* Physical addresses are hidden from us, or the page is not there. */
	assert_true(vm_region_page_is(1ull << 63, 4096, (struct gpa){GPA}));
	assert_true(vm_region_page_is(0x777, 4096, (struct gpa){GPA}));
	/* Flags beside the frame's number. */
	assert_true(vm_region_page_is(here | 1ull << 55 | 1ull << 61, 4096, (struct gpa){GPA}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_dax_device_is_mapped),
		T(looking_does_not_write),
		T(which_one_is_not_guessed),
		T(names_are_checked),
		T(what_is_missing_is_said),
		T(sizes_that_make_no_sense_are_refused),
		T(one_in_pieces_is_refused),
		T(rights_are_asked_for),
		T(an_ivshmem_bar_is_mapped),
		T(what_is_no_ivshmem_device_is_refused),
		T(shared_memory_of_the_device_is_taken_unseen),
		cmocka_unit_test(uncached_mappings_are_told_from_cached_ones),
		cmocka_unit_test(ordinary_memory_is_cached),
		cmocka_unit_test(the_page_table_has_the_last_word),
	};

	return cmocka_run_group_tests_name("vm_region", tests, NULL, NULL);
}
