/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user message as rte_vhost hands it to external handlers (its own header is private, its
 * layout fixed by the protocol: request, flags, size, payload, packed).
 */
#ifndef ZV_VU_MSG_H
#define ZV_VU_MSG_H

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

#define VU_VRING_IDX_MASK 0xffu

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

/*
 * Behind the message rte_vhost 22.11 keeps the descriptors that came with it: eight, -1 where there
 * is none, and how many there are. Its header says that the layout may not change carelessly,
 * because external handlers rely on it; we rely on it only where it is known (vhost_user.c).
 */
#define VU_MSG_FDS_AT 644u /* the payload is as large as the largest message, 632 bytes */
#define VU_MSG_FDS    8u

#endif
