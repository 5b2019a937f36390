/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_rules.h"

#include "proto/vm_addr.h"
#include "ring/vhost_ring.h"
#include "vu_features.h"

/* ---- configuration space, translations ---- */

static const char *check_config(const struct vu_msg *m, const struct vu_terms *t)
{
	const struct vu_config_space *c = &m->payload.config;

	(void)t;
	if (c->size != m->size - VU_CONFIG_HEAD || c->offset > VU_CONFIG_SIZE - c->size)
		return "it reaches beyond the configuration space";
	return NULL;
}

static const char *check_iotlb(const struct vu_msg *m, const struct vu_terms *t)
{
	const struct vu_iotlb *p = &m->payload.iotlb;

	(void)t;
	if (p->type != VU_IOTLB_UPDATE && p->type != VU_IOTLB_INVALIDATE)
		return "it neither tells a translation nor takes one back";
	return vm_range_ok(p->iova, p->size) &&
			       (p->type == VU_IOTLB_INVALIDATE || vm_range_ok(p->uva, p->size))
		       ? NULL
		       : "it is empty, or runs past the end of the address space";
}

/* ---- VIRTIO shared memory ---- */

static const char *check_protocol(const struct vu_msg *m, const struct vu_terms *t)
{
	return m->payload.u64 & VU_PROTOCOL_OURS && !t->shmem
		       ? "it has protocol features that were not offered"
		       : NULL;
}

static const char *check_shmem(const struct vu_msg *m, const struct vu_terms *t)
{
	(void)m;
	return t->shmem ? NULL : "the device has no shared memory";
}

static unsigned one_fd(const struct vu_msg *m)
{
	(void)m;
	return 1;
}

/* ---- memory ---- */

static const char *check_table(const struct vu_msg *m, const struct vu_terms *t)
{
	const struct vu_mem_table *table = &m->payload.mem;
	uint64_t left = t->mem_max;

	if (table->nregions == 0 || table->nregions > VU_REGIONS)
		return "it has no region, or more than 8";
	/* User-mode Linux always sends two regions, and says how many count. */
	if (m->size < VU_TABLE_HEAD + table->nregions * sizeof(struct vu_region) ||
	    (m->size - VU_TABLE_HEAD) % sizeof(struct vu_region))
		return "its size does not fit its number of regions";
	for (uint32_t i = 0; i < table->nregions; i++) {
		uint64_t size = table->region[i].size, off = table->region[i].offset;

		if (!vm_range_ok(table->region[i].gpa, size) ||
		    !vm_range_ok(table->region[i].uva, size))
			return "a region is empty, or runs past the end of the address space";
		if (off > INT64_MAX || size > INT64_MAX - off)
			return "a region lies beyond the end of any file";
		if (size > left)
			return "its regions have more bytes than one guest may have";
		left -= size;
	}
	return NULL;
}

static unsigned region_fds(const struct vu_msg *m)
{
	return m->payload.mem.nregions;
}

/* ---- rings ---- */

static uint32_t vq_of_state(const struct vu_msg *m)
{
	return m->payload.state.index;
}

static uint32_t vq_of_addr(const struct vu_msg *m)
{
	return m->payload.addr.index;
}

static uint32_t vq_of_u64(const struct vu_msg *m)
{
	return (uint32_t)(m->payload.u64 & VU_VRING_INDEX);
}

static unsigned event_fds(const struct vu_msg *m)
{
	return m->payload.u64 & VU_VRING_NO_FD ? 0 : 1;
}

static const char *check_num(const struct vu_msg *m, const struct vu_terms *t)
{
	uint32_t num = m->payload.state.num;

	if (num > t->ring_max && num <= VU_VRING_SIZE_MAX)
		return "an application with so many queues has smaller rings";
	if (t->layout->any_size)
		return num == 0 || num > VU_VRING_SIZE_MAX ? "a ring has 1 to 32768 entries" : NULL;
	return num == 0 || num > VU_VRING_SIZE_MAX || num & (num - 1)
		       ? "a ring's size is a power of two up to 32768"
		       : NULL;
}

static const char *check_base(const struct vu_msg *m, const struct vu_terms *t)
{
	return t->layout->pos_refused((struct vhost_ring_pos){m->payload.state.num}, 0);
}

static const char *check_enable(const struct vu_msg *m, const struct vu_terms *t)
{
	(void)t;
	return m->payload.state.num > 1 ? "a ring is enabled by 1 and disabled by 0" : NULL;
}

/* ---- the table ---- */

#define BYTES(min, max) .size_min = (min), .size_max = (max)
#define EXACTLY(type)	BYTES(sizeof(type), sizeof(type))
#define TO_RTE		.to_rte = true
#define ANSWERED	.answered = true
#define NO_PAYLOAD	BYTES(0, 0)
#define U64		EXACTLY(uint64_t)
#define STATE		EXACTLY(struct vu_vring_state), .vq = vq_of_state
#define ADDR		EXACTLY(struct vu_vring_addr), .vq = vq_of_addr
#define EVENT		U64, .vq = vq_of_u64, .nfds = event_fds
#define ONE_FD		.nfds = one_fd
#define CONFIG		BYTES(VU_CONFIG_HEAD, sizeof(struct vu_config_space)), .check = check_config
#define IOTLB		EXACTLY(struct vu_iotlb), .check = check_iotlb
#define CHECK(function) .check = (function)
#define HIDE(bits)	.hide = (bits)
#define TABLE                                                                                      \
	BYTES(VU_TABLE_HEAD + sizeof(struct vu_region), sizeof(struct vu_mem_table)),              \
		.nfds = region_fds, .check = check_table

#define RULE(request, handler, ...) [VU_##request] = {.taken = true, __VA_ARGS__},
static const struct vu_rule rules[] = {VU_MESSAGES(RULE)};
#undef RULE

const struct vu_rule *vu_rule_of(uint32_t request)
{
	if (request >= sizeof(rules) / sizeof(rules[0]) || !rules[request].taken)
		return NULL;
	return &rules[request];
}

/* ---- checks ---- */

/* Of a request, bytes; an answer of ours can be longer. */
#define PAYLOAD_MAX sizeof(struct vu_config_space)
_Static_assert(PAYLOAD_MAX >= sizeof(struct vu_mem_table), "a table fits");

const char *vu_head_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION)
		return "its version is not 1";
	if (m->flags & VU_FLAG_REPLY)
		return "it says that it is an answer";
	return m->size > PAYLOAD_MAX ? "it is longer than any message" : NULL;
}

const char *vu_answer_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION || !(m->flags & VU_FLAG_REPLY))
		return "it is no answer of version 1";
	return m->size == sizeof(m->payload.u64) ? NULL : "its payload has the wrong size";
}

const char *vu_msg_refused(const struct vu_msg *m, unsigned nfds, const struct vu_terms *t)
{
	const struct vu_rule *row = vu_rule_of(m->request);
	const char *why = vu_head_refused(m);
	unsigned wanted;

	if (why)
		return why;
	if (!row)
		return "a vsock device has no such request";
	if (m->size < row->size_min || m->size > row->size_max)
		return "its payload has the wrong size";
	if (row->vq && row->vq(m) >= t->nrings)
		return "the device has no such virtqueue";
	why = row->check ? row->check(m, t) : NULL;
	if (why)
		return why;
	wanted = row->nfds ? row->nfds(m) : 0;
	if (nfds < wanted)
		return "a descriptor is missing";
	return nfds > wanted ? "more descriptors came with it than it has use for" : NULL;
}
