/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the vhost-user protocol as they are on the wire; both sides use these definitions.
 * Names and numbers are those of QEMU's docs/interop/vhost-user.rst.
 *
 * A message is a header (request, flags, size of the payload in bytes) and a payload, in the byte
 * order of the machine, without padding between the two. Descriptors travel beside it (SCM_RIGHTS).
 * The backend answers some requests always, and the others when VU_FLAG_NEED_REPLY asks for it, by
 * a message of the same request number and VU_FLAG_REPLY.
 *
 * Structures are packed because a payload need not be aligned.
 */
#ifndef ZV_PROTO_VHOST_USER_H
#define ZV_PROTO_VHOST_USER_H

#include <stddef.h>
#include <stdint.h>

/* X(name, number): VU_name, and its name in the log. */
#define VU_REQUESTS(X)                                                                             \
	X(GET_FEATURES, 1)                                                                         \
	X(SET_FEATURES, 2)                                                                         \
	X(SET_OWNER, 3)                                                                            \
	X(RESET_OWNER, 4)                                                                          \
	X(SET_MEM_TABLE, 5)                                                                        \
	X(SET_VRING_NUM, 8)                                                                        \
	X(SET_VRING_ADDR, 9)                                                                       \
	X(SET_VRING_BASE, 10)                                                                      \
	X(GET_VRING_BASE, 11)                                                                      \
	X(SET_VRING_KICK, 12)                                                                      \
	X(SET_VRING_CALL, 13)                                                                      \
	X(SET_VRING_ERR, 14)                                                                       \
	X(GET_PROTOCOL_FEATURES, 15)                                                               \
	X(SET_PROTOCOL_FEATURES, 16)                                                               \
	X(GET_QUEUE_NUM, 17)                                                                       \
	X(SET_VRING_ENABLE, 18)                                                                    \
	X(SET_BACKEND_REQ_FD, 21)                                                                  \
	X(IOTLB_MSG, 22)                                                                           \
	X(GET_CONFIG, 24)                                                                          \
	X(SET_CONFIG, 25)                                                                          \
	X(GET_SHMEM_CONFIG, 44)

enum vu_request {
#define VU_ENUM(name, number) VU_##name = (number),
	VU_REQUESTS(VU_ENUM)
#undef VU_ENUM
};

/* Header flags. */
#define VU_VERSION	   1u
#define VU_FLAG_VERSION	   3u /* where the version is */
#define VU_FLAG_REPLY	   (1u << 2)
#define VU_FLAG_NEED_REPLY (1u << 3) /* once REPLY_ACK is negotiated */

/* The feature bit that announces protocol features, and those that are used here; masks. */
#define VU_FEATURE_PROTOCOL	    (1ULL << 30)
#define VU_PROTOCOL_MQ		    (1ULL << 0)
#define VU_PROTOCOL_REPLY_ACK	    (1ULL << 3)
#define VU_PROTOCOL_BACKEND_REQ	    (1ULL << 5)
#define VU_PROTOCOL_CONFIG	    (1ULL << 9)
#define VU_PROTOCOL_BACKEND_SEND_FD (1ULL << 10)
#define VU_PROTOCOL_SHMEM	    (1ULL << 22)

/* Payload of SET_VRING_KICK, _CALL, _ERR. */
#define VU_VRING_INDEX 0xffu
#define VU_VRING_NO_FD (1u << 8) /* no descriptor comes with it */

#define VU_VRING_SIZE_MAX 32768u /* VIRTIO 1.2, section 2.7 */
/* Descriptors of all rings of an application together: zvsockd has some 50 bytes for each. */
#define VU_APP_DESCRIPTORS 131072u
#define VU_REGIONS	   8u	/* of a memory table, at most */
#define VU_CONFIG_SIZE	   256u /* bytes of configuration space, at most */
#define VU_SHMEM_IDS	   256u /* of VIRTIO shared memory regions */

/* The largest ring of an application's device with @pairs queue pairs. */
static inline uint32_t vu_app_ring_max(unsigned pairs)
{
	uint32_t each = VU_APP_DESCRIPTORS / (2 * pairs);

	return each < VU_VRING_SIZE_MAX ? each : VU_VRING_SIZE_MAX;
}

struct vu_vring_state {
	uint32_t index;
	uint32_t num;
} __attribute__((packed));

