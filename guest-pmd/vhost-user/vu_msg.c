/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_msg.h"

#include <string.h>

void vu_msg_empty(struct vu_msg *m, uint32_t request)
{
	memset(m, 0, sizeof(*m));
	m->request = request;
	m->flags = VU_VERSION;
}

void vu_msg_u64(struct vu_msg *m, uint32_t request, uint64_t value)
{
	vu_msg_empty(m, request);
	m->size = sizeof(m->p.u64);
	m->p.u64 = value;
}

void vu_msg_state(struct vu_msg *m, uint32_t request, uint32_t index, uint32_t num)
{
	vu_msg_empty(m, request);
	m->size = sizeof(m->p.state);
	m->p.state.index = index;
	m->p.state.num = num;
}

void vu_msg_addr(struct vu_msg *m, uint32_t index, uint64_t desc, uint64_t avail, uint64_t used)
{
	vu_msg_empty(m, VU_SET_VRING_ADDR);
	m->size = sizeof(m->p.addr);
	m->p.addr.index = index;
	m->p.addr.desc = desc;
	m->p.addr.avail = avail;
	m->p.addr.used = used;
}

void vu_msg_mem(struct vu_msg *m, uint64_t gpa, uint64_t size, uint64_t user_addr)
{
	vu_msg_empty(m, VU_SET_MEM_TABLE);
	m->size = sizeof(m->p.mem);
	m->p.mem.nregions = 1;
	m->p.mem.gpa = gpa;
	m->p.mem.size = size;
	m->p.mem.user_addr = user_addr;
}

void vu_msg_config(struct vu_msg *m, uint32_t offset, uint32_t len)
{
	vu_msg_empty(m, VU_GET_CONFIG);
	m->size = (uint32_t)offsetof(struct vu_config, data) + len;
	m->p.config.offset = offset;
	m->p.config.size = len;
}

const char *vu_fault_text(enum vu_fault f)
{
	switch (f) {
	case VU_OK:
		return "no fault";
	case VU_BAD_REQUEST:
		return "a reply to another request";
	case VU_BAD_VERSION:
		return "an unknown protocol version";
	case VU_NOT_REPLY:
		return "a message that is not a reply";
	case VU_BAD_SIZE:
		return "a reply of the wrong size";
	case VU_BAD_CONFIG:
		return "no or other configuration bytes than asked for";
	}
	return "an unknown fault";
}

enum vu_fault vu_reply_check(const struct vu_msg *reply, const struct vu_msg *sent, uint32_t size)
{
	if (reply->request != sent->request)
		return VU_BAD_REQUEST;
	if ((reply->flags & 3) != VU_VERSION)
		return VU_BAD_VERSION;
	if (!(reply->flags & VU_REPLY))
		return VU_NOT_REPLY;
	return reply->size == size ? VU_OK : VU_BAD_SIZE;
}

enum vu_fault vu_reply_config(const struct vu_msg *reply, const struct vu_msg *sent, void *dst)
{
	uint32_t len = sent->p.config.size;

	if (reply->p.config.offset != sent->p.config.offset || reply->p.config.size != len ||
	    len > VU_CONFIG_MAX)
		return VU_BAD_CONFIG;
	memcpy(dst, reply->p.config.data, len);
	return VU_OK;
}

const char *vu_request_name(uint32_t request)
{
	static const char *const name[] = {
		[VU_GET_FEATURES] = "GET_FEATURES",
		[VU_SET_FEATURES] = "SET_FEATURES",
		[VU_SET_OWNER] = "SET_OWNER",
		[VU_SET_MEM_TABLE] = "SET_MEM_TABLE",
		[VU_SET_VRING_NUM] = "SET_VRING_NUM",
		[VU_SET_VRING_ADDR] = "SET_VRING_ADDR",
		[VU_SET_VRING_BASE] = "SET_VRING_BASE",
		[VU_SET_VRING_KICK] = "SET_VRING_KICK",
		[VU_SET_VRING_CALL] = "SET_VRING_CALL",
		[VU_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
		[VU_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
		[VU_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
		[VU_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
		[VU_GET_CONFIG] = "GET_CONFIG",
	};

	return request < sizeof(name) / sizeof(name[0]) && name[request] ? name[request] : "?";
}
