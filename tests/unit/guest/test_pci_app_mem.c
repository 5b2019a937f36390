/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered memory of a PCI device. */
#include "fake_iommu.h"
#include "pci/pci_link.h"
#include "proto/vsock/vsock_device.h"

static const struct pci_access fake_physical = {.scheme = "fake", .driver = "fake"};

static struct pci_link l;
static struct transport_dev *const dev = &l.g.d;
static uint8_t memory[8][4096] __attribute__((aligned(4096)));

static int begin(void **state)
{
	memset(&l, 0, sizeof(l));
	pci_app_mems_init(&l.app);
	l.pci.access = &fake_iommu_access;
	(void)strcpy(l.pci.info.bdf, "0000:00:05.0");
	l.features = VSOCK_FEATURE_ACCESS_PLATFORM;
	return fake_iommu_begin(state);
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
	assert_int_equal(iommu.n, 2);
	assert_ptr_equal(iommu.mapped[1].va, memory[1]);
	assert_true(iommu.mapped[1].at == b.v && a.v != b.v);
	pci_app_mem_unmap(dev, a);
	assert_int_equal(iommu.n, 1);
	assert_true(iommu.mapped[0].at == b.v);
	pci_app_mem_unmap(dev, b);
	assert_int_equal(iommu.n, 0);
	assert_int_equal(iommu.put, 2);
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
	assert_int_equal(iommu.n, 0);
	assert_int_equal(iommu.put, ZV_MEM_MAX + 1);
}

static void an_address_of_another_device_is_not_asked_for_again(void **state)
{
	struct iova at;

	(void)state;
	iommu.error = -EEXIST;
	assert_int_equal(map(0, &at), 0);
	assert_true(at.v == FAKE_FIRST + FAKE_PAGE);
	assert_int_equal(iommu.put, 0);
	pci_app_mem_unmap(dev, at);
	assert_int_equal(iommu.put, 1);
}

static void errors_say_that_payload_is_copied(void **state)
{
	struct iova at;

	(void)state;
	iommu.error = -ENOMEM;
	assert_int_equal(map(0, &at), -ENOMEM);
	assert_non_null(strstr(zv_error_text(), "RLIMIT_MEMLOCK"));
	assert_non_null(strstr(zv_error_text(), "payload is copied"));
	assert_int_equal(iommu.put, 1);
	iommu.error = 0;
	l.features = 0;
	assert_int_equal(map(0, &at), -EOPNOTSUPP);
	assert_non_null(strstr(zv_error_text(), "iommu_platform=on"));
	l.features = VSOCK_FEATURE_ACCESS_PLATFORM;
	l.pci.access = &fake_physical;
	assert_int_equal(map(0, &at), -EOPNOTSUPP);
	assert_int_equal(iommu.n, 0);
}

/* The device has been unplugged; the application learns it later. */
static void nothing_stays_mapped_when_the_device_goes(void **state)
{
	struct iova a, b;

	(void)state;
	assert_int_equal(map(0, &a), 0);
	pci_app_mems_end(&l);
	assert_int_equal(iommu.n, 0);
	assert_int_equal(map(1, &b), -ENODEV);
	assert_non_null(strstr(zv_error_text(), "unplugged"));
	pci_app_mem_unmap(dev, a);
	pci_app_mems_end(&l);
	assert_int_equal(iommu.put, 1);
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
