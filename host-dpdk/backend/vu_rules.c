/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_rules.h"
#include "vu_limits.h"

#include <stddef.h>

#define U64    sizeof(uint64_t), sizeof(uint64_t)
#define STATE  sizeof(struct vu_vring_state), sizeof(struct vu_vring_state)
#define ADDR   sizeof(struct vu_vring_addr), sizeof(struct vu_vring_addr)
#define CONFIG VU_CONFIG_HEAD, sizeof(struct vu_config_space)
#define TABLE  VU_TABLE_HEAD + sizeof(struct vu_region), sizeof(struct vu_mem_table)

/*
 * The requests that are missing were never offered (no protocol feature for them), and some of them
 * would hand a frontend more than a vsock device has to give: POSTCOPY_ADVISE a userfaultfd over
 * this whole process, GET_INFLIGHT_FD memory without a bound.
 */
static const struct vu_rule rules[] = {
	[VU_GET_FEATURES] = {"GET_FEATURES", 0, 0, VU_RING_NONE, VU_FDS_NONE, true, true},
	[VU_SET_FEATURES] = {"SET_FEATURES", U64, VU_RING_NONE, VU_FDS_NONE, false, true},
	[VU_SET_OWNER] = {"SET_OWNER", 0, 0, VU_RING_NONE, VU_FDS_NONE, false, true},
	[VU_RESET_OWNER] = {"RESET_OWNER", 0, 0, VU_RING_NONE, VU_FDS_NONE, false, true},
	[VU_SET_MEM_TABLE] = {"SET_MEM_TABLE", TABLE, VU_RING_NONE, VU_FDS_REGIONS, false, false},
	[VU_SET_VRING_NUM] = {"SET_VRING_NUM", STATE, VU_RING_STATE, VU_FDS_NONE, false, false},
	[VU_SET_VRING_ADDR] = {"SET_VRING_ADDR", ADDR, VU_RING_ADDR, VU_FDS_NONE, false, false},
	[VU_SET_VRING_BASE] = {"SET_VRING_BASE", STATE, VU_RING_STATE, VU_FDS_NONE, false, false},
	[VU_GET_VRING_BASE] = {"GET_VRING_BASE", STATE, VU_RING_STATE, VU_FDS_NONE, true, false},
	[VU_SET_VRING_KICK] = {"SET_VRING_KICK", U64, VU_RING_U64, VU_FDS_EVENT, false, false},
	[VU_SET_VRING_CALL] = {"SET_VRING_CALL", U64, VU_RING_U64, VU_FDS_EVENT, false, false},
	[VU_SET_VRING_ERR] = {"SET_VRING_ERR", U64, VU_RING_U64, VU_FDS_EVENT, false, false},
	[VU_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", 0, 0, VU_RING_NONE, VU_FDS_NONE,
				      true, true},
	[VU_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64, VU_RING_NONE, VU_FDS_NONE,
				      false, true},
	[VU_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", 0, 0, VU_RING_NONE, VU_FDS_NONE, true, false},
	[VU_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", STATE, VU_RING_STATE, VU_FDS_NONE, false,
				 false},
	[VU_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", 0, 0, VU_RING_NONE, VU_FDS_ONE, false,
				   false},
	[VU_GET_CONFIG] = {"GET_CONFIG", CONFIG, VU_RING_NONE, VU_FDS_NONE, true, false},
	[VU_SET_CONFIG] = {"SET_CONFIG", CONFIG, VU_RING_NONE, VU_FDS_NONE, false, false},
};

const struct vu_rule *vu_rule_of(uint32_t request)
{
	if (request >= sizeof(rules) / sizeof(rules[0]) || !rules[request].name)
		return NULL;
	return &rules[request];
}

uint32_t vu_msg_ring(const struct vu_msg *m)
{
	const struct vu_rule *r = vu_rule_of(m->request);

	switch (r ? r->ring : VU_RING_NONE) {
	case VU_RING_STATE:
		return m->payload.state.index;
	case VU_RING_U64:
		return (uint32_t)(m->payload.u64 & VU_VRING_INDEX);
	case VU_RING_ADDR:
		return m->payload.addr.index;
	default:
		return UINT32_MAX;
	}
}

const char *vu_head_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION)
		return "its version is not 1";
	if (m->flags & VU_FLAG_REPLY)
		return "it says that it is an answer";
	return m->size > sizeof(m->payload) ? "it is longer than any message" : NULL;
}

