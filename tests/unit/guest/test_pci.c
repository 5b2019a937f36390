/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI devices as far as no device is needed: addresses, sysfs, places of DMA memory.
 */
#include "bind/bind.h"
#include "pci/dma_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((size_t)2 << 20)

/* ---- addresses ---- */

static void addresses_of_functions(void **state)
{
	static const struct {
		const char *text, *bdf; /* NULL: none */
	} t[] = {
		{"0000:00:05.0", "0000:00:05.0"},
		{"00:1f.7", "0000:00:1f.7"},
		{"ABCD:EF:0a.1", "abcd:ef:0a.1"},
		{"0000:00:20.0", NULL},
		{"0000:00:05.8", NULL},
		{"0000:00:05.0 ", NULL},
		{"0000:00:05.0,", NULL},
		{"0x00:05.0", NULL},
		{"-1:05.0", NULL},
		{"10000:00:05.0", NULL},
		{"../../05.0", NULL},
		{"", NULL},
		{"5", NULL},
	};
	char bdf[PCI_BDF_CHARS];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(pci_bdf_parse(bdf, t[i].text), t[i].bdf != NULL);
		if (t[i].bdf)
			assert_string_equal(bdf, t[i].bdf);
	}
}

/* ---- a sysfs of our own ---- */

static char root[64];

static void make_dirs(const char *path)
{
	char p[256];

	snprintf(p, sizeof(p), "%s/%s", root, path);
	for (char *s = p + strlen(root) + 1; *s; s++)
		if (*s == '/') {
			*s = 0;
			(void)mkdir(p, 0700);
			*s = '/';
		}
}

