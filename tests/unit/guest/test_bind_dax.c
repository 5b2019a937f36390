/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zv-bind dax in a tree of files: what it asks the kernel for, and what it leaves alone. A kernel
 * that answers is in tests/vm (region_dax).
 */
#include "bind/bind.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (16l << 20)
#define ND   "/sys/bus/nd/devices"

static char root[64];

static void path_of(char path[256], const char *name)
{
	(void)snprintf(path, 256, "%s%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		(void)mkdir(path, 0700);
		*p = '/';
	}
}

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* What was written there, which the kernel would have taken. */
static void expect(const char *name, const char *text)
{
	char path[256], got[64] = "";
	FILE *f;

	path_of(path, name);
	f = fopen(path, "r");
	assert_non_null(f);
	(void)!fread(got, 1, sizeof(got) - 1, f);
	fclose(f);
	assert_string_equal(got, text);
}

/* A namespace as nd_pmem has it, empty, and the device that the region has to spare. */
static int make_root(void **state)
{
	char path[256];

	(void)state;
	strcpy(root, "/dev/shm/zv-bind-dax-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	put(ND "/namespace0.0/size", "16777216\n");
	put(ND "/namespace0.0/holder", "\n");
	put(ND "/namespace0.0/block/pmem0/dev", "259:0\n");
	put(ND "/region0/dax_seed", "dax0.1\n");
	for (unsigned i = 0; i < 4; i++) {
		static const char *const attribute[] = {"mode", "uuid", "align", "namespace"};
		char name[64];

		(void)snprintf(name, sizeof(name), ND "/dax0.1/%s", attribute[i]);
		put(name, "");
	}
	put("/sys/bus/nd/drivers/nd_pmem/unbind", "");
	put("/sys/bus/nd/drivers/dax_pmem/bind", "");
	put("/proc/sys/kernel/random/uuid", "0b54bd34-8ea4-4c2a-a3b5-d9d2a5a0c1f7\n");
	put("/dev/pmem0", "");
	path_of(path, "/dev/pmem0");
	return truncate(path, SIZE);
}

static int remove_root(void **state)
{
	char command[96];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void says(const struct report *r, int err, const char *words)
{
	assert_int_equal(r->err, err);
	if (!strstr(r->text, words))
		fail_msg("\"%s\" does not say \"%s\"", r->text, words);
}

static void an_empty_namespace_is_given_to_dax_pmem(void **state)
{
	struct report r;

	(void)state;
	assert_true(bind_dax_check(root, &r));
	says(&r, 0, "zv-bind dax namespace0.0");
	/* No kernel here answers what is written. */
	bind_dax(root, NULL, false, &r);
	says(&r, -EIO, "multiple of 16 MiB");
	assert_false(r.changed);
	expect("/sys/bus/nd/drivers/nd_pmem/unbind", "namespace0.0");
	expect(ND "/dax0.1/mode", "ram");
	expect(ND "/dax0.1/align", "2097152");
	expect(ND "/dax0.1/uuid", "0b54bd34-8ea4-4c2a-a3b5-d9d2a5a0c1f7");
	expect(ND "/dax0.1/namespace", "namespace0.0");
	expect("/sys/bus/nd/drivers/dax_pmem/bind", "dax0.1");
}

static void untouched(void)
{
	expect("/sys/bus/nd/drivers/nd_pmem/unbind", "");
	expect("/sys/bus/nd/drivers/dax_pmem/bind", "");
	expect(ND "/dax0.1/namespace", "");
}

static void data_is_left_alone(void **state)
{
	static const long at[] = {0, 1024, 65536, (1 << 20) - 1, SIZE - (1 << 20), SIZE - 1};
	struct report r;
	char path[256];
	FILE *f;

	(void)state;
	path_of(path, "/dev/pmem0");
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		f = fopen(path, "r+");
		assert_non_null(f);
		assert_int_equal(fseek(f, at[i], SEEK_SET), 0);
		assert_int_equal(fputc(1, f), 1);
		fclose(f);
		bind_dax(root, "namespace0.0", false, &r);
		says(&r, -EEXIST, "--force namespace0.0");
		untouched();
		f = fopen(path, "r+");
		assert_non_null(f);
		assert_int_equal(fseek(f, at[i], SEEK_SET), 0);
		assert_int_equal(fputc(0, f), 0);
		fclose(f);
	}
	put("/dev/pmem0", "too short to be a disk");
	bind_dax(root, NULL, true, &r);
	says(&r, -EIO, "/dev/pmem0");
	untouched();
	put("/dev/pmem0", "somebody's file system");
	assert_int_equal(truncate(path, SIZE), 0);
	bind_dax(root, NULL, true, &r);
	expect(ND "/dax0.1/namespace", "namespace0.0");
}

static void what_somebody_has_is_left_alone(void **state)
{
	static const char *const holder[] = {"pfn0.0\n", "btt0.0\n"};
	struct report r;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		put(ND "/namespace0.0/holder", holder[i]);
		bind_dax(root, NULL, true, &r);
		says(&r, -EBUSY, "ndctl create-namespace -f -e namespace0.0");
		untouched();
	}
}

