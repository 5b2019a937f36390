/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int virtq_init(struct virtq *vq, void *mem, uint32_t size)
{
	memset(vq, 0, sizeof(*vq));
	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return -EINVAL;
	vq->buf = calloc(size, sizeof(*vq->buf));
	vq->slot = calloc(size, sizeof(*vq->slot));
	vq->copy = calloc(size, sizeof(*vq->copy));
	if (!vq->buf || !vq->slot || !vq->copy) {
		virtq_fini(vq);
		return -ENOMEM;
	}
	vq->mem = mem;
	vq->size = (uint16_t)size;
	vq->mask = (uint16_t)(size - 1);
	return 0;
}

void virtq_fini(struct virtq *vq)
{
	free(vq->buf);
	free(vq->slot);
	free(vq->copy);
	vq->copy = NULL;
	vq->buf = NULL;
	vq->slot = NULL;
}

void virtq_clear(struct virtq *vq, size_t bytes, bool event_idx)
{
	memset(vq->mem, 0, bytes);
	memset(vq->buf, 0, vq->size * sizeof(*vq->buf));
	memset(vq->slot, 0, vq->size * sizeof(*vq->slot));
	memset(vq->priv, 0, sizeof(vq->priv));
	vq->posted = vq->published = vq->taken = 0;
	vq->event_idx = event_idx;
	vq->armed = vq->write = false;
	vq->fault = VIRTQ_OK;
}

const char *virtq_fault_name(enum virtq_fault fault)
{
	static const char *const name[] = {
		[VIRTQ_OK] = "no fault",
		[VIRTQ_BAD_INDEX] = "used index beyond what was posted",
		[VIRTQ_BAD_ID] = "used id outside the ring",
		[VIRTQ_NOT_POSTED] = "used id that is not in flight",
		[VIRTQ_BAD_LEN] = "used length beyond the buffer",
	};

	return fault < sizeof(name) / sizeof(name[0]) ? name[fault] : "unknown fault";
}
