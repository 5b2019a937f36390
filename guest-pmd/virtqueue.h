/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Driver side of a virtqueue: what all ring layouts have in common, and the interface of a layout.
 * Plain C: no system call.
 *
 * Theory of operation
 * -------------------
 * A virtqueue moves buffers: the driver posts them, the device uses them and gives them back.
 * Buffers are numbered from 0 to the size of the ring minus one, and one buffer is one descriptor;
 * so there is no descriptor free list and no chain. The addresses of the buffers are set once per
 * session (set_bufs); from message to message only the set of posted buffers and their lengths
 * change.
 *
 * The layout defines how this is written to memory: split or packed rings (VIRTIO 1.2, sections 2.7
 * and 2.8). A layout is one file, virtqueue_NAME.c, with one struct virtq_layout: its name, its
 * feature bit and its verbs. Code that moves packets (vsock_burst.h) uses rings by the verbs only.
 * They are called through a constant table that the compiler sees, in functions that are always
 * inlined; so they cost neither an indirect call nor a branch. Control threads call them through
 * the pointers.
 *
 * All state of the driver is private: which buffers are in flight, their lengths, which buffer is
 * at which ring position, all indices. Shared memory is only written; each word that the device
 * writes is loaded once and checked against private state. A device that names a buffer it does not
 * have, writes more than fits or claims to have used more than was posted breaks the ring:
 * virtq.fault says how, and from then on nothing is taken from the ring.
 *
 * Barrier pairs (docs/memory-ordering.md):
 *   [A] posting     driver: store ring, len, buffer; publish | device: see it, load them
 *   [B] using       device: store entries; publish | driver: see it, load them
 *   [C] kick        driver: publish; mb; load the device's wish | device: store wish; mb; look
 *   [C] interrupt   driver: store its wish; mb; look | device: publish; mb; load wish
 *
 * A ring is used by one thread at a time: the owner of the queue, or a control thread that has
 * stopped it.
 */
#ifndef ZV_VIRTQUEUE_H
#define ZV_VIRTQUEUE_H

#include "proto/vm_addr.h"
#include "shm_access.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The rings are little endian. A big endian port would have to convert in the layouts' files. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little endian");

#define VIRTQ_SIZE_MAX 32768u

/* Alignment of the parts of a ring: two cache lines, because prefetchers fetch lines in pairs. */
#define VIRTQ_ALIGN (2 * SHM_CACHE_LINE)

enum virtq_fault {
	VIRTQ_OK = 0,
	VIRTQ_BAD_INDEX,  /* more used than in flight */
	VIRTQ_BAD_ID,	  /* used id outside the ring */
	VIRTQ_NOT_POSTED, /* used id of a buffer that the device does not have */
	VIRTQ_BAD_LEN,	  /* more bytes written than the buffer has */
};

#define VIRTQ_IN_FLIGHT (1u << 31)
#define VIRTQ_TABLE	(1u << 30) /* posted as a table of indirect descriptors */
#define VIRTQ_LEN	(VIRTQ_TABLE - 1)

/* A piece of memory by its address for the device. */
struct virtq_piece {
	struct iova at;
	uint32_t len;
};

/*
 * A ring; private memory. The counters run freely, mod 2^16, from 0 at the reset. Apart from the
 * layouts' files, only the functions below access its fields.
 */
struct virtq {
	uint32_t *buf;	/* per buffer: its length as last posted, VIRTQ_IN_FLIGHT, VIRTQ_TABLE */
	uint16_t *slot; /* per ring position: the buffer last posted there */
	uint16_t size;
	uint16_t mask;
	uint16_t posted;    /* buffers */
	uint16_t published; /* of these, available to the device */
	uint16_t taken;	    /* of these, taken back */
	uint8_t fault;	    /* enum virtq_fault, sticky until the reset */
	bool event_idx;
	bool armed;
	bool write;	  /* the device writes into the buffers; for layouts that need it */
	uint64_t priv[4]; /* private struct of the layout; the first cache line ends here */
	void *mem;	  /* shared with the device; for reset() */
	uint64_t *copy;	  /* per ring position: copy kept by a layout */
};

_Static_assert(offsetof(struct virtq, mem) == SHM_CACHE_LINE, "a burst needs one line of it");

/* What a device is told about a ring (VIRTIO 1.2, section 2.6), as addresses in this process. */
struct virtq_areas {
	void *desc;   /* Descriptor Area: descriptor table, packed: the ring */
	void *driver; /* Driver Area: avail ring, packed: driver event suppression */
	void *device; /* Device Area: used ring, packed: device event suppression */
	uint32_t size;
	/*
	 * Where the device begins, as in VHOST_USER_SET_VRING_BASE: avail index; packed: both
	 * positions with their wrap counters.
	 */
	uint32_t base;
};

/* Buffers 0 to count - 1 of a ring: all of one size, at equal distances. */
struct virtq_bufs {
	struct iova addr; /* of the first */
	uint64_t stride;
	uint32_t len;
	uint16_t count;
	bool write; /* the device writes into them */
};

/* A layout. The verbs used by a burst are inline functions of the layout's file. */
struct virtq_layout {
	const char *name;
	uint64_t
		feature; /* the bit to negotiate, as a mask (proto/vsock/vsock_device.h); 0: none */

	/* Bytes of shared memory that a ring of @size entries takes; a multiple of VIRTQ_ALIGN. */
	size_t (*bytes)(uint32_t size);
	/*
	 * Makes a fresh ring of this layout in vq->mem: shared memory cleared, nothing in flight,
	 * no fault, notifications off. The device must not be using it. set_bufs must follow.
	 */
	void (*reset)(struct virtq *vq, bool event_idx);
	void (*set_bufs)(struct virtq *vq, const struct virtq_bufs *b);
	/* Gets the addresses that the device is told before it uses the ring. */
	void (*areas)(const struct virtq *vq, struct virtq_areas *a);