static void put(const char *path, const char *text)
{
	char p[256];
	FILE *f;

	make_dirs(path);
	snprintf(p, sizeof(p), "%s/%s", root, path);
	f = fopen(p, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_link(const char *path, const char *to)
{
	char p[256];

	make_dirs(path);
	snprintf(p, sizeof(p), "%s/%s", root, path);
	assert_int_equal(symlink(to, p), 0);
}

static void put_device(const char *bdf, const char *vendor, const char *device)
{
	char p[128];

	snprintf(p, sizeof(p), "sys/bus/pci/devices/%s/vendor", bdf);
	put(p, vendor);
	snprintf(p, sizeof(p), "sys/bus/pci/devices/%s/device", bdf);
	put(p, device);
	snprintf(p, sizeof(p), "sys/bus/pci/devices/%s/driver_override", bdf);
	put(p, "");
}

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/zv-pci-test.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void device_as_sysfs_shows_it(void **state)
{
	struct pci_info i;
	char sys[80];

	(void)state;
	snprintf(sys, sizeof(sys), "%s/sys", root);
	put_device("0000:00:05.0", "0x1af4\n", "0x1053\n");
	put_link("sys/bus/pci/devices/0000:00:05.0/driver", "../../../bus/pci/drivers/vfio-pci");
	put("sys/kernel/iommu_groups/7/type", "DMA-FQ\n");
	put_link("sys/bus/pci/devices/0000:00:05.0/iommu_group",
		 "../../../../kernel/iommu_groups/7");
	put("sys/bus/pci/devices/0000:00:05.0/vfio-dev/vfio3/dev", "");
	put("sys/bus/pci/devices/0000:00:05.0/uio/uio1/dev", "");
	assert_int_equal(pci_info_read(&i, sys, "0000:00:05.0"), 0);
	assert_true(pci_info_is_vsock(&i));
	assert_string_equal(i.driver, "vfio-pci");
	assert_int_equal(i.iommu_group, 7);
	assert_string_equal(i.iommu_type, "DMA-FQ");
	assert_int_equal(i.vfio_cdev, 3);
	assert_int_equal(i.uio, 1);
	assert_int_equal(pci_info_read(&i, sys, i.bdf), 0); /* once more */
	assert_string_equal(i.bdf, "0000:00:05.0");
	assert_int_equal(pci_info_read(&i, sys, "0000:00:06.0"), -ENODEV);
}

static void devices_are_listed_in_order(void **state)
{
	struct pci_info dev[4];

	(void)state;
	assert_int_equal(bind_list(root, dev, 4), 0);
	put_device("0000:00:07.0", "0x1af4\n", "0x1053\n");
	put_device("0000:00:02.0", "0x8086\n", "0x1053\n");
	put_device("0000:00:05.0", "0x1af4\n", "0x1012\n");
	assert_int_equal(bind_list(root, dev, 4), 2);
	assert_string_equal(dev[0].bdf, "0000:00:05.0");
	assert_string_equal(dev[1].bdf, "0000:00:07.0");
	assert_int_equal(dev[0].iommu_group, -1);
	assert_int_equal(bind_list(root, dev, 1), 1);
}

static void binding_says_what_is_missing(void **state)
{
	struct report r;

	(void)state;
	put_device("0000:00:05.0", "0x1af4\n", "0x1053\n");
	put_device("0000:00:02.0", "0x8086\n", "0x1053\n");
	bind_device(root, "5.0", NULL, &r);
	assert_int_equal(r.err, -EINVAL);
	bind_device(root, "0000:00:09.0", NULL, &r);
	assert_int_equal(r.err, -ENODEV);
	bind_device(root, "0000:00:02.0", NULL, &r);
	assert_int_equal(r.err, -ENODEV);
	assert_non_null(strstr(r.text, "no virtio-vsock device"));
	bind_device(root, "00:05.0", "igb_uio", &r);
	assert_int_equal(r.err, -EINVAL);
	bind_device(root, "00:05.0", "vfio-pci", &r);
	assert_int_equal(r.err, -EOPNOTSUPP);
	assert_non_null(strstr(r.text, "intel_iommu=on"));
	put_link("sys/bus/pci/devices/0000:00:05.0/driver",
		 "../../../bus/pci/drivers/uio_pci_generic");
	bind_device(root, "00:05.0", NULL, &r);
	assert_int_equal(r.err, 0);
	assert_false(r.changed);
}

/* The tree is no kernel: files take what is written, and nothing happens. */
static void binding_writes_and_looks_again(void **state)
{
	struct report r;
	char path[128], text[64];

	(void)state;
	put_device("0000:00:05.0", "0x1af4\n", "0x1053\n");
	put("sys/bus/pci/drivers/uio_pci_generic/unbind", "");
	put("sys/bus/pci/drivers_probe", "");
	bind_device(root, "00:05.0", NULL, &r);
	assert_int_equal(r.err, -EIO);
	snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/0000:00:05.0/driver_override", root);
	assert_true(pci_read_text(path, text, sizeof(text)) > 0);
	assert_string_equal(text, "uio_pci_generic");
	snprintf(path, sizeof(path), "%s/sys/bus/pci/drivers_probe", root);
	assert_true(pci_read_text(path, text, sizeof(text)) > 0);
	assert_string_equal(text, "0000:00:05.0");
}

static void release_clears_what_binding_wrote(void **state)
{
	struct report r;
	char path[128];
	FILE *f;

	(void)state;
	put_device("0000:00:05.0", "0x1af4\n", "0x1053\n");
	put("sys/bus/pci/devices/0000:00:05.0/driver_override", "vfio-pci\n");
	put_link("sys/bus/pci/devices/0000:00:05.0/driver", "../../../bus/pci/drivers/vfio-pci");
	put("sys/bus/pci/drivers/vfio-pci/unbind", "");
	put("sys/bus/pci/drivers_probe", "");
	bind_release(root, "00:05.0", &r);
	assert_int_equal(r.err, -EIO); /* the link is as it was */
	snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/0000:00:05.0/driver_override", root);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fgetc(f), '\n'); /* the kernel takes an empty line for "none" */
	fclose(f);
	snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/0000:00:05.0/driver", root);
	assert_int_equal(unlink(path), 0);
	put_link("sys/bus/pci/devices/0000:00:05.0/driver", "../../../bus/pci/drivers/virtio-pci");
	bind_release(root, "00:05.0", &r);
	assert_int_equal(r.err, 0);
	assert_false(r.changed);
	bind_device(root, "00:05.0", "uio_pci_generic", &r);
	assert_int_equal(r.err, -ENODEV); /* a tree without that driver; no module is loaded */
}

static void hugepages_are_set_once(void **state)
{
	struct report r;

	(void)state;
	bind_hugepages(root, 4, &r);
	assert_int_equal(r.err, -EOPNOTSUPP);
	put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "4\n");
	bind_hugepages(root, 4, &r);
	assert_int_equal(r.err, 0);
	assert_false(r.changed);
	bind_hugepages(root, 9, &r);
	assert_int_equal(r.err, 0);
	assert_true(r.changed);
}

static void checks_name_the_mend(void **state)
{
	struct machine m = {.vfio_type1 = true, .huge_free = 8, .root = true};
	struct pci_info i;
	struct report r;
	char sys[80];

	(void)state;
	snprintf(sys, sizeof(sys), "%s/sys", root);
	put_device("0000:00:05.0", "0x1af4\n", "0x1053\n");
	put_device("0000:00:06.0", "0x8086\n", "0x0001\n");
	put_link("sys/bus/pci/devices/0000:00:05.0/driver", "../../../bus/pci/drivers/vfio-pci");
	put("sys/kernel/iommu_groups/7/type", "DMA\n");
	put("sys/kernel/iommu_groups/7/devices/0000:00:05.0", "");
	put_link("sys/bus/pci/devices/0000:00:05.0/iommu_group",
		 "../../../../kernel/iommu_groups/7");
	assert_int_equal(pci_info_read(&i, sys, "0000:00:05.0"), 0);
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, -ENOENT); /* no /dev/vfio/7 */
	put("dev/vfio/7", "");
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, 0);
	assert_null(strstr(r.text, "hugepages"));
	for (m.huge_free = 0; m.huge_free >= -1; m.huge_free--) {
		bind_check(root, &i, &m, &r);
		assert_int_equal(r.err, 0);
		assert_non_null(strstr(r.text, "iommu_platform=on"));
	}
	put("sys/kernel/iommu_groups/7/devices/0000:00:06.0", "");
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, 0); /* bound to nobody */
	put_link("sys/bus/pci/devices/0000:00:06.0/driver", "../../../bus/pci/drivers/e1000");
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, -EPERM);
	assert_non_null(strstr(r.text, "0000:00:06.0"));
	strcpy(i.driver, "uio_pci_generic");
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, -EOPNOTSUPP); /* behind an IOMMU that translates */
	strcpy(i.driver, "virtio-pci");
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, -EBUSY); /* though AF_VSOCK has it as it is */
	assert_non_null(strstr(r.text, "AF_VSOCK"));
	assert_non_null(strstr(r.text, "zv-bind bind 0000:00:05.0"));
	i.driver[0] = 0;
	bind_check(root, &i, &m, &r);
	assert_int_equal(r.err, -EBUSY);
	assert_non_null(strstr(r.text, "no driver"));
}

