/* SPDX-License-Identifier: BSD-3-Clause */
/* Capabilities of virtio PCI devices: good ones, and what a hostile device may write. */
#include "pci/virtio_pci_cap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

static const uint64_t bars[PCI_BARS] = {[1] = 0x1000, [4] = 0x4000};

struct cap {
	uint8_t type, bar;
	uint32_t offset, length, multiplier;
	uint8_t len;
};

/* Good capabilities of a vsock device, as QEMU has them. */
static const struct cap good[4] = {
	{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0x0000, 0x1000, 0, 16},
	{VIRTIO_PCI_CAP_ISR_CFG, 4, 0x1000, 0x1000, 0, 16},
	{VIRTIO_PCI_CAP_DEVICE_CFG, 4, 0x2000, 0x1000, 0, 16},
	{VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 0x3000, 0x1000, 4, 20},
};

static void put32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void make_config(uint8_t cfg[PCI_CONFIG_SPACE], const struct cap *cap, unsigned n)
{
	unsigned at = 0x40;

	memset(cfg, 0, PCI_CONFIG_SPACE);
	cfg[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	cfg[PCI_CAPABILITY_LIST] = (uint8_t)at;
	for (unsigned i = 0; i < n; i++, at += 24) {
		uint8_t *p = cfg + at;

		p[0] = PCI_CAP_ID_VNDR;
		p[1] = (uint8_t)(i + 1 < n ? at + 24 : 0);
		p[2] = cap[i].len;
		p[3] = cap[i].type;
		p[4] = cap[i].bar;
		put32(p + 8, cap[i].offset);
		put32(p + 12, cap[i].length);
		put32(p + 16, cap[i].multiplier);
	}
}

static void capabilities_of_a_good_device(void **state)
{
	uint8_t cfg[PCI_CONFIG_SPACE];
	struct virtio_pci_caps c;

	(void)state;
	make_config(cfg, good, 4);
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_OK);
	assert_int_equal(c.common.bar, 4);
	assert_int_equal(c.device.offset, 0x2000);
	assert_int_equal(c.notify.offset, 0x3000);
	assert_int_equal(c.notify_multiplier, 4);
}

static void capabilities_that_cannot_be_used(void **state)
{
	static const struct {
		unsigned which; /* of good[] */
		struct cap is;
		enum virtio_pci_cap_fault fault;
	} t[] = {
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 4, 0, 55, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 4, 2, 0x1000, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 4, 0x3ffc, 56, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 6, 0, 0x1000, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 255, 0, 0x1000, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 0, 0, 0x1000, 0, 16}, VIRTIO_PCI_CAP_NO_COMMON},
		{0,
		 {VIRTIO_PCI_CAP_COMMON_CFG, 4, 0xfffffffc, 0x1000, 0, 16},
		 VIRTIO_PCI_CAP_NO_COMMON},
		{0, {VIRTIO_PCI_CAP_COMMON_CFG, 4, 0, 0x1000, 0, 15}, VIRTIO_PCI_CAP_NO_COMMON},
		{1, {VIRTIO_PCI_CAP_ISR_CFG, 4, 0x4000, 1, 0, 16}, VIRTIO_PCI_CAP_NO_ISR},
		{2, {VIRTIO_PCI_CAP_DEVICE_CFG, 4, 0, 7, 0, 16}, VIRTIO_PCI_CAP_NO_DEVICE},
		{3, {VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 1, 8, 4, 20}, VIRTIO_PCI_CAP_NO_NOTIFY},
		{3, {VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 0, 8, 4, 19}, VIRTIO_PCI_CAP_NO_NOTIFY},
	};
	uint8_t cfg[PCI_CONFIG_SPACE];
	struct virtio_pci_caps c;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cap cap[4];

		memcpy(cap, good, sizeof(cap));
		cap[t[i].which] = t[i].is;
		make_config(cfg, cap, 4);
		assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), t[i].fault);
	}
}

/* A capability of shared memory with 64-bit numbers, behind the good ones. */
static struct virtio_pci_shm shm_of(uint8_t id, uint8_t bar, uint64_t offset, uint64_t length,
				    uint8_t len)
{
	static const uint64_t large[PCI_BARS] = {[2] = 0x1000, [4] = 1ull << 40};
	struct cap cap[5];
	uint8_t cfg[PCI_CONFIG_SPACE], *p = cfg + 0x40 + 4 * 24;
	struct virtio_pci_caps c;

	memcpy(cap, good, sizeof(good));
	cap[4] = (struct cap){
		VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, bar, (uint32_t)offset, (uint32_t)length, 0, len};
	make_config(cfg, cap, 5);
	p[5] = id;
	put32(p + 16, (uint32_t)(offset >> 32));
	put32(p + 20, (uint32_t)(length >> 32));
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, large), VIRTIO_PCI_CAP_OK);
	return c.shm;
}

