/* SPDX-License-Identifier: BSD-3-Clause */
/* Translations that a frontend tells (IOTLB_MSG), and the rings' own addresses by them. */
#include "vu_device.h"

#include <errno.h>

int vu_translate_area(struct vu_dev *d, struct iova a, bool write, uint64_t len, void **out)
{
	uint64_t pieces = len / GUEST_IOMMU_PAGE + 2; /* more than pages: it would take for ever */
	uint8_t *end = NULL;

	*out = NULL;
	while (len) {
		uint64_t piece = len;
		struct uva uva;
		int ret = d->iommu->translate(d->iommu, a, write, &piece, &uva);
		uint8_t *va = ret ? NULL : guest_mem_uva(d->rings, uva, piece);

		if (ret)
			return ret;
		if (!va || (end && va != end) || !pieces--)
			return -EFAULT;
		*out = *out ? *out : va;
		end = va + piece;
		a = iova_add(a, piece);
		len -= piece;
	}
	return 0;
}

static void stop_owners(struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++)
		vhost_owner_stop(&d->queues[i]->tq.qs);
}

static void owners_go_on(struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++) {
		quiesce_resume(&d->queues[i]->tq.qs);
		vhost_pair_wake(d->queues[i]);
	}
}

void vu_forget_translations(struct vu_dev *d)
{
	if (d->iommu->ops->is_empty(d->iommu))
		return;
	stop_owners(d);
	d->iommu->ops->flush(d->iommu);
	owners_go_on(d);
}

int vu_translation(struct vu_dev *d, const struct vu_iotlb *t)
{
	int ret;

	if (!(d->terms.features & VSOCK_FEATURE_ACCESS_PLATFORM)) {
		zv_log_limited(
			&d->log, ZV_LOG_WARN,
			"%s: a translation of addresses, but ACCESS_PLATFORM is not negotiated",
			d->path);
		return -EINVAL;
	}
	stop_owners(d);
	ret = d->iommu->ops->message(d->iommu, t);
	owners_go_on(d);
	d->iommu->ops->ask_again(d->iommu);
	if (ret < 0) {
		zv_log_limited(&d->log, ZV_LOG_ERR, "%s: no memory for translations", d->path);
		return ret;
	}
	vu_start_again(d);
	return 0;
}