/* ---- DMA memory ---- */

static void runs_are_neighbours(void **state)
{
	const uint64_t phys[] = {4 * PAGE, 5 * PAGE, 7 * PAGE, 8 * PAGE, 9 * PAGE, 11 * PAGE};
	struct dma_run run[6];

	(void)state;
	assert_int_equal(dma_runs(run, phys, 6, PAGE), 3);
	assert_int_equal(run[0].size, 2 * PAGE);
	assert_int_equal(run[1].offset, 2 * PAGE);
	assert_int_equal(run[1].at.v, 7 * PAGE);
	assert_int_equal(run[1].size, 3 * PAGE);
	assert_int_equal(run[2].size, PAGE);
}

static void parts_lie_in_one_run_each(void **state)
{
	const uint64_t phys[] = {4 * PAGE, 5 * PAGE, 7 * PAGE, 8 * PAGE, 9 * PAGE};
	struct guest_part parts[] = {
		{.size = 100}, {.size = 3 * PAGE}, {.size = PAGE + 1}, {.size = 4096}};
	static uint8_t base[1];
	struct dma_run run[5];
	size_t need = 0;
	unsigned n;

	(void)state;
	n = dma_runs(run, phys, 5, PAGE);
	assert_true(dma_place(run, n, parts, 4, 128, base, &need));
	for (unsigned i = 0; i < 4; i++) {
		size_t off = (size_t)((uint8_t *)parts[i].addr - base);
		unsigned r = off >= 2 * PAGE;

		assert_int_equal(off % 128, 0);
		assert_int_equal(parts[i].at.v, run[r].at.v + (off - run[r].offset));
		assert_true(off + parts[i].size <= run[r].offset + run[r].size);
		for (unsigned j = 0; j < i; j++) {
			size_t other = (size_t)((uint8_t *)parts[j].addr - base);

			assert_true(other + parts[j].size <= off || off + parts[i].size <= other);
		}
	}
	n = dma_runs(run, phys, 5, PAGE);
	parts[1].size = 3 * PAGE + 1;
	assert_false(dma_place(run, n, parts, 4, 128, base, &need));
	assert_int_equal(need, 3 * PAGE + 128);
}

int main(void)
{
#define IN_SYSFS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_of_functions),
		IN_SYSFS(device_as_sysfs_shows_it),
		IN_SYSFS(devices_are_listed_in_order),
		IN_SYSFS(binding_says_what_is_missing),
		IN_SYSFS(binding_writes_and_looks_again),
		IN_SYSFS(release_clears_what_binding_wrote),
		IN_SYSFS(hugepages_are_set_once),
		IN_SYSFS(checks_name_the_mend),
		cmocka_unit_test(runs_are_neighbours),
		cmocka_unit_test(parts_lie_in_one_run_each),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
