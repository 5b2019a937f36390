/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_messages.h"

#include "vu_device.h"
#include "vu_features.h"
#include "vu_limits.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- the device as a whole ---- */

/* For messages that are rte_vhost's business alone. */
static int rte_only(struct vu_dev *d, struct vu_exchange *x)
{
	(void)d;
	return x->answer.size != 0;
}

static int get_features(struct vu_dev *d, struct vu_exchange *x)
{
	d->offered = x->answer.payload.u64;
	return 1;
}

static int set_features(struct vu_dev *d, struct vu_exchange *x)
{
	d->features = x->msg->payload.u64;
	vu_forget_translations(d);
	return 0;
}

/* QEMU passes on what its own device offers the guest, whether the backend has it or not. */
static bool features_refused(struct vu_dev *d, const struct vu_msg *m)
{
	uint64_t extra = d->offered ? m->payload.u64 & ~d->offered : 0;
	char bits[400];

	if (!extra)
		return false;
	vu_features_text(extra, bits, sizeof(bits));
	zv_log_limited(&d->log, ZV_LOG_ERR,
		       "%s: the VMM wants features that were not offered, and the guest has no "
		       "vsock until it does without: %s",
		       d->path, bits);
	return true;
}

static int reset_owner(struct vu_dev *d, struct vu_exchange *x)
{
	(void)x;
	vu_forget_frontend(d);
	return 0;
}

static int get_queue_num(struct vu_dev *d, struct vu_exchange *x)
{
	x->answer.size = sizeof(x->answer.payload.u64);
	x->answer.payload.u64 = VSOCK_VQS(d->nqueues);
	return 1;
}

/* The channel for requests of ours to the frontend: missing translations. A frontend (QEMU) takes
 * the end of the channel for a fault. */
static int set_backend_req_fd(struct vu_dev *d, struct vu_exchange *x)
{
	if (d->backend_fd >= 0)
		(void)close(d->backend_fd);
	d->backend_fd = x->fd[0];
	x->fd[0] = -1;
	return iotlb_set_channel(&d->iotlb, d->backend_fd);
}

static unsigned one_fd(const struct vu_msg *m)
{
	(void)m;
	return 1;
}

/* ---- translations ---- */

/* [start, start + size) is not empty and does not run past 2^64. */
static bool range_ok(uint64_t start, uint64_t size)
{
	return size != 0 && size - 1 <= UINT64_MAX - start;
}

static const char *check_iotlb(const struct vu_msg *m, uint64_t mem_max)
{
	const struct vu_iotlb *t = &m->payload.iotlb;

	(void)mem_max;
	if (t->type != VU_IOTLB_UPDATE && t->type != VU_IOTLB_INVALIDATE)
		return "it neither tells a translation nor takes one back";
	return range_ok(t->iova, t->size) &&
			       (t->type == VU_IOTLB_INVALIDATE || range_ok(t->uva, t->size))
		       ? NULL
		       : "it is empty, or runs past the end of the address space";
}

static int iotlb_msg(struct vu_dev *d, struct vu_exchange *x)
{
	return vu_translation(d, &x->msg->payload.iotlb);
}

/* ---- configuration space ---- */

static const char *check_config(const struct vu_msg *m, uint64_t mem_max)
{
	const struct vu_config_space *c = &m->payload.config;

	(void)mem_max;
	if (c->size != m->size - VU_CONFIG_HEAD || c->offset > VU_CONFIG_SIZE - c->size)
		return "it reaches beyond the configuration space";
	return NULL;
}

static int get_config(struct vu_dev *d, struct vu_exchange *x)
{
	const struct vu_config_space *c = &x->msg->payload.config;
	struct vu_config_space *a = &x->answer.payload.config;
	uint64_t cid = htole64(d->cid);

	a->offset = c->offset;
	a->size = c->size;
	if (c->offset < sizeof(cid))
		memcpy(a->data, (const uint8_t *)&cid + c->offset,
		       c->size < sizeof(cid) - c->offset ? c->size : sizeof(cid) - c->offset);
	x->answer.size = x->msg->size;
	return 1;
}

/* ---- memory ---- */

static const char *check_table(const struct vu_msg *m, uint64_t mem_max)
{
	const struct vu_mem_table *t = &m->payload.mem;
	uint64_t left = mem_max;

	if (t->nregions == 0 || t->nregions > VU_REGIONS)
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

static const char *check_num(const struct vu_msg *m, uint64_t mem_max)
{
	uint32_t num = m->payload.state.num;

	(void)mem_max;
	return num == 0 || num > VU_VRING_SIZE_MAX || num & (num - 1)
		       ? "a ring's size is a power of two up to 32768"
		       : NULL;
}

static int set_vring_num(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = vq_of_state(x->msg);

	d->ring[vq].num = x->msg->payload.state.num;
	vu_ring_update(d, vq);
	return 0;
}

static int set_vring_addr(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = vq_of_addr(x->msg);

	if (!d->rings) {
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: ring %u has an address, but there is no memory table", d->path,
			       vq);
		return -EINVAL;
	}
	d->ring[vq].addr = x->msg->payload.addr;
	d->ring[vq].have_addr = true;
	vu_ring_update(d, vq);
	return 0;
}