static void shared_memory_is_found(void **state)
{
	static const struct {
		uint8_t id, bar, len;
		uint64_t offset, length;
	} bad[] = {
		{1, 4, 24, 0, 0x1000},			 /* another region's */
		{0, 6, 24, 0, 0x1000},			 /* no such BAR */
		{0, 2, 24, 0, 0x2000},			 /* larger than its BAR */
		{0, 4, 16, 0, 0x1000},			 /* without the upper halves */
		{0, 4, 24, 0x800, 0x1000},		 /* not of whole pages */
		{0, 4, 24, 0, 0x1800},			 /* the same */
		{0, 4, 24, 0, 0},			 /* none */
		{0, 4, 24, 1ull << 40, 0x1000},		 /* behind its BAR */
		{0, 4, 24, 0x1000, 1ull << 40},		 /* over its end */
		{0, 4, 24, UINT64_MAX - 0xfff, 0x1000},	 /* wraps */
		{0, 4, 24, 0x1000, UINT64_MAX - 0xfff},	 /* the same */
		{0, 4, 24, 0x2000, UINT64_MAX - 0x1fff}, /* to 0 */
	};
	struct virtio_pci_shm s = shm_of(0, 4, 1ull << 32, 3ull << 33, 24);
	uint8_t cfg[PCI_CONFIG_SPACE];
	struct virtio_pci_caps c;

	(void)state;
	assert_int_equal(s.bar, 4);
	assert_int_equal(s.offset, 1ull << 32);
	assert_int_equal(s.length, 3ull << 33);
	assert_int_equal(shm_of(0, 4, 0, 1ull << 40, 24).length, 1ull << 40);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
			shm_of(bad[i].id, bad[i].bar, bad[i].offset, bad[i].length, bad[i].len)
				.length,
			0);
	make_config(cfg, good, 4); /* as of older devices */
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_OK);
	assert_int_equal(c.shm.length, 0);
}

/* The specification: a driver takes the first that it can use. */
static void first_usable_capability_counts(void **state)
{
	const struct cap cap[6] = {
		{VIRTIO_PCI_CAP_COMMON_CFG, 9, 0, 0x1000, 0, 16},
		good[0],
		{VIRTIO_PCI_CAP_COMMON_CFG, 1, 0, 0x1000, 0, 16},
		good[1],
		good[2],
		good[3],
	};
	uint8_t cfg[PCI_CONFIG_SPACE];
	struct virtio_pci_caps c;

	(void)state;
	make_config(cfg, cap, 6);
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_OK);
	assert_int_equal(c.common.bar, 4);
}

static void capability_lists_that_do_not_end(void **state)
{
	uint8_t cfg[PCI_CONFIG_SPACE];
	struct virtio_pci_caps c;

	(void)state;
	make_config(cfg, good, 3); /* without the doorbell: the list is followed to its end */
	cfg[0x40 + 48 + 1] = 0x40;
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_NO_NOTIFY);
	cfg[0x40 + 1] = 0x40;
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_NO_NOTIFY);
	memset(cfg, 0, sizeof(cfg));
	assert_int_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_NONE);
	memset(cfg, 0xff, sizeof(cfg)); /* unplugged */
	assert_int_not_equal(virtio_pci_caps_parse(&c, cfg, bars), VIRTIO_PCI_CAP_OK);
	cfg[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	for (unsigned at = 0; at < PCI_CONFIG_SPACE; at++) { /* any pointer, into any bytes */
		make_config(cfg, good, 4);
		memset(cfg + 0xa0, (int)at, 0x60);
		cfg[0x40 + 72 + 1] = (uint8_t)at;
		(void)virtio_pci_caps_parse(&c, cfg, bars);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capabilities_of_a_good_device),
		cmocka_unit_test(capabilities_that_cannot_be_used),
		cmocka_unit_test(shared_memory_is_found),
		cmocka_unit_test(first_usable_capability_counts),
		cmocka_unit_test(capability_lists_that_do_not_end),
	};

	return cmocka_run_group_tests_name("virtio_pci_cap", tests, NULL, NULL);
}
