/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Driver side of a split virtqueue (VIRTIO 1.2, section 2.7). Plain C: no system call.
 *
 * Theory of operation
 * -------------------
 * Descriptor i belongs to buffer i for ever, and one descriptor is one whole buffer. So there is
 * no descriptor free list and no chain; a receive descriptor is written once and its cache line
 * stays shared between the two CPUs; of a transmit descriptor only len ever changes, and it is
 * stored only when it differs from the last one. The same goes for the entries of the avail ring:
 * buffers that circulate in FIFO order come round to the same slots, and then a message costs no
 * store to the descriptor table or the avail ring at all, only the avail index.
 *
 * Everything the driver needs to know is private: which buffers are in flight, how long they are,
 * what each slot of the avail ring holds, both indices. Shared memory is written, and of what the
 * device writes (used->idx, used entries, avail_event, used->flags) each word is loaded once and
 * checked against private state. A device that names a buffer it does not have, writes more than
 * fits or moves its index past what was posted breaks the ring: virtq.fault says how, and from
 * then on nothing is taken from the ring.
 *
 * Barrier pairs (docs/memory-ordering.md):
 *   [A] avail->idx  driver: store ring, len, buffer; release idx | device: acquire idx, load them
 *   [B] used->idx   device: store entries; release idx | driver: acquire idx, load them
 *   [C] kick        driver: store avail->idx; mb; load avail_event |
 *                    device: store avail_event; mb; load avail->idx
 *   [C] interrupt   driver: store used_event; mb; load used->idx |
 *                    device: store used->idx; mb; load used_event
 *
 * One thread at a time uses a ring; the owner of the queue, or a control thread that has stopped
 * it.
 */
#ifndef ZV_VIRTQUEUE_H
#define ZV_VIRTQUEUE_H

#include "proto/vm_addr.h"
#include "shm_access.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The rings are little endian. A big endian port would have to convert here and nowhere else. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "split rings are little endian");

#define VIRTQ_SIZE_MAX 32768u

/* Parts of a ring start this far apart: two lines, because prefetchers fetch lines in pairs. */
#define VIRTQ_ALIGN (2 * SHM_CACHE_LINE)

enum virtq_fault {
	VIRTQ_OK = 0,
	VIRTQ_BAD_INDEX,  /* used->idx moved by more than is in flight */
	VIRTQ_BAD_ID,	  /* used id outside the ring */
	VIRTQ_NOT_POSTED, /* used id of a buffer that the device does not have */
	VIRTQ_BAD_LEN,	  /* more bytes written than the buffer has */
};

#define VIRTQ_IN_FLIGHT (1u << 31)

struct virtq {
	/* shared with the device */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* private */
	uint32_t *buf;	/* per buffer: desc.len as last stored, and VIRTQ_IN_FLIGHT */
	uint16_t *slot; /* per slot: avail->ring as last stored */
	uint16_t size;
	uint16_t mask;
	uint16_t avail_idx;  /* next slot to fill */
	uint16_t published;  /* avail->idx as last stored */
	uint16_t used_idx;   /* next used entry to take */
	uint16_t used_seen;  /* used->idx as last loaded and checked */
	uint16_t used_event; /* used_event (or avail->flags without EVENT_IDX) as last stored */
	bool event_idx;
	bool armed;
	uint8_t fault; /* enum virtq_fault, sticky until virtq_reset() */
};

/* Bytes of shared memory that a ring of @size entries takes; a multiple of VIRTQ_ALIGN. */
size_t virtq_bytes(uint32_t size);

/*
 * Lays a ring of @size entries (a power of two, 1..32768) into @mem, which is VIRTQ_ALIGN aligned
 * and virtq_bytes() long, and resets it. 0, -EINVAL or -ENOMEM (private state).
 */
int virtq_init(struct virtq *vq, void *mem, uint32_t size);
void virtq_fini(struct virtq *vq);

/*
 * A fresh ring: shared memory zeroed, nothing in flight, no fault, notifications off. The device
 * must not be using it.
 */
void virtq_reset(struct virtq *vq, bool event_idx);