/* desc, used, avail and log are addresses of the frontend. */
struct vu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
} __attribute__((packed));

struct vu_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uva;	 /* address of the frontend */
	uint64_t offset; /* in the file that comes with it */
} __attribute__((packed));

struct vu_mem_table {
	uint32_t nregions;
	uint32_t padding;
	struct vu_region region[VU_REGIONS];
} __attribute__((packed));

struct vu_config_space {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VU_CONFIG_SIZE];
} __attribute__((packed));

/* Sizes of the device's VIRTIO shared memory regions (VIRTIO 1.2, 2.10), in bytes. */
struct vu_shmem_config {
	uint32_t nregions; /* whose size is not 0 */
	uint32_t padding;
	uint64_t size[VU_SHMEM_IDS]; /* by id */
} __attribute__((packed));

/* Requests of the backend to the frontend, on a channel of their own. */
#define VU_BACKEND_IOTLB_MSG 1u
#define VU_BACKEND_SHMEM_MAP 9u

/* SHMEM_MAP, with a descriptor: its bytes become a part of a VIRTIO shared memory region. */
struct vu_shmem_map {
	uint8_t id; /* of the region */
	uint8_t padding[7];
	uint64_t fd_offset;  /* bytes */
	uint64_t shm_offset; /* in the region */
	uint64_t len;
	uint64_t flags;
} __attribute__((packed));

#define VU_SHMEM_MAP_RW 1u /* flags: the driver may write */

/* IOTLB_MSG, both ways (struct vhost_iotlb_msg of <linux/vhost_types.h>). */
enum vu_iotlb_perm { VU_IOTLB_READ = 1, VU_IOTLB_WRITE = 2 };
enum vu_iotlb_type {
	VU_IOTLB_MISS = 1,
	VU_IOTLB_UPDATE,
	VU_IOTLB_INVALIDATE,
	VU_IOTLB_ACCESS_FAIL
};

struct vu_iotlb {
	uint64_t iova;
	uint64_t size; /* bytes */
	uint64_t uva;  /* address of the frontend */
	uint8_t perm;  /* enum vu_iotlb_perm, or'ed */
	uint8_t type;  /* enum vu_iotlb_type */
	uint8_t padding[6];
} __attribute__((packed));

struct vu_msg {
	uint32_t request; /* enum vu_request */
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct vu_vring_state state;
		struct vu_vring_addr addr;
		struct vu_mem_table mem;
		struct vu_config_space config;
		struct vu_iotlb iotlb;
		struct vu_shmem_config shmem;
		struct vu_shmem_map shmem_map;
	} __attribute__((packed)) payload;
} __attribute__((packed));

#define VU_HEAD_LEN    12u
#define VU_TABLE_HEAD  8u  /* of a memory table, before its regions */
#define VU_CONFIG_HEAD 12u /* of a piece of configuration space, before its bytes */
_Static_assert(offsetof(struct vu_msg, payload) == VU_HEAD_LEN, "no padding after the header");
_Static_assert(sizeof(struct vu_vring_state) == 8, "on the wire");
_Static_assert(sizeof(struct vu_vring_addr) == 40, "on the wire");
_Static_assert(sizeof(struct vu_iotlb) == 32, "on the wire");
_Static_assert(sizeof(struct vu_region) == 32, "on the wire");
_Static_assert(sizeof(struct vu_shmem_config) == 8 + 8 * VU_SHMEM_IDS, "on the wire");
_Static_assert(sizeof(struct vu_shmem_map) == 40, "on the wire");
_Static_assert(offsetof(struct vu_mem_table, region) == VU_TABLE_HEAD, "on the wire");
_Static_assert(offsetof(struct vu_config_space, data) == VU_CONFIG_HEAD, "on the wire");

/* "SET_OWNER"...; for logs. */
static inline const char *vu_request_name(uint32_t request)
{
#define VU_NAME(name, number)                                                                      \
	case number:                                                                               \
		return #name;
	switch (request) {
		VU_REQUESTS(VU_NAME)
	default:
		return "request";
	}
#undef VU_NAME
}

/* Bytes of a message on the wire. */
static inline size_t vu_msg_len(const struct vu_msg *m)
{
	return VU_HEAD_LEN + (size_t)m->size;
}

#endif
