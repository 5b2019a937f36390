/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered memory of a PCI device. The IOMMU is a list in this file. */
#include "pci/pci_link.h"
#include "proto/vsock_device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static struct {
	uint64_t at, len;
	void *va;
} mapped[16];
static unsigned nmapped, nput;
static uint64_t next;
static int map_error;

static int fake_iova(struct pci_dev *d, uint64_t len, struct iova *at)
{
	(void)d;
	at->v = next;
	next += len;
	return 0;
}

static void fake_iova_put(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	(void)len;
	for (unsigned i = 0; i < nmapped; i++)
		assert_true(mapped[i].at != at.v);
	nput++;
}

static int fake_map(struct pci_dev *d, void *va, uint64_t len, struct iova at)
{
	int ret = map_error;

	(void)d;
	if (ret == -EEXIST) /* once */
		map_error = 0;
	if (ret)
		return ret;
	mapped[nmapped].at = at.v;
	mapped[nmapped].len = len;
	mapped[nmapped++].va = va;
	return 0;
}

static void fake_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	for (unsigned i = 0; i < nmapped; i++)
		if (mapped[i].at == at.v && mapped[i].len == len) {
			mapped[i] = mapped[--nmapped];
			return;
		}
	fail_msg("nothing was mapped at 0x%llx", (unsigned long long)at.v);
}

static const struct pci_access fake = {.scheme = "fake",
				       .driver = "fake",
				       .confined = true,
				       .iova = fake_iova,
				       .iova_put = fake_iova_put,
				       .dma_map = fake_map,
				       .dma_unmap = fake_unmap};
static const struct pci_access fake_physical = {.scheme = "fake", .driver = "fake"};

static struct pci_link l;
static struct transport_dev *const dev = &l.g.d;
static uint8_t memory[8][4096] __attribute__((aligned(4096)));

static int begin(void **state)
{
	(void)state;
	memset(&l, 0, sizeof(l));
	pci_app_mems_init(&l.app);
	l.pci.how = &fake;
	(void)strcpy(l.pci.info.bdf, "0000:00:05.0");
	l.features = VSOCK_FEATURE_ACCESS_PLATFORM;
	nmapped = nput = 0;
	next = 4096 * MIB;
	map_error = 0;
	return 0;
}

static int map(unsigned i, struct iova *at)
{
	const struct transport_mem m = {memory[i], sizeof(memory[i]), -1, 0};

	return pci_app_mem_map(dev, &m, at);
}

static void what_is_registered_is_mapped(void **state)
{
	struct iova a, b;

	(void)state;
	assert_int_equal(map(0, &a), 0);
	assert_int_equal(map(1, &b), 0);
	assert_int_equal(nmapped, 2);
	assert_ptr_equal(mapped[1].va, memory[1]);
	assert_true(mapped[1].at == b.v && a.v != b.v);
	pci_app_mem_unmap(dev, a);
	assert_int_equal(nmapped, 1);
	assert_true(mapped[0].at == b.v);
	pci_app_mem_unmap(dev, b);
	assert_int_equal(nmapped, 0);
	assert_int_equal(nput, 2);
}

static void there_are_places_for_so_many(void **state)
{
	struct iova at[ZV_MEM_MAX], more;

	(void)state;
	for (unsigned i = 0; i < ZV_MEM_MAX; i++)
		assert_int_equal(map(i, &at[i]), 0);
	assert_int_equal(map(ZV_MEM_MAX, &more), -ENOSPC);
	assert_non_null(strstr(zv_error_text(), "payload of this one is copied"));
	pci_app_mem_unmap(dev, at[2]);
	assert_int_equal(map(ZV_MEM_MAX, &more), 0);
	pci_app_mems_end(&l);
	assert_int_equal(nmapped, 0);
	assert_int_equal(nput, ZV_MEM_MAX + 1);
}

static void an_address_of_another_device_is_not_asked_for_again(void **state)
{
	struct iova at;

	(void)state;
	map_error = -EEXIST;
	assert_int_equal(map(0, &at), 0);
	assert_true(at.v == 4096 * MIB + sizeof(memory[0]));
	assert_int_equal(nput, 0);
	pci_app_mem_unmap(dev, at);
	assert_int_equal(nput, 1);
}

static void errors_say_that_payload_is_copied(void **state)
{
	struct iova at;

	(void)state;
	map_error = -ENOMEM;
	assert_int_equal(map(0, &at), -ENOMEM);
	assert_non_null(strstr(zv_error_text(), "RLIMIT_MEMLOCK"));
	assert_non_null(strstr(zv_error_text(), "payload is copied"));
	assert_int_equal(nput, 1);
	map_error = 0;
	l.features = 0;
	assert_int_equal(map(0, &at), -EOPNOTSUPP);
	assert_non_null(strstr(zv_error_text(), "iommu_platform=on"));
	l.features = VSOCK_FEATURE_ACCESS_PLATFORM;
	l.pci.how = &fake_physical;
	assert_int_equal(map(0, &at), -EOPNOTSUPP);
	assert_int_equal(nmapped, 0);
}

/* The device has been unplugged; the application learns it later. */
static void nothing_stays_mapped_when_the_device_goes(void **state)
{
	struct iova a, b;

	(void)state;
	assert_int_equal(map(0, &a), 0);
	pci_app_mems_end(&l);
	assert_int_equal(nmapped, 0);
	assert_int_equal(map(1, &b), -ENODEV);
	assert_non_null(strstr(zv_error_text(), "unplugged"));
	pci_app_mem_unmap(dev, a);
	pci_app_mems_end(&l);
	assert_int_equal(nput, 1);
}

#define T(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_registered_is_mapped),
		T(there_are_places_for_so_many),
		T(an_address_of_another_device_is_not_asked_for_again),
		T(errors_say_that_payload_is_copied),
		T(nothing_stays_mapped_when_the_device_goes),
	};

	return cmocka_run_group_tests_name("pci_app_mem", tests, NULL, NULL);
}