/* Fills descriptor @id: where its buffer is, its length, VRING_DESC_F_*. */
void virtq_set_desc(struct virtq *vq, uint16_t id, struct iova addr, uint32_t len, uint16_t flags);

/* For logs. */
const char *virtq_fault_name(unsigned fault);

static inline uint16_t *virtq_used_event(const struct virtq *vq)
{
	return &vq->avail->ring[vq->size];
}

static inline uint16_t *virtq_avail_event(const struct virtq *vq)
{
	return (uint16_t *)&vq->used->ring[vq->size];
}

/* Buffers that the device has, or will have with the next publish. */
static inline uint16_t virtq_in_flight(const struct virtq *vq)
{
	return (uint16_t)(vq->avail_idx - vq->used_idx);
}

static inline bool virtq_has(const struct virtq *vq, uint16_t id)
{
	return vq->buf[id] & VIRTQ_IN_FLIGHT;
}

/* Buffers posted since the last publish. */
static inline uint16_t virtq_pending(const struct virtq *vq)
{
	return (uint16_t)(vq->avail_idx - vq->published);
}

/* Queues buffer @id, which is not in flight, with @len bytes. Seen at the next virtq_publish(). */
static inline void virtq_post(struct virtq *vq, uint16_t id, uint32_t len)
{
	uint16_t s = vq->avail_idx++ & vq->mask;

	if (vq->buf[id] != len)
		shm_store32(&vq->desc[id].len, len);
	vq->buf[id] = len | VIRTQ_IN_FLIGHT;
	if (vq->slot[s] != id) {
		vq->slot[s] = id;
		shm_store16(&vq->avail->ring[s], id);
	}
}

/* Hands what was posted to the device. True: it wants a kick. */
static inline bool virtq_publish(struct virtq *vq)
{
	uint16_t old = vq->published;

	vq->published = vq->avail_idx;
	shm_store_release16(&vq->avail->idx, vq->avail_idx); /* barrier pair [A] */
	shm_mb();					     /* barrier pair [C] */
	if (vq->event_idx)
		return vring_need_event(shm_load16(virtq_avail_event(vq)), vq->published, old);
	return !(shm_load16(&vq->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Slow halves of the functions below. */
uint16_t virtq_look(struct virtq *vq);
void virtq_notify_at(struct virtq *vq, uint16_t event);

/*
 * Entries that virtq_take() can give. The device's index is loaded only when what it was last seen
 * to have finished has been taken: a look at it costs a cache line that the device writes.
 */
static inline uint16_t virtq_ready(struct virtq *vq)
{
	uint16_t n = (uint16_t)(vq->used_seen - vq->used_idx);

	return n ? n : virtq_look(vq);
}

/*
 * Takes one of the virtq_ready() entries. @writable: the device writes into these buffers and *len
 * is checked against the buffer; otherwise *len means nothing. False: the ring is broken now.
 */
static inline bool virtq_take(struct virtq *vq, bool writable, uint16_t *id, uint32_t *len)
{
	const struct vring_used_elem *e = &vq->used->ring[vq->used_idx & vq->mask];
	uint32_t i = shm_load32(&e->id), n = shm_load32(&e->len), b;

	if (__builtin_expect(i >= vq->size, 0)) {
		vq->fault = VIRTQ_BAD_ID;
		return false;
	}
	b = vq->buf[i];
	if (__builtin_expect(!(b & VIRTQ_IN_FLIGHT), 0)) {
		vq->fault = VIRTQ_NOT_POSTED;
		return false;
	}
	b &= ~VIRTQ_IN_FLIGHT;
	if (__builtin_expect(writable && n > b, 0)) {
		vq->fault = VIRTQ_BAD_LEN;
		return false;
	}
	vq->buf[i] = b;
	vq->used_idx++;
	*id = (uint16_t)i;
	*len = n;
	return true;
}

/*
 * Asks for an interrupt at the next used entry. True: armed, and there was none yet. False: there
 * is one (or the ring is broken); the ring is not armed.
 */
bool virtq_arm(struct virtq *vq);

/* No interrupts, please. */
void virtq_disarm(struct virtq *vq);

#endif
