/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio_pci_cap.h"

#include "proto/vsock/vsock_device.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Bytes of struct virtio_pci_common_cfg that every modern device has: up to queue_device. */
#define COMMON_LEN ((uint32_t)sizeof(struct virtio_pci_common_cfg))
#define NOTIFY_LEN 2u
#define ISR_LEN	   1u
#define DEVICE_LEN 8u /* guest_cid (VIRTIO 1.2, 5.10.4) */
#define SHM_ID_AT  5u /* the id of a shared memory region in its capability; Linux: padding */
#define SHM_PAGE   4096u

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool usable(const struct virtio_pci_area *a, uint32_t least, uint32_t align,
		   const uint64_t bar_size[PCI_BARS])
{
	return a->bar < PCI_BARS && a->length >= least && a->offset % align == 0 &&
	       (uint64_t)a->offset + a->length <= bar_size[a->bar];
}

/* Stores @a in @slot if that is empty and @a is usable. True: it was stored. */
static bool take(struct virtio_pci_area *slot, const struct virtio_pci_area *a, uint32_t least,
		 uint32_t align, const uint64_t bar_size[PCI_BARS])
{
	if (slot->length || !usable(a, least, align, bar_size))
		return false;
	*slot = *a;
	return true;
}

static void take_shm(struct virtio_pci_caps *caps, const uint8_t *cap, uint32_t room,
		     const uint64_t bar_size[PCI_BARS])
{
	struct virtio_pci_shm s = {.bar = cap[offsetof(struct virtio_pci_cap, bar)]};

	if (room < sizeof(struct virtio_pci_cap64) || cap[SHM_ID_AT] != VSOCK_SHM_ID ||
	    s.bar >= PCI_BARS || caps->shm.length)
		return;
	s.offset = get32(cap + offsetof(struct virtio_pci_cap, offset)) |
		   (uint64_t)get32(cap + offsetof(struct virtio_pci_cap64, offset_hi)) << 32;
	s.length = get32(cap + offsetof(struct virtio_pci_cap, length)) |
		   (uint64_t)get32(cap + offsetof(struct virtio_pci_cap64, length_hi)) << 32;
	if ((s.offset | s.length) % SHM_PAGE || s.length > bar_size[s.bar] ||
	    s.offset > bar_size[s.bar] - s.length)
		return;
	caps->shm = s;
}

static void take_cap(struct virtio_pci_caps *caps, const uint8_t *cap, uint32_t room,
		     const uint64_t bar_size[PCI_BARS])
{
	const struct virtio_pci_area a = {
		.bar = cap[offsetof(struct virtio_pci_cap, bar)],
		.offset = get32(cap + offsetof(struct virtio_pci_cap, offset)),
		.length = get32(cap + offsetof(struct virtio_pci_cap, length)),
	};

	switch (cap[offsetof(struct virtio_pci_cap, cfg_type)]) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		(void)take(&caps->common, &a, COMMON_LEN, 4, bar_size);
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		if (room >= sizeof(struct virtio_pci_notify_cap) &&
		    take(&caps->notify, &a, NOTIFY_LEN, 2, bar_size))
			caps->notify_multiplier = get32(cap + offsetof(struct virtio_pci_notify_cap,
								       notify_off_multiplier));
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		(void)take(&caps->isr, &a, ISR_LEN, 1, bar_size);
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		(void)take(&caps->device, &a, DEVICE_LEN, 4, bar_size);
		break;
	case VIRTIO_PCI_CAP_SHARED_MEMORY_CFG:
		take_shm(caps, cap, room, bar_size);
		break;
	default: /* another way to the configuration, or of a later specification */
		break;
	}
}

enum virtio_pci_cap_fault virtio_pci_caps_parse(struct virtio_pci_caps *caps,
						const uint8_t cfg[PCI_CONFIG_SPACE],
						const uint64_t bar_size[PCI_BARS])
{
	unsigned left = PCI_CONFIG_SPACE / 4, at; /* more steps than that are a loop */
	bool any = false;

	memset(caps, 0, sizeof(*caps));
	if (!(cfg[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return VIRTIO_PCI_CAP_NONE;
	for (at = cfg[PCI_CAPABILITY_LIST] & ~3u; at >= PCI_STD_HEADER_SIZEOF && left;
	     at = cfg[at + PCI_CAP_LIST_NEXT] & ~3u, left--) {
		uint32_t room = PCI_CONFIG_SPACE - at, len = cfg[at + PCI_CAP_FLAGS];

		if (cfg[at + PCI_CAP_LIST_ID] != PCI_CAP_ID_VNDR)
			continue;
		if (len < room)
			room = len;
		if (room < sizeof(struct virtio_pci_cap))
			continue;
		any = true;
		take_cap(caps, cfg + at, room, bar_size);
	}
	if (!any)
		return VIRTIO_PCI_CAP_NONE;
	if (!caps->common.length)
		return VIRTIO_PCI_CAP_NO_COMMON;
	if (!caps->notify.length)
		return VIRTIO_PCI_CAP_NO_NOTIFY;
	if (!caps->isr.length)
		return VIRTIO_PCI_CAP_NO_ISR;
	return caps->device.length ? VIRTIO_PCI_CAP_OK : VIRTIO_PCI_CAP_NO_DEVICE;
}

const char *virtio_pci_cap_text(enum virtio_pci_cap_fault fault)
{
	static const char *const text[] = {
		[VIRTIO_PCI_CAP_OK] = "no fault",
		[VIRTIO_PCI_CAP_NONE] = "no virtio capability: a legacy device",
		[VIRTIO_PCI_CAP_NO_COMMON] = "no common configuration structure",
		[VIRTIO_PCI_CAP_NO_NOTIFY] = "no doorbell (notify) structure",
		[VIRTIO_PCI_CAP_NO_ISR] = "no interrupt status (ISR) structure",
		[VIRTIO_PCI_CAP_NO_DEVICE] = "no vsock configuration structure",
	};

	return (unsigned)fault < sizeof(text) / sizeof(text[0]) ? text[fault] : "unknown fault";
}
