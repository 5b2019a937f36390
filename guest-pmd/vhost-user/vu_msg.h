/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages of the vhost-user protocol, as the frontend sends and reads them. Pure logic: builds
 * and checks, does no I/O.
 *
 * A message is a header (request, flags, size of the payload) and a payload, in the byte order of
 * the machine, without padding between the two. Descriptors travel beside it (SCM_RIGHTS). The
 * backend answers some requests with a message of the same request number and the reply flag.
 */
#ifndef ZV_VU_MSG_H
#define ZV_VU_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_SET_MEM_TABLE = 5,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_GET_CONFIG = 24,
};

#define VU_VERSION    1u
#define VU_REPLY      (1u << 2)
#define VU_NEED_REPLY (1u << 3)

/* Feature bits; those of the transport are called as in the specifications. */
#define VU_BIT(n)	      (1ULL << (n))
#define VSOCK_F_STREAM	      VU_BIT(0)
#define VSOCK_F_SEQPACKET     VU_BIT(1)
#define VIRTIO_F_EVENT_IDX    VU_BIT(29)
#define VHOST_USER_F_PROTOCOL VU_BIT(30)
#define VIRTIO_F_V1	      VU_BIT(32)

#define VU_PROTOCOL_F_MQ	VU_BIT(0)
#define VU_PROTOCOL_F_REPLY_ACK VU_BIT(3)
#define VU_PROTOCOL_F_CONFIG	VU_BIT(9)

#define VU_CONFIG_MAX 64u /* bytes of config space in one message that this side asks for */

struct vu_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct vu_mem {
	uint32_t nregions;
	uint32_t padding;
	uint64_t gpa; /* the one region */
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};

struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VU_CONFIG_MAX];
};

struct vu_msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct vu_vring_state state;
		struct vu_vring_addr addr;
		struct vu_mem mem;
		struct vu_config config;
	} __attribute__((packed)) p;
} __attribute__((packed));

#define VU_HDR_LEN 12u
_Static_assert(offsetof(struct vu_msg, p) == VU_HDR_LEN, "no padding after the header");
_Static_assert(sizeof(struct vu_vring_addr) == 40, "wire size");
_Static_assert(sizeof(struct vu_mem) == 40, "wire size");
_Static_assert(offsetof(struct vu_config, data) == 12, "wire offset");

/* Builders. Every byte of the message that is sent is set. */
void vu_msg_empty(struct vu_msg *m, uint32_t request);
void vu_msg_u64(struct vu_msg *m, uint32_t request, uint64_t value);
void vu_msg_state(struct vu_msg *m, uint32_t request, uint32_t index, uint32_t num);
void vu_msg_addr(struct vu_msg *m, uint32_t index, uint64_t desc, uint64_t avail, uint64_t used);
void vu_msg_mem(struct vu_msg *m, uint64_t gpa, uint64_t size, uint64_t user_addr);
/* Asks for @len (<= VU_CONFIG_MAX) bytes of config space from @offset. */
void vu_msg_config(struct vu_msg *m, uint32_t offset, uint32_t len);

static inline size_t vu_msg_len(const struct vu_msg *m)
{
	return VU_HDR_LEN + m->size;
}

/* Why a reply is refused. */
enum vu_fault {
	VU_OK = 0,
	VU_BAD_REQUEST, /* answers another request */
	VU_BAD_VERSION,
	VU_NOT_REPLY, /* the reply flag is missing */
	VU_BAD_SIZE,
	VU_BAD_CONFIG, /* another part of the config space than was asked for, or none */
};

const char *vu_fault_text(enum vu_fault f);

/* Checks the header of a reply to @sent, of @size payload bytes. Payload need not be there yet. */
enum vu_fault vu_reply_check(const struct vu_msg *reply, const struct vu_msg *sent, uint32_t size);

/* Checks the payload of a reply to vu_msg_config() and copies the bytes asked for to @dst. */
enum vu_fault vu_reply_config(const struct vu_msg *reply, const struct vu_msg *sent, void *dst);

/* "SET_OWNER"...; for logs. */
const char *vu_request_name(uint32_t request);

#endif
