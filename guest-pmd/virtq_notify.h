/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a driver tells the device that a ring has new buffers (VIRTIO 1.2, section 2.9, "available
 * buffer notification"; here: a kick).
 *
 * With vhost-user a kick is a write to an eventfd. A device on a bus has a register instead, to
 * which the number of the virtqueue is written: 16 bits wide for a PCI device (section 4.1.5.2), 32
 * for virtio-mmio (section 4.2.2, QueueNotify). VIRTIO_F_NOTIFICATION_DATA, which adds the ring's
 * position (section 2.9.1), is not negotiated; it would be a kind of its own.
 *
 * Kicks are rare, because the device says when it wants one. So the branch on the kind costs
 * nothing.
 */
#ifndef ZV_VIRTQ_NOTIFY_H
#define ZV_VIRTQ_NOTIFY_H

#include <endian.h>
#include <stdint.h>
#include <unistd.h>

enum virtq_notify_kind {
	VIRTQ_NOTIFY_EVENTFD,
	VIRTQ_NOTIFY_REG16,
	VIRTQ_NOTIFY_REG32,
};

struct virtq_notify {
	union {
		int fd;		    /* EVENTFD; -1: nobody is told */
		volatile void *reg; /* REG16, REG32: naturally aligned, mapped uncached */
	};
	uint8_t kind;	/* enum virtq_notify_kind */
	uint16_t index; /* REG16, REG32: the number of the virtqueue */
};

static inline struct virtq_notify virtq_notify_eventfd(int fd)
{
	return (struct virtq_notify){.fd = fd, .kind = VIRTQ_NOTIFY_EVENTFD};
}

static inline struct virtq_notify virtq_notify_reg16(volatile uint16_t *reg, uint16_t index)
{
	return (struct virtq_notify){.reg = reg, .kind = VIRTQ_NOTIFY_REG16, .index = index};
}

static inline struct virtq_notify virtq_notify_reg32(volatile uint32_t *reg, uint16_t index)
{
	return (struct virtq_notify){.reg = reg, .kind = VIRTQ_NOTIFY_REG32, .index = index};
}

/* Makes a non-blocking eventfd readable. */
static inline void eventfd_signal(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is being woken. Nothing else fails. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/*
 * Makes earlier stores to the rings visible to a device before it sees the register written. x86
 * keeps the order of stores by itself. Elsewhere the ring's full barrier orders memory among CPUs
 * only, not against a device register.
 */
static inline void virtq_notify_wmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ __volatile__("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ __volatile__("dmb oshst" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* Kicks the device. Call it after publishing the ring's index. */
static inline void virtq_notify(const struct virtq_notify *n)
{
	if (n->kind == VIRTQ_NOTIFY_EVENTFD) {
		eventfd_signal(n->fd);
		return;
	}
	virtq_notify_wmb();
	if (n->kind == VIRTQ_NOTIFY_REG16)
		*(volatile uint16_t *)n->reg = htole16(n->index);
	else
		*(volatile uint32_t *)n->reg = htole32(n->index);
}

#endif
