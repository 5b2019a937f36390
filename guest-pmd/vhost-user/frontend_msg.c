/* SPDX-License-Identifier: BSD-3-Clause */
#include "frontend_msg.h"

#include <string.h>

void frontend_msg_empty(struct vu_msg *m, uint32_t request)
{
	memset(m, 0, sizeof(*m));
	m->request = request;
	m->flags = VU_VERSION;
}

void frontend_msg_u64(struct vu_msg *m, uint32_t request, uint64_t value)
{
	frontend_msg_empty(m, request);
	m->size = sizeof(m->payload.u64);
	m->payload.u64 = value;
}

void frontend_msg_state(struct vu_msg *m, uint32_t request, uint32_t index, uint32_t num)
{
	frontend_msg_empty(m, request);
	m->size = sizeof(m->payload.state);
	m->payload.state.index = index;
	m->payload.state.num = num;
}

void frontend_msg_addr(struct vu_msg *m, uint32_t index, struct uva desc, struct uva avail,
		       struct uva used)
{
	frontend_msg_empty(m, VU_SET_VRING_ADDR);
	m->size = sizeof(m->payload.addr);
	m->payload.addr.index = index;
	m->payload.addr.desc = desc.v;
	m->payload.addr.avail = avail.v;
	m->payload.addr.used = used.v;
}

void frontend_msg_mem(struct vu_msg *m)
{
	frontend_msg_empty(m, VU_SET_MEM_TABLE);
	m->size = VU_TABLE_HEAD;
}

void frontend_msg_mem_add(struct vu_msg *m, struct gpa gpa, uint64_t size, struct uva uva,
			  uint64_t offset)
{
	struct vu_region *r = &m->payload.mem.region[m->payload.mem.nregions++];

	m->size += sizeof(*r);
	r->gpa = gpa.v;
	r->size = size;
	r->uva = uva.v;
	r->offset = offset;
}

void frontend_msg_config(struct vu_msg *m, uint32_t offset, uint32_t len)
{
	frontend_msg_empty(m, VU_GET_CONFIG);
	m->size = VU_CONFIG_HEAD + len;
	m->payload.config.offset = offset;
	m->payload.config.size = len;
}

const char *frontend_fault_text(enum frontend_fault f)
{
	switch (f) {
	case FRONTEND_OK:
		return "no fault";
	case FRONTEND_BAD_REQUEST:
		return "a reply to another request";
	case FRONTEND_BAD_VERSION:
		return "an unknown protocol version";
	case FRONTEND_NOT_REPLY:
		return "a message that is not a reply";
	case FRONTEND_BAD_SIZE:
		return "a reply of the wrong size";
	case FRONTEND_BAD_CONFIG:
		return "no or other configuration bytes than asked for";
	}
	return "an unknown fault";
}

enum frontend_fault frontend_reply_check(const struct vu_msg *reply, const struct vu_msg *sent,
					 uint32_t size)
{
	if (reply->request != sent->request)
		return FRONTEND_BAD_REQUEST;
	if ((reply->flags & VU_FLAG_VERSION) != VU_VERSION)
		return FRONTEND_BAD_VERSION;
	if (!(reply->flags & VU_FLAG_REPLY))
		return FRONTEND_NOT_REPLY;
	return reply->size == size ? FRONTEND_OK : FRONTEND_BAD_SIZE;
}

enum frontend_fault frontend_reply_config(const struct vu_msg *reply, const struct vu_msg *sent,
					  void *dst)
{
	uint32_t len = sent->payload.config.size;

	if (reply->payload.config.offset != sent->payload.config.offset ||
	    reply->payload.config.size != len || len > VU_CONFIG_SIZE)
		return FRONTEND_BAD_CONFIG;
	memcpy(dst, reply->payload.config.data, len);
	return FRONTEND_OK;
}
