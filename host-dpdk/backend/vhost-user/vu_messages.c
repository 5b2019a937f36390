/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_messages.h"

#include "fd_check.h"
#include "vu_device.h"
#include "vu_features.h"
#include "vu_rules.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- the device as a whole ---- */

/* For messages that only rte_vhost handles. */
static int rte_only(struct vu_dev *d, struct vu_exchange *x)
{
	(void)d;
	return x->answer.size != 0;
}

static int get_features(struct vu_dev *d, struct vu_exchange *x)
{
	d->offered = vu_features_for(x->answer.payload.u64, d->protocol);
	x->answer.payload.u64 = d->offered;
	return 1;
}

static int get_protocol_features(struct vu_dev *d, struct vu_exchange *x)
{
	if (d->terms.shmem)
		x->answer.payload.u64 |= VU_PROTOCOL_OURS;
	return 1;
}

static int set_protocol_features(struct vu_dev *d, struct vu_exchange *x)
{
	d->protocol = x->msg->payload.u64;
	return 0;
}

/* QEMU requests what its own device offers to the guest, whether the backend has it or not. */
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

static int set_features(struct vu_dev *d, struct vu_exchange *x)
{
	/* rte_vhost knows what some frontends are offered, but not what this one was. */
	if (features_refused(d, x->msg))
		return -EINVAL;
	vu_set_features(d, x->msg->payload.u64);
	vu_forget_translations(d);
	/*
	 * Rings that run were loaded with other ones: how long their parts are, and so what was
	 * looked up in the memory table, is a matter of features. They do not run on.
	 */
	for (unsigned i = 0; i < d->terms.nrings; i++)
		vu_ring_update(d, i);
	return 0;
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

/*
 * The channel for our requests to the frontend: missing translations, and shared memory for the
 * driver. A frontend (QEMU) treats the end of the channel as a fault. Owners of queues write there,
 * so it must be a socket whose lock nobody else can hold: with TCP, a sender whose memory is not
 * available holds it as long as it likes.
 */
static int set_backend_req_fd(struct vu_dev *d, struct vu_exchange *x)
{
	bool fit = fd_is_unix_stream(x->fd[0]) && fd_write_only(x->fd[0]);
	int former = d->backend_fd;

	d->backend_fd = fit ? x->fd[0] : -1;
	if (fit)
		x->fd[0] = -1;
	d->iommu->ops->set_channel(d->iommu, d->backend_fd);
	vu_drop_fd(d, former);
	vu_shmem_check(d);
	if (fit)
		return 0;
	zv_log_limited(
		&d->log, ZV_LOG_WARN,
		"%s: the backend channel (SET_BACKEND_REQ_FD) was refused: it is no end of a "
		"connected pair of stream sockets (AF_UNIX) that is empty",
		d->path);
	return -EINVAL;
}

/* ---- translations ---- */

static int iotlb_msg(struct vu_dev *d, struct vu_exchange *x)
{
	return vu_translation(d, &x->msg->payload.iotlb);
}

/* ---- configuration space ---- */

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

/* ---- VIRTIO shared memory ---- */

static int get_shmem_config(struct vu_dev *d, struct vu_exchange *x)
{
	struct vu_shmem_config *a = &x->answer.payload.shmem;

	x->answer.size = sizeof(*a);
	*a = (struct vu_shmem_config){.nregions = 1};
	a->size[VSOCK_SHM_ID] = d->terms.shmem;
	return 1;
}

/* ---- rings ---- */

static int set_vring_num(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = x->msg->payload.state.index;

	d->ring[vq].num = x->msg->payload.state.num;
	vu_ring_update(d, vq);
	return 0;
}

static int set_vring_addr(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = x->msg->payload.addr.index;

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

static int set_vring_base(struct vu_dev *d, struct vu_exchange *x)
{
	struct vu_ring *r = &d->ring[x->msg->payload.state.index];

	r->base.v = x->msg->payload.state.num;
	r->based = true;
	return 0;
}

static int get_vring_base(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = x->msg->payload.state.index;

	x->answer.size = sizeof(x->answer.payload.state);
	x->answer.payload.state.index = vq;
	x->answer.payload.state.num = vu_ring_stop(d, vq).v;
	return 1;
}

static int set_vring_enable(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = x->msg->payload.state.index;

	d->ring[vq].enabled = x->msg->payload.state.num != 0;
	vu_ring_update(d, vq);
	return 0;
}

/* Another descriptor of the file has been kept, so closing this one is quick. */
static void close_taken(struct vu_exchange *x)
{
	if (!x->nfds)
		return;
	(void)close(x->fd[0]);
	x->fd[0] = -1;
}

static int set_vring_kick(struct vu_dev *d, struct vu_exchange *x)
{
	uint32_t vq = (uint32_t)(x->msg->payload.u64 & VU_VRING_INDEX);
	int ret = vu_set_kick(d, vq, x->nfds ? x->fd[0] : -1);

	if (ret < 0)
		return ret;
	if (vq != VSOCK_VQ_EVENT)
		close_taken(x);
	d->ring[vq].kicked = true;
	if (!(d->terms.features & VU_FEATURE_PROTOCOL))
		d->ring[vq].enabled = true;
	vu_ring_update(d, vq);
	return 0;
}

static int set_vring_call(struct vu_dev *d, struct vu_exchange *x)
{
	int ret = vu_set_call(d, (uint32_t)(x->msg->payload.u64 & VU_VRING_INDEX),
			      x->nfds ? x->fd[0] : -1);

	if (ret == 0)
		close_taken(x);
	return ret;
}

/* SET_CONFIG: all of it is read-only. SET_VRING_ERR: nothing is ever signalled there. */
static int ignore(struct vu_dev *d, struct vu_exchange *x)
{
	(void)d;
	(void)x;
	return 0;
}

/* ---- the table ---- */

/* Each handler of the list; the compiler complains about one that is missing, or has no message. */
#define HANDLER(request, handler, ...) [VU_##request] = (handler),
static int (*const handlers[])(struct vu_dev *d, struct vu_exchange *x) = {VU_MESSAGES(HANDLER)};
#undef HANDLER

int vu_message_act(struct vu_dev *d, struct vu_exchange *x)
{
	return handlers[x->msg->request](d, x);
}

void vu_message_refused(struct vu_dev *d, const struct vu_msg *m)
{
	if (m->request == VU_SET_FEATURES && features_refused(d, m))
		return;
	zv_log_limited(&d->log, ZV_LOG_WARN, "%s: rte_vhost refused %s", d->path,
		       vu_request_name(m->request));
}