static const char *check_base(const struct vu_msg *m, uint64_t mem_max)
{
	(void)mem_max;
	return m->payload.state.num > UINT16_MAX ? "an index of a split ring has 16 bits" : NULL;
}

static int set_vring_base(struct vu_dev *d, struct vu_exchange *x)
{
	struct vu_ring *r = &d->ring[vq_of_state(x->msg)];

	r->base.v = x->msg->payload.state.num;
	r->based = true;
	return 0;
}

static int get_vring_base(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = vq_of_state(x->msg);

	x->answer.size = sizeof(x->answer.payload.state);
	x->answer.payload.state.index = vq;
	x->answer.payload.state.num = vu_ring_stop(d, vq).v;
	return 1;
}

static const char *check_enable(const struct vu_msg *m, uint64_t mem_max)
{
	(void)mem_max;
	return m->payload.state.num > 1 ? "a ring is enabled by 1 and disabled by 0" : NULL;
}

static int set_vring_enable(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = vq_of_state(x->msg);

	d->ring[vq].enabled = x->msg->payload.state.num != 0;
	vu_ring_update(d, vq);
	return 0;
}

static int set_vring_kick(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = vq_of_u64(x->msg);
	int ret = vu_set_kick(d, vq, x->nfds ? x->fd[0] : -1);

	if (ret < 0)
		return ret;
	d->ring[vq].kicked = true;
	if (!(d->features & VU_FEATURE_PROTOCOL))
		d->ring[vq].enabled = true;
	vu_ring_update(d, vq);
	return 0;
}

static int set_vring_call(struct vu_dev *d, struct vu_exchange *x)
{
	return vu_set_call(d, vq_of_u64(x->msg), x->nfds ? x->fd[0] : -1);
}

/* SET_CONFIG: all of it is read-only. SET_VRING_ERR: nothing is ever said there. */
static int ignore(struct vu_dev *d, struct vu_exchange *x)
{
	(void)d;
	(void)x;
	return 0;
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
#define CONFIG		BYTES(VU_CONFIG_HEAD, sizeof(struct vu_config_space)), .check = check_config
#define TABLE                                                                                      \
	BYTES(VU_TABLE_HEAD + sizeof(struct vu_region), sizeof(struct vu_mem_table)),              \
		.nfds = region_fds, .check = check_table

/*
 * The requests that are missing were never offered (no protocol feature for them), and some of them
 * would hand a frontend more than a vsock device has to give: POSTCOPY_ADVISE a userfaultfd over
 * this whole process, GET_INFLIGHT_FD memory without a bound.
 */
static const struct vu_message messages[] = {
	[VU_GET_FEATURES] = {NO_PAYLOAD, TO_RTE, ANSWERED, .handle = get_features},
	[VU_SET_FEATURES] = {U64, TO_RTE, .handle = set_features, .refused = features_refused},
	[VU_GET_PROTOCOL_FEATURES] = {NO_PAYLOAD, TO_RTE, ANSWERED, .handle = rte_only},
	[VU_SET_PROTOCOL_FEATURES] = {U64, TO_RTE, .handle = rte_only},
	[VU_SET_OWNER] = {NO_PAYLOAD, TO_RTE, .handle = rte_only},
	[VU_RESET_OWNER] = {NO_PAYLOAD, TO_RTE, .handle = reset_owner},
	[VU_SET_MEM_TABLE] = {TABLE, .handle = vu_take_table},
	[VU_SET_VRING_NUM] = {STATE, .check = check_num, .handle = set_vring_num},
	[VU_SET_VRING_ADDR] = {ADDR, .handle = set_vring_addr},
	[VU_SET_VRING_BASE] = {STATE, .check = check_base, .handle = set_vring_base},
	[VU_GET_VRING_BASE] = {STATE, ANSWERED, .handle = get_vring_base},
	[VU_SET_VRING_KICK] = {EVENT, .handle = set_vring_kick},
	[VU_SET_VRING_CALL] = {EVENT, .handle = set_vring_call},
	[VU_SET_VRING_ERR] = {EVENT, .handle = ignore},
	[VU_SET_VRING_ENABLE] = {STATE, .check = check_enable, .handle = set_vring_enable},
	[VU_GET_QUEUE_NUM] = {NO_PAYLOAD, ANSWERED, .handle = get_queue_num},
	[VU_SET_BACKEND_REQ_FD] = {NO_PAYLOAD, .nfds = one_fd, .handle = set_backend_req_fd},
	[VU_IOTLB_MSG] = {EXACTLY(struct vu_iotlb), .check = check_iotlb, .handle = iotlb_msg},
	[VU_GET_CONFIG] = {CONFIG, ANSWERED, .handle = get_config},
	[VU_SET_CONFIG] = {CONFIG, .handle = ignore},
};

const struct vu_message *vu_message_of(uint32_t request)
{
	if (request >= sizeof(messages) / sizeof(messages[0]) || !messages[request].handle)
		return NULL;
	return &messages[request];
}