const char *vu_answer_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION || !(m->flags & VU_FLAG_REPLY))
		return "it is no answer of version 1";
	return m->size == sizeof(m->payload.u64) ? NULL : "its payload has the wrong size";
}

/* [start, start + size) is not empty and does not run past 2^64. */
static bool range_ok(uint64_t start, uint64_t size)
{
	return size != 0 && size - 1 <= UINT64_MAX - start;
}

static const char *table_refused(const struct vu_msg *m, uint64_t mem_max)
{
	const struct vu_mem_table *t = &m->payload.mem;
	uint64_t left = mem_max;

	if (t->nregions == 0 || t->nregions > VU_MSG_FDS)
		return "it has no region, or more than 8";
	if (m->size != VU_TABLE_HEAD + t->nregions * sizeof(struct vu_region))
		return "its size does not fit its number of regions";
	for (uint32_t i = 0; i < t->nregions; i++) {
		uint64_t size = t->region[i].size, off = t->region[i].offset;

		if (!range_ok(t->region[i].gpa, size) || !range_ok(t->region[i].uva, size))
			return "a region is empty, or runs past the end of the address space";
		if (off > INT64_MAX || size > INT64_MAX - off)
			return "a region lies beyond the end of any file";
		if (size > left)
			return "its regions have more bytes than one guest may have";
		left -= size;
	}
	return NULL;
}

static const char *payload_refused(const struct vu_msg *m, uint64_t mem_max)
{
	uint32_t num = m->payload.state.num;

	switch (m->request) {
	case VU_SET_MEM_TABLE:
		return table_refused(m, mem_max);
	case VU_SET_VRING_NUM:
		return num == 0 || num > VU_VRING_SIZE_MAX || num & (num - 1)
			       ? "a ring's size is a power of two up to 32768"
			       : NULL;
	case VU_SET_VRING_BASE:
		return num > UINT16_MAX ? "an index of a split ring has 16 bits" : NULL;
	case VU_SET_VRING_ENABLE:
		return num > 1 ? "a ring is enabled by 1 and disabled by 0" : NULL;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		if (m->payload.config.size != m->size - VU_CONFIG_HEAD ||
		    m->payload.config.offset >
			    sizeof(m->payload.config.data) - m->payload.config.size)
			return "it reaches beyond the configuration space";
		return NULL;
	default:
		return NULL;
	}
}

static unsigned fds_wanted(const struct vu_rule *r, const struct vu_msg *m)
{
	switch (r->fds) {
	case VU_FDS_ONE:
		return 1;
	case VU_FDS_EVENT:
		return m->payload.u64 & VU_VRING_NO_FD ? 0 : 1;
	case VU_FDS_REGIONS:
		return m->payload.mem.nregions;
	default:
		return 0;
	}
}

const char *vu_msg_refused(const struct vu_msg *m, unsigned nfds, unsigned nrings, uint64_t mem_max)
{
	const char *why = vu_head_refused(m);
	const struct vu_rule *r = vu_rule_of(m->request);

	if (!why && !r)
		why = "a vsock device has no such request";
	if (!why && (m->size < r->size_min || m->size > r->size_max))
		why = "its payload has the wrong size";
	if (!why && r->ring != VU_RING_NONE && vu_msg_ring(m) >= nrings)
		why = "the device has no such virtqueue";
	if (!why)
		why = payload_refused(m, mem_max);
	if (!why && nfds != fds_wanted(r, m))
		why = nfds < fds_wanted(r, m) ? "a descriptor is missing"
					      : "more descriptors came with it than it has use for";
	return why;
}
