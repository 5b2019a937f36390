/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The three kinds of address by which a byte of a virtual machine's memory is called, as types that
 * do not mix. (A fourth, where it is mapped in this process, is a pointer.)
 *
 * struct gpa: guest physical address, where the VM sees it. Memory tables have it ("guest address"
 * in the vhost-user protocol, "Memory regions description"), and log_guest_addr is one.
 *
 * struct uva: user address, where the frontend (the VMM, or our guest library on vhost-user) has
 * mapped it in its own process. Memory tables have it ("user address"), VHOST_USER_SET_VRING_ADDR
 * without VIRTIO_F_ACCESS_PLATFORM, and IOTLB messages translate to it.
 *
 * struct iova: device address, what a driver puts into descriptors, indirect tables and the
 * addresses of a ring (VIRTIO 1.2, sections 2.7, 2.8 and 4.1.4.3). Without VIRTIO_F_ACCESS_PLATFORM
 * (section 6) it is the guest physical address. With it an IOMMU stands between: then
 * VHOST_USER_SET_VRING_ADDR carries device addresses too, and IOTLB messages say which user address
 * is behind each.
 *
 * A peer chooses all of them: sums wrap as those of uint64_t do, and vm_range_ok() is the only
 * check in here.
 */
#ifndef ZV_VM_ADDR_H
#define ZV_VM_ADDR_H

#include <stdbool.h>
#include <stdint.h>

struct gpa {
	uint64_t v;
};

struct uva {
	uint64_t v;
};

struct iova {
	uint64_t v;
};

/* [start, start + size) is not empty and does not run past 2^64. */
static inline bool vm_range_ok(uint64_t start, uint64_t size)
{
	return size != 0 && size - 1 <= UINT64_MAX - start;
}

/* The device address of guest memory at @a, without VIRTIO_F_ACCESS_PLATFORM. */
static inline struct iova iova_of_gpa(struct gpa a)
{
	return (struct iova){a.v};
}

/* The guest memory that a driver means by @a, without VIRTIO_F_ACCESS_PLATFORM. */
static inline struct gpa gpa_of_iova(struct iova a)
{
	return (struct gpa){a.v};
}

/* The user address of what this process, which is the frontend, has mapped at @p. */
static inline struct uva uva_of_ptr(const volatile void *p)
{
	return (struct uva){(uintptr_t)p};
}

static inline struct gpa gpa_add(struct gpa a, uint64_t bytes)
{
	return (struct gpa){a.v + bytes};
}

static inline struct uva uva_add(struct uva a, uint64_t bytes)
{
	return (struct uva){a.v + bytes};
}

static inline struct iova iova_add(struct iova a, uint64_t bytes)
{
	return (struct iova){a.v + bytes};
}

#endif