	/*
	 * Queues buffer @id, which is not in flight, with @len bytes. Visible after the next
	 * publish.
	 */
	void (*post)(struct virtq *vq, uint16_t id, uint32_t len);
	/*
	 * The same, but the device is to read the @n pieces at @piece instead of the buffer's
	 * memory: writes an indirect table to @table, 16 bytes per piece, whose address for the
	 * device is @at, and which must not change until the buffer is back. Needs
	 * VIRTIO_F_INDIRECT_DESC.
	 */
	void (*post_table)(struct virtq *vq, uint16_t id, void *table, struct iova at,
			   const struct virtq_piece *piece, unsigned n);
	/*
	 * To be called when that buffer is back: it uses its own memory again, whose address for
	 * the device is @own.
	 */
	void (*end_table)(struct virtq *vq, uint16_t id, struct iova own);
	/* Makes what was posted available to the device. True: it wants a kick. */
	bool (*publish)(struct virtq *vq);
	/*
	 * How many buffers take() can return now, @max at most. Reads memory that the device writes
	 * only when all that were seen before have been taken, because such a read costs a cache
	 * line.
	 */
	unsigned (*ready)(struct virtq *vq, unsigned max);
	/*
	 * Takes one of these. @write: the device writes into these buffers, and *len is checked
	 * against the buffer; otherwise *len has no meaning. False: the ring is broken, and nothing
	 * is ready any more.
	 */
	bool (*take)(struct virtq *vq, bool write, uint16_t *id, uint32_t *len);
	/*
	 * The buffer that the @nth take() from now returns, among those counted by ready(), if the
	 * device uses buffers in order.
	 */
	uint16_t (*likely)(const struct virtq *vq, unsigned nth);
	/*
	 * Whether the device has used more than @taken buffers since the reset. For a thread that
	 * does not take buffers itself, and may know an older count than virtq_taken(): the ring
	 * position of that buffer must not have been posted again. Any thread; one load of shared
	 * memory, without ordering: the caller must provide it.
	 */
	bool (*used_beyond)(const struct virtq *vq, uint16_t taken);

	/*
	 * Requests an interrupt at the next used buffer. True: armed, and there was none yet.
	 * False: there is one (or the ring is broken); the ring is not armed.
	 */
	bool (*arm)(struct virtq *vq);
	/* Disables interrupts. */
	void (*disarm)(struct virtq *vq);
};

/*
 * Prepares a ring of @size entries (a power of two, 1..32768) in @mem, which is VIRTQ_ALIGN aligned
 * and large enough for every layout that it will use; the first reset() makes it usable. 0, -EINVAL
 * or -ENOMEM (private state).
 */
int virtq_init(struct virtq *vq, void *mem, uint32_t size);
void virtq_fini(struct virtq *vq);

static inline uint32_t virtq_size(const struct virtq *vq)
{
	return vq->size;
}

static inline enum virtq_fault virtq_fault(const struct virtq *vq)
{
	return (enum virtq_fault)vq->fault;
}

/* For logs. */
const char *virtq_fault_name(enum virtq_fault fault);

/* Buffers that the device has, or gets at the next publish. */
static inline uint16_t virtq_in_flight(const struct virtq *vq)
{
	return (uint16_t)(vq->posted - vq->taken);
}

/* Buffers posted since the last publish. */
static inline uint16_t virtq_pending(const struct virtq *vq)
{
	return (uint16_t)(vq->posted - vq->published);
}

/* Buffers that the device has. */
static inline uint16_t virtq_with_device(const struct virtq *vq)
{
	return (uint16_t)(vq->published - vq->taken);
}

/* Buffers handed to the device since the reset. */
static inline uint16_t virtq_published(const struct virtq *vq)
{
	return vq->published;
}

/* Buffers that have come back since the reset: what used_beyond() compares with. */
static inline uint16_t virtq_taken(const struct virtq *vq)
{
	return vq->taken;
}

/* Buffer @id is in flight. */
static inline bool virtq_has(const struct virtq *vq, uint16_t id)
{
	return vq->buf[id] & VIRTQ_IN_FLIGHT;
}

/* Bytes with which buffer @id was last posted. */
static inline uint32_t virtq_len(const struct virtq *vq, uint16_t id)
{
	return vq->buf[id] & VIRTQ_LEN;
}

/* ---- for the layouts' files ---- */

/* The part of reset() that is the same for all. */
void virtq_clear(struct virtq *vq, size_t bytes, bool event_idx);

/* Records that buffer @id, which was not in flight, is posted with @len bytes. */
static inline void virtq_book_post(struct virtq *vq, uint16_t id, uint32_t len)
{
	vq->buf[id] = len | VIRTQ_IN_FLIGHT;
	vq->posted++;
}

/* Checks a used buffer as reported by the device, and records that it is back. False: a fault. */
static inline bool virtq_book_take(struct virtq *vq, bool write, uint32_t id, uint32_t len)
{
	uint32_t b;

	if (__builtin_expect(id >= vq->size, 0)) {
		vq->fault = VIRTQ_BAD_ID;
		return false;
	}
	b = vq->buf[id];
	if (__builtin_expect(!(b & VIRTQ_IN_FLIGHT), 0)) {
		vq->fault = VIRTQ_NOT_POSTED;
		return false;
	}
	b &= VIRTQ_LEN;
	if (__builtin_expect(write && len > b, 0)) {
		vq->fault = VIRTQ_BAD_LEN;
		return false;
	}
	vq->buf[id] = b;
	vq->taken++;
	return true;
}

#endif
