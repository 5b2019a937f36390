/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio_pci.h"

#include "transport.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <time.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "registers are little endian");

#define RESET_MS    1000u /* QEMU resets at once; hardware may take its time */
#define CID_TRIES   100u
#define STATUS_GONE 0xffu

static int err_text(const struct virtio_pci *v, int err, const char *what)
{
	return zv_err(err, "%s:%s: %s", v->pci->access->scheme, v->pci->info.bdf, what);
}

static int map_area(struct virtio_pci *v, const struct virtio_pci_area *a, uint8_t **out)
{
	int ret = pci_dev_bar(v->pci, a->bar);

	if (ret == 0)
		*out = v->pci->bar[a->bar].addr + a->offset;
	return ret;
}

int virtio_pci_init(struct virtio_pci *v, struct pci_dev *pci)
{
	uint8_t cfg[PCI_CONFIG_SPACE], *common = NULL, *isr = NULL, *config = NULL;
	uint64_t size[PCI_BARS];
	enum virtio_pci_cap_fault fault;
	int ret;

	*v = (struct virtio_pci){.pci = pci};
	for (unsigned i = 0; i < PCI_BARS; i++)
		size[i] = pci->bar[i].size;
	ret = pci->access->config(pci, false, 0, cfg, sizeof(cfg));
	if (ret)
		return err_text(v, ret, "cannot read its configuration space");
	fault = virtio_pci_caps_parse(&v->caps, cfg, size);
	if (fault)
		return zv_err(-EPROTONOSUPPORT,
			      "%s:%s: %s; this driver needs a modern virtio device (QEMU: "
			      "disable-legacy=on)",
			      pci->access->scheme, pci->info.bdf, virtio_pci_cap_text(fault));
	ret = map_area(v, &v->caps.common, &common);
	if (ret == 0)
		ret = map_area(v, &v->caps.notify, &v->notify);
	if (ret == 0)
		ret = map_area(v, &v->caps.isr, &isr);
	if (ret == 0)
		ret = map_area(v, &v->caps.device, &config);
	v->common = (volatile struct virtio_pci_common_cfg *)(void *)common;
	v->isr = isr;
	v->config = config;
	return ret;
}

static void add_status(struct virtio_pci *v, uint8_t bits)
{
	v->common->device_status = v->common->device_status | bits;
}

int virtio_pci_stop(struct virtio_pci *v)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	v->common->device_status = 0;
	for (unsigned t = 0;; t++) {
		uint8_t status = v->common->device_status;

		if (status == 0)
			return 0;
		if (status == STATUS_GONE)
			return -ENODEV;
		if (t == RESET_MS)
			return -ETIMEDOUT;
		(void)nanosleep(&ms, NULL);
	}
}

int virtio_pci_reset(struct virtio_pci *v)
{
	int ret = virtio_pci_stop(v);

	if (ret)
		return err_text(v, ret,
				ret == -ENODEV ? "the device has been unplugged"
					       : "the device does not finish its reset");
	add_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(v, VIRTIO_CONFIG_S_DRIVER);
	return 0;
}

uint64_t virtio_pci_features(struct virtio_pci *v)
{
	uint64_t low, high;

	v->common->device_feature_select = 0;
	low = v->common->device_feature;
	v->common->device_feature_select = 1;
	high = v->common->device_feature;
	return low | high << 32;
}

int virtio_pci_features_set(struct virtio_pci *v, uint64_t features)
{
	v->common->guest_feature_select = 0;
	v->common->guest_feature = (uint32_t)features;
	v->common->guest_feature_select = 1;
	v->common->guest_feature = (uint32_t)(features >> 32);
	add_status(v, VIRTIO_CONFIG_S_FEATURES_OK);
	if (v->common->device_status & VIRTIO_CONFIG_S_FEATURES_OK)
		return 0;
	return zv_err(-EPROTONOSUPPORT, "%s:%s: the device refuses the features 0x%llx",
		      v->pci->access->scheme, v->pci->info.bdf, (unsigned long long)features);
}

