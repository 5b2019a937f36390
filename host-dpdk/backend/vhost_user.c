/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user.h"

#include "vu_device.h"
#include "vu_rte.h"
#include "vu_rules.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

/* ---- messages ---- */

static int get_config(const struct vu_dev *d, const struct vu_msg *m, struct vu_msg *answer)
{
	const struct vu_config_space *c = &m->payload.config;
	struct vu_config_space *a = &answer->payload.config;
	uint64_t cid = htole64(d->cid);

	a->offset = c->offset;
	a->size = c->size;
	if (c->offset < sizeof(cid))
		memcpy(a->data, (const uint8_t *)&cid + c->offset,
		       c->size < sizeof(cid) - c->offset ? c->size : sizeof(cid) - c->offset);
	answer->size = m->size;
	return 1;
}

/* GET_VRING_BASE stops a ring, and says where. */
static int stop_ring(struct vu_dev *d, unsigned no, struct vu_msg *answer)
{
	enum vhost_direction ring;
	unsigned pair;

	d->ring[no].kicked = d->ring[no].have_addr = false;
	vu_ring_update(d, no);
	d->ring[no].stopped = true;
	d->ring[no].based = false;
	if (no == VSOCK_VQ_EVENT)
		(void)vu_set_event_call(d, -1);
	if (vu_vq_pair(no, &pair, &ring)) {
		(void)vhost_pair_set_call(d->queues[pair], ring, -1);
		(void)vhost_pair_set_kick(d->queues[pair], ring, -1);
	}
	answer->size = sizeof(answer->payload.state);
	answer->payload.state.index = no;
	answer->payload.state.num = d->ring[no].base;
	return 1;
}

/* A kick or call descriptor: of which the device takes a duplicate, so that its own never blocks.
 */
static int take_event(struct vu_dev *d, unsigned no, const struct vu_reader *in)
{
	bool kick = in->msg.request == VU_SET_VRING_KICK;
	int fd = in->nfds ? in->fd[0] : -1, ret;
	enum vhost_direction ring;
	unsigned pair;

	if (!vu_vq_pair(no, &pair, &ring))
		ret = kick ? 0 : vu_set_event_call(d, fd);
	else
		ret = kick ? vhost_pair_set_kick(d->queues[pair], ring, fd)
			   : vhost_pair_set_call(d->queues[pair], ring, fd);
	if (ret < 0)
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: ring %u: cannot use its %s descriptor: %s", d->path, no,
			       kick ? "kick" : "call",
			       ret == -EINVAL ? "it is no eventfd" : zv_strerror(ret));
	return ret;
}

static int ring_message(struct vu_dev *d, const struct vu_reader *in, struct vu_msg *answer)
{
	const struct vu_msg *m = &in->msg;
	unsigned no = vu_msg_ring(m);
	struct vu_ring *r = &d->ring[no];
	int ret = 0;

	switch (m->request) {
	case VU_SET_VRING_NUM:
		r->num = m->payload.state.num;
		break;
	case VU_SET_VRING_ADDR:
		if (!d->rings) {
			zv_log_limited(&d->log, ZV_LOG_WARN,
				       "%s: ring %u has an address, but there is no memory table",
				       d->path, no);
			return -EINVAL;
		}
		r->addr = m->payload.addr;
		r->have_addr = true;
		break;
	case VU_SET_VRING_BASE:
		r->base = (uint16_t)m->payload.state.num;
		r->based = true;
		return 0;
	case VU_GET_VRING_BASE:
		return stop_ring(d, no, answer);
	case VU_SET_VRING_ENABLE:
		r->enabled = m->payload.state.num != 0;
		break;
	case VU_SET_VRING_CALL:
		return take_event(d, no, in);
	default: /* VU_SET_VRING_KICK */
		ret = take_event(d, no, in);
		if (ret < 0)
			return ret;
		r->kicked = true;
		if (!(d->features & VU_FEATURE_PROTOCOL))
			r->enabled = true;
		break;
	}
	vu_ring_update(d, no);
	return 0;
}

static int on_message(void *ctx, struct vu_reader *in, struct vu_msg *answer)
{
	struct vu_dev *d = ctx;

	switch (in->msg.request) {
	case VU_GET_CONFIG:
		return get_config(d, &in->msg, answer);
	case VU_GET_QUEUE_NUM:
		answer->size = sizeof(answer->payload.u64);
		answer->payload.u64 = VSOCK_VQS(d->nqueues);
		return 1;
	case VU_SET_MEM_TABLE:
		return vu_take_table(d, in);
	case VU_SET_CONFIG:    /* read-only: ignored */
	case VU_SET_VRING_ERR: /* nothing is ever said there */
		return 0;
	case VU_SET_BACKEND_REQ_FD:
		vu_keep_backend_fd(d, in);
		return 0;
	default:
		return ring_message(d, in, answer);
	}
}

/* rte_vhost agrees. */
static void on_accepted(void *ctx, const struct vu_msg *m)
{
	struct vu_dev *d = ctx;

	if (m->request == VU_SET_FEATURES)
		d->features = m->payload.u64;
	else if (m->request == VU_RESET_OWNER)
		vu_forget_frontend(d);
}

static void on_attached(void *ctx)
{
	(void)ctx;
}

static void on_gone(void *ctx)
{
	vu_forget_frontend(ctx);
}

static const struct vu_server_ops server_ops = {
	.attached = on_attached,
	.message = on_message,
	.accepted = on_accepted,
	.gone = on_gone,
};

/* ---- open and close ---- */

static void dev_free(struct vu_dev *d)
{
	free(d->path);
	free(d);
}

int vu_open(struct vu_dev **out, const struct vu_config *c)
{
	struct vu_dev *d = calloc(1, sizeof(*d));
	struct vu_endpoint_config ec = {.path = c->path,
					.client = c->client,
					.sockmode = c->sockmode,
					.nrings = VSOCK_VQS(c->nqueues),
					.mem_max = VU_MAP_MAX / (c->nqueues + 1),
					.ops = &server_ops,
					.link = &vu_rte_link,
					.ctx = d};
	int ret;

	if (!d || !(d->path = strdup(c->path))) {
		free(d);
		return zv_err(-ENOMEM, "host:%s: out of memory", c->path);
	}
	d->evt_call = d->backend_fd = -1;
	d->cid = c->cid;
	d->queues = c->queues;
	d->nqueues = c->nqueues;
	for (unsigned i = 0; i < c->nqueues; i++)
		c->queues[i]->retired_max = VU_MAP_MAX / c->nqueues;
	ec.log = &d->log;
	ret = vu_server_add(&d->endpoint, &ec);
	if (ret < 0) {
		dev_free(d);
		return ret;
	}
	*out = d;
	return 0;
}

void vu_close(struct vu_dev *d)
{
	vu_server_remove(d->endpoint);
	dev_free(d);
}

uint64_t vu_page_size(struct vu_dev *d)
{
	return __atomic_load_n(&d->page_size, __ATOMIC_RELAXED);
}
