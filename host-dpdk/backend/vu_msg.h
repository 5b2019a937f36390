/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages from a frontend, and answers to it, as they are on the wire. */
#ifndef ZV_VU_MSG_H
#define ZV_VU_MSG_H

#include "vu_limits.h"

#include <linux/vhost.h>
#include <stddef.h>
#include <stdint.h>

enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SET_SLAVE_REQ_FD = 21,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
};

#define VU_F_PROTOCOL_FEATURES 30 /* feature bit */
#define VU_VRING_IDX_MASK      0xffu
#define VU_VRING_NOFD	       (1u << 8)
#define VU_RING_SIZE_MAX       32768u /* VIRTIO 1.2, section 2.6 */

struct vu_config_space {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t region[256];
} __attribute__((packed)); /* as a message is: it need not be aligned */

struct vu_mem_table {
	uint32_t nregions;
	uint32_t padding;
	struct {
		uint64_t gpa, size, uva, offset;
	} region[8];
} __attribute__((packed));

struct vu_msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct vu_config_space config;
		struct vu_mem_table mem;
	} payload;
} __attribute__((packed));
_Static_assert(offsetof(struct vu_msg, payload) == 12, "header of a vhost-user message");

#endif
