/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The raw driver in a VM: the virtio-vsock PCI device HOSTILE_BDF through VFIO, in the place of the
 * vhost-user frontend of raw_msg.c. A session begins with a reset of the device and ends with one.
 *
 * The device goes past the VM's IOMMU (no VIRTIO_F_ACCESS_PLATFORM), so addresses are physical, and
 * what a case offers reaches the backend as it is. The VM's memory is two regions that are adjacent
 * for the guest and lie apart on the host; HOSTILE_BORDER says where they meet, HOSTILE_END where
 * the second ends. With HOSTILE_WHOLE the device hands all its virtqueues over and insists on the
 * IOMMU; then addresses are IOVAs, and only cases that ask for the event virtqueue make sense.
 */
#include "pci/dma_mem.h"
#include "pci/virtio_pci.h"
#include "raw_layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EDGE 0x1000u /* of a region, on both sides: nothing of ours lies there in A */
/* Without those that are vhost-user's (30), or not passed on by QEMU, which has no STREAM (0). */
#define FEATURES	(RAW_FEATURES & ~(1ull << 30 | 1))
#define ACCESS_PLATFORM (1ull << 33)
#define HOLE		0x60000000ull /* below 4 GiB, and no memory in a VM of less than that */

static struct pci_dev pci;
static struct virtio_pci virtio;
static struct dma_mem dma;
static struct guest_part memory = {.size = RAW_A_SIZE};

uint64_t raw_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void raw_init(struct raw *r)
{
	memset(r, 0, sizeof(*r));
}

static uint64_t setting(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : 0;
}

static bool failed(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", getenv("HOSTILE_BDF"), what, zv_error_text());
	return false;
}

/* Opens the device the first time. */
static bool have_device(void)
{
	const char *bdf = getenv("HOSTILE_BDF");

	if (virtio.pci)
		return true;
	if (!bdf || !setting("HOSTILE_BORDER") || !setting("HOSTILE_END")) {
		fputs("HOSTILE_BDF, HOSTILE_BORDER or HOSTILE_END is not set\n", stderr);
		return false;
	}
	return (pci_dev_open(&pci, &pci_vfio_access, bdf) == 0 &&
		dma_mem_create(&dma, &pci, &memory, 1, !setting("HOSTILE_WHOLE")) == 0 &&
		virtio_pci_init(&virtio, &pci) == 0) ||
	       failed("cannot open it");
}

static void place(struct raw *r)
{
	const struct raw_window windows[RAW_WINDOWS] = {
		{RAW_A, RAW_A_SIZE - EDGE, memory.at.v},
		{RAW_B - EDGE, 2 * EDGE, setting("HOSTILE_BORDER") - EDGE},
		{RAW_B + RAW_B_SIZE - EDGE, 2 * EDGE, setting("HOSTILE_END") - EDGE},
		{RAW_HOLE, EDGE, HOLE},
	};

	memcpy(r->window, windows, sizeof(windows));
	r->mem = memory.addr;
	for (unsigned i = 0; i < RAW_RINGS; i++) {
		struct raw_ring *g = &r->ring[i];

		g->desc = raw_at(r, i * 0x4000u);
		g->avail = raw_at(r, i * 0x4000u + 0x1000);
		g->used = raw_at(r, i * 0x4000u + 0x2000);
		g->doorbell = virtio_pci_doorbell(&virtio, (uint16_t)i);
	}
}

static struct iova at_of(const struct raw *r, const void *p)
{
	return iova_add(memory.at, (uint64_t)((const uint8_t *)p - r->mem));
}

static bool start_ring(struct raw *r, unsigned i)
{
	const struct raw_ring *g = &r->ring[i];
	const struct virtio_pci_queue q = {.index = (uint16_t)i,
					   .size = i == RAW_EVT ? 16 : RAW_N,
					   .vector = VIRTIO_PCI_NO_VECTOR,
					   .doorbell = g->doorbell,
					   .desc = at_of(r, g->desc),
					   .driver = at_of(r, g->avail),
					   .device = at_of(r, g->used)};

	return virtio_pci_queue_start(&virtio, &q) == 0;
}

bool raw_open(struct raw *r, const char *path, uint64_t cid, unsigned flags)
{
	uint64_t features = FEATURES | raw_layout_of(flags)->feature, offered, ours;

	(void)path;
	raw_init(r);
	r->cid = cid;
	r->flags = flags;
	r->layout = raw_layout_of(flags);
	r->next_port = 20000;
	if (setting("HOSTILE_WHOLE"))
		features |= ACCESS_PLATFORM;
	if (flags & RAW_NO_IND)
		features &= ~(1ull << 28);
	if (!have_device() || virtio_pci_reset(&virtio) || pci_dev_start_dma(&pci))
		return failed("cannot reset it");
	offered = virtio_pci_features(&virtio);
	if ((offered & features) != features) {
		fprintf(stderr, "the device offers 0x%llx only\n", (unsigned long long)offered);
		return false;
	}
	place(r);
	raw_rings_reset(r);
	if (virtio_pci_features_set(&virtio, features) || virtio_pci_cid(&virtio, &ours) ||
	    ours != cid || !start_ring(r, RAW_RX) || !start_ring(r, RAW_TX) ||
	    !start_ring(r, RAW_EVT))
		return failed("cannot start it");
	virtio_pci_driver_ok(&virtio);
	raw_kick(r, RAW_RX);
	return true;
}

void raw_close(struct raw *r)
{
	if (r->mem)
		(void)virtio_pci_stop(&virtio);
	r->mem = NULL;
}
