/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How far used_idx runs before the parked used_event is moved along; see virtq_look(). */
#define PARK_REFRESH 0x4000u

static size_t align_up(size_t n)
{
	return (n + VIRTQ_ALIGN - 1) & ~(size_t)(VIRTQ_ALIGN - 1);
}

static size_t avail_offset(uint32_t size)
{
	return align_up(sizeof(struct vring_desc) * size);
}

static size_t used_offset(uint32_t size)
{
	/* flags, idx, ring, used_event */
	return avail_offset(size) + align_up(2 * sizeof(uint16_t) + sizeof(uint16_t) * (size + 1));
}

size_t virtq_bytes(uint32_t size)
{
	/* flags, idx, ring, avail_event */
	return used_offset(size) +
	       align_up(2 * sizeof(uint16_t) + sizeof(struct vring_used_elem) * size +
			sizeof(uint16_t));
}

int virtq_init(struct virtq *vq, void *mem, uint32_t size)
{
	uint8_t *m = mem;

	memset(vq, 0, sizeof(*vq));
	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)))
		return -EINVAL;
	vq->buf = calloc(size, sizeof(*vq->buf));
	vq->slot = calloc(size, sizeof(*vq->slot));
	if (!vq->buf || !vq->slot) {
		virtq_fini(vq);
		return -ENOMEM;
	}
	vq->desc = (struct vring_desc *)m;
	vq->avail = (struct vring_avail *)(m + avail_offset(size));
	vq->used = (struct vring_used *)(m + used_offset(size));
	vq->size = (uint16_t)size;
	vq->mask = (uint16_t)(size - 1);
	virtq_reset(vq, false);
	return 0;
}

void virtq_fini(struct virtq *vq)
{
	free(vq->buf);
	free(vq->slot);
	vq->buf = NULL;
	vq->slot = NULL;
}

void virtq_reset(struct virtq *vq, bool event_idx)
{
	memset(vq->desc, 0, virtq_bytes(vq->size));
	memset(vq->buf, 0, vq->size * sizeof(*vq->buf));
	memset(vq->slot, 0, vq->size * sizeof(*vq->slot));
	vq->avail_idx = vq->published = 0;
	vq->used_idx = vq->used_seen = 0;
	vq->used_event = 0;
	vq->event_idx = event_idx;
	vq->armed = true; /* zeroed memory asks for an interrupt at the first entry */
	vq->fault = VIRTQ_OK;
	virtq_disarm(vq);
}

void virtq_set_desc(struct virtq *vq, uint16_t id, struct iova addr, uint32_t len, uint16_t flags)
{
	const struct vring_desc d = {.addr = addr.v, .len = len, .flags = flags};

	/* Not visible to the device before a publish. */
	memcpy(&vq->desc[id], &d, sizeof(d));
	vq->buf[id] = len;
}

const char *virtq_fault_name(unsigned fault)
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

/* Where the device shall notify: a used_event, or (without EVENT_IDX) avail->flags. */
void virtq_notify_at(struct virtq *vq, uint16_t event)
{
	if (vq->used_event == event)
		return;
	vq->used_event = event;
	if (vq->event_idx)
		shm_store16(virtq_used_event(vq), event);
	else
		shm_store16(&vq->avail->flags, event);
}

uint16_t virtq_look(struct virtq *vq)
{
	uint16_t idx, n;

	if (vq->fault)
		return 0;
	idx = shm_load_acquire16(&vq->used->idx); /* barrier pair [B] */
	n = (uint16_t)(idx - vq->used_idx);
	/* Only what was published can come back, not what is merely posted. */
	if (n > (uint16_t)(vq->published - vq->used_idx)) {
		vq->fault = VIRTQ_BAD_INDEX;
		return 0;
	}
	vq->used_seen = idx;
	/*
	 * A parked used_event lies just behind us, so the device meets it again after 2^16
	 * entries. Moved along in time, it never does.
	 */
	if (vq->event_idx && !vq->armed &&
	    (uint16_t)(vq->used_idx - vq->used_event) >= PARK_REFRESH)
		virtq_notify_at(vq, (uint16_t)(vq->used_idx - 1));
	return n;
}

bool virtq_arm(struct virtq *vq)
{
	if (vq->fault || vq->used_seen != vq->used_idx)
		return false;
	vq->armed = true;
	virtq_notify_at(vq, vq->event_idx ? vq->used_idx : 0);
	shm_mb(); /* barrier pair [C] */
	if (shm_load16(&vq->used->idx) == vq->used_idx)
		return true;
	virtq_disarm(vq);
	return false;
}

void virtq_disarm(struct virtq *vq)
{
	if (!vq->armed)
		return;
	vq->armed = false;
	virtq_notify_at(vq,
			vq->event_idx ? (uint16_t)(vq->used_idx - 1) : VRING_AVAIL_F_NO_INTERRUPT);
}