static void what_is_done_already_is_said(void **state)
{
	struct report r;

	(void)state;
	put(ND "/namespace0.0/holder", "dax0.0\n");
	put(ND "/dax0.0/dax3.1/size", "14680064\n");
	put("/sys/bus/dax/devices/dax3.1/align", "2097152\n");
	bind_dax(root, NULL, false, &r);
	says(&r, -ENOENT, "no /dev/dax3.1");
	put("/dev/dax3.1", "");
	bind_dax(root, NULL, false, &r);
	says(&r, 0, "ready as /dev/dax3.1");
	assert_false(r.changed);
	untouched();
	assert_true(bind_dax_check(root, &r));
	says(&r, 0, "ready as /dev/dax3.1");
	put("/sys/bus/dax/devices/dax3.1/align", "4096\n");
	bind_dax(root, NULL, false, &r);
	says(&r, -EINVAL, "-a 2M");
}

static void the_info_block_of_a_former_boot_is_enough(void **state)
{
	struct report r;

	(void)state;
	put(ND "/namespace0.0/holder", "dax0.0\n");
	put(ND "/dax0.0/size", "14680064\n");
	bind_dax(root, NULL, false, &r);
	expect("/sys/bus/nd/drivers/dax_pmem/bind", "dax0.0");
	expect("/sys/bus/nd/drivers/nd_pmem/unbind", "");
}

static void what_is_missing_is_said(void **state)
{
	struct report r;

	(void)state;
	bind_dax(root, "namespace1.0", false, &r);
	says(&r, -ENODEV, "there is namespace0.0");
	put(ND "/namespace1.0/size", "16777216\n");
	bind_dax(root, NULL, false, &r);
	says(&r, -EINVAL, "say which");
	bind_dax(root, "namespace1.0", false, &r);
	says(&r, -ENODEV, "nd_pmem");
	put(ND "/namespace1.0/size", "0\n");
	put(ND "/region0/dax_seed", "");
	bind_dax(root, NULL, false, &r);
	says(&r, -EOPNOTSUPP, "dax_seed");
	put(ND "/namespace0.0/size", "0\n");
	bind_dax(root, NULL, false, &r);
	says(&r, -ENODEV, "there is no NVDIMM");
	assert_false(bind_dax_check(root, &r));
	untouched();
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_empty_namespace_is_given_to_dax_pmem),   T(data_is_left_alone),
		T(what_somebody_has_is_left_alone),	      T(what_is_done_already_is_said),
		T(the_info_block_of_a_former_boot_is_enough), T(what_is_missing_is_said),
	};

	return cmocka_run_group_tests_name("bind_dax", tests, NULL, NULL);
}