unsigned virtio_pci_queues(struct virtio_pci *v)
{
	return v->common->num_queues;
}

unsigned virtio_pci_queue_max(struct virtio_pci *v, uint16_t index)
{
	v->common->queue_select = index;
	return v->common->queue_size;
}

static void set64(volatile __le32 *low, volatile __le32 *high, struct iova a)
{
	*low = (uint32_t)a.v;
	*high = (uint32_t)(a.v >> 32);
}

volatile uint16_t *virtio_pci_doorbell(struct virtio_pci *v, uint16_t index)
{
	uint64_t at;

	v->common->queue_select = index;
	at = (uint64_t)v->common->queue_notify_off * v->caps.notify_multiplier;
	if (at % sizeof(uint16_t) || at + sizeof(uint16_t) > v->caps.notify.length)
		return NULL;
	return (volatile uint16_t *)(void *)(v->notify + at);
}

int virtio_pci_queue_start(struct virtio_pci *v, const struct virtio_pci_queue *q)
{
	volatile struct virtio_pci_common_cfg *c = v->common;

	c->queue_select = q->index;
	/* Rejects a device that offers less than before, or that keeps using an old ring. */
	if (c->queue_size < q->size || c->queue_enable)
		return zv_err(-EPROTO, "%s:%s: the device has no virtqueue %u of %u entries",
			      v->pci->access->scheme, v->pci->info.bdf, q->index, q->size);
	c->queue_size = q->size;
	set64(&c->queue_desc_lo, &c->queue_desc_hi, q->desc);
	set64(&c->queue_avail_lo, &c->queue_avail_hi, q->driver);
	set64(&c->queue_used_lo, &c->queue_used_hi, q->device);
	c->queue_msix_vector = q->vector;
	if (c->queue_msix_vector != q->vector)
		return zv_err(-ENOSPC, "%s:%s: the device has no interrupt vector for virtqueue %u",
			      v->pci->access->scheme, v->pci->info.bdf, q->index);
	/* The owner rings the doorbell address it was given first, or none if it was given none. */
	if (!q->doorbell || virtio_pci_doorbell(v, q->index) != q->doorbell)
		return zv_err(-EPROTO,
			      "%s:%s: the doorbell of virtqueue %u is out of bounds, or has moved",
			      v->pci->access->scheme, v->pci->info.bdf, q->index);
	c->queue_enable = 1;
	return 0;
}

int virtio_pci_config_vector(struct virtio_pci *v, uint16_t vector)
{
	v->common->msix_config = vector;
	return v->common->msix_config == vector ? 0 : -ENOSPC;
}

void virtio_pci_driver_ok(struct virtio_pci *v)
{
	add_status(v, VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_pci_failed(struct virtio_pci *v)
{
	add_status(v, VIRTIO_CONFIG_S_FAILED);
}

int virtio_pci_check(struct virtio_pci *v)
{
	uint8_t status = v->common->device_status;

	if (status == STATUS_GONE)
		return -ENODEV;
	return status & VIRTIO_CONFIG_S_NEEDS_RESET || !(status & VIRTIO_CONFIG_S_DRIVER_OK) ? -EIO
											     : 0;
}

uint8_t virtio_pci_isr(struct virtio_pci *v)
{
	return *v->isr;
}

int virtio_pci_cid(struct virtio_pci *v, uint64_t *cid)
{
	const volatile uint32_t *word = (const volatile uint32_t *)(volatile void *)v->config;

	for (unsigned i = 0; i < CID_TRIES; i++) {
		uint8_t before = v->common->config_generation;
		uint64_t low = word[0], high = word[1];

		if (v->common->config_generation == before) {
			*cid = low | high << 32;
			return 0;
		}
	}
	return err_text(v, -ETIMEDOUT, "its configuration does not stop changing");
}
