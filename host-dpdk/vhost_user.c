/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user.h"
#include "sock_claim.h"

#include "vu_device.h"
#include "vu_msg.h"
#include "vu_msg_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rte_vhost.h>
#include <stdlib.h>
#include <unistd.h>

#define VU_FEATURES                                                                                \
	(1ULL << VIRTIO_VSOCK_F_STREAM | 1ULL << VIRTIO_VSOCK_F_SEQPACKET |                        \
	 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |                   \
	 1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1ULL << VIRTIO_F_VERSION_1)
/* Without STATUS: QEMU never completes it for a vsock device. */
#define VU_PROTOCOL_FEATURES                                                                       \
	(1ULL << VHOST_USER_PROTOCOL_F_MQ | 1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK |              \
	 1ULL << VHOST_USER_PROTOCOL_F_SLAVE_REQ | 1ULL << VHOST_USER_PROTOCOL_F_CONFIG |          \
	 1ULL << VHOST_USER_PROTOCOL_F_SLAVE_SEND_FD)

/* Names that older kernel headers lack; the bits are VIRTIO's. */
#define VIRTIO_VSOCK_F_STREAM 0
#ifndef VIRTIO_VSOCK_F_SEQPACKET
#define VIRTIO_VSOCK_F_SEQPACKET 1
#endif

static pthread_mutex_t devices_lock = PTHREAD_MUTEX_INITIALIZER;
static struct vu_dev *devices;
/* Written by the vhost thread and vu_close, read by the vhost thread. */
static struct vu_dev *by_vid[RTE_MAX_VHOST_DEVICE];

static struct vu_dev *dev_of(int vid)
{
	if (vid < 0 || vid >= RTE_MAX_VHOST_DEVICE)
		return NULL;
	return __atomic_load_n(&by_vid[vid], __ATOMIC_ACQUIRE);
}

/* ---- messages ---- */

/*
 * Nothing else reaches rte_vhost, which serves requests of features that were never offered, and
 * some of them without a check: SET_INFLIGHT_FD writes behind a mapping that is smaller than it
 * says, GET_INFLIGHT_FD fills as many gigabytes as it is told to, an IOTLB message divides by zero,
 * and POSTCOPY_ADVISE hands the frontend a userfaultfd over the memory of this whole process.
 */
static bool expected(uint32_t request)
{
	switch (request) {
	case VU_GET_FEATURES:
	case VU_SET_FEATURES:
	case VU_SET_OWNER:
	case VU_RESET_OWNER:
	case VU_SET_MEM_TABLE:
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_ADDR:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
	case VU_GET_PROTOCOL_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
	case VU_GET_QUEUE_NUM:
	case VU_SET_VRING_ENABLE:
	case VU_SET_SLAVE_REQ_FD:
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		return true;
	default:
		return false;
	}
}

static enum rte_vhost_msg_result get_config(const struct vu_dev *d, struct vu_msg *m)
{
	uint64_t cid = htole64(d->cid);
	struct vu_config_space *c = &m->payload.config;
	uint32_t off = c->offset, n = c->size;

	if (off > sizeof(c->region) || n > sizeof(c->region) - off)
		return RTE_VHOST_MSG_RESULT_ERR;
	memset(c->region, 0, sizeof(c->region));
	if (off < sizeof(cid))
		memcpy(c->region, (const uint8_t *)&cid + off,
		       n < sizeof(cid) - off ? n : sizeof(cid) - off);
	return RTE_VHOST_MSG_RESULT_REPLY; /* size stays as asked for */
}

/* The ring that a message is about, or VU_RINGS when it is none of ours. */
static unsigned msg_ring(const struct vu_dev *d, const struct vu_msg *m)
{
	uint32_t no;

	switch (m->request) {
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		no = (uint32_t)(m->payload.u64 & VU_VRING_IDX_MASK);
		break;
	case VU_SET_VRING_ADDR:
		no = m->payload.addr.index;
		break;
	default:
		no = m->payload.state.index;
		break;
	}
	return no < 1 + 2 * d->nqueues ? no : VU_RINGS;
}

/* GET_VRING_BASE stops a ring and forgets where it is; rte_vhost answers with what we write back.
 */
static void stop_ring(struct vu_dev *d, unsigned no)
{
	enum hq_ring ring;
	unsigned pair;

	d->ring[no].kicked = d->ring[no].have_addr = false;
	vu_ring_update(d, no);
	if (no == VU_RING_EVT)
		(void)vu_set_event_call(d, -1);
	if (ring_pair(no, &pair, &ring)) {
		(void)hq_set_call(d->queues[pair], ring, -1);
		(void)hq_set_kick(d->queues[pair], ring, -1);
	}
}

static enum rte_vhost_msg_result before(struct vu_dev *d, struct vu_msg *m)
{
	switch (m->request) {
	case VU_GET_CONFIG:
		return get_config(d, m);
	case VU_SET_CONFIG:
		return RTE_VHOST_MSG_RESULT_OK; /* read-only: ignored */
	case VU_GET_QUEUE_NUM:
		m->payload.u64 = 1 + 2 * d->nqueues;
		m->size = sizeof(m->payload.u64);
		return RTE_VHOST_MSG_RESULT_REPLY;
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_ADDR:
	case VU_SET_VRING_BASE:
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
	case VU_SET_VRING_ENABLE:
		/* Rings that no vsock device has would only cost memory. */
		if (msg_ring(d, m) == VU_RINGS)
			return RTE_VHOST_MSG_RESULT_ERR;
		break;
	case VU_GET_VRING_BASE:
		if (msg_ring(d, m) == VU_RINGS)
			return RTE_VHOST_MSG_RESULT_ERR;
		stop_ring(d, msg_ring(d, m));
		break;
	case VU_SET_MEM_TABLE:
		if (!vu_table_fits(m))
			return RTE_VHOST_MSG_RESULT_ERR;
		vu_keep_table(d, m);
		vu_unwatch(d); /* rte_vhost is about to unmap the old one */
		break;
	case VU_RESET_OWNER:
		vu_forget_frontend(d);
		break;
	default:
		break;
	}
	return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Takes over a kick or call descriptor that rte_vhost has stored. */
static void take_fd(struct vu_dev *d, unsigned no, bool kick)
{
	struct rte_vhost_vring vr;
	enum hq_ring ring;
	unsigned pair;
	int ret;

	if (rte_vhost_get_vhost_vring(d->vid, (uint16_t)no, &vr))
		return;
	if (!ring_pair(no, &pair, &ring))
		ret = kick ? 0 : vu_set_event_call(d, vr.callfd);
	else
		ret = kick ? hq_set_kick(d->queues[pair], ring, vr.kickfd)
			   : hq_set_call(d->queues[pair], ring, vr.callfd);
	if (ret < 0)
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: ring %u: cannot use its %s descriptor: %s", d->path, no,
			       kick ? "kick" : "call", zv_strerror(ret));
}

static enum rte_vhost_msg_result after_ring(struct vu_dev *d, const struct vu_msg *m)
{
	unsigned no = msg_ring(d, m);
	struct vu_ring *r;

	if (no == VU_RINGS)
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	r = &d->ring[no];
	switch (m->request) {
	case VU_SET_VRING_NUM:
		r->num = m->payload.state.num;
		break;
	case VU_SET_VRING_ADDR:
		r->addr = m->payload.addr;
		r->have_addr = true;
		break;
	case VU_SET_VRING_ENABLE:
		r->enabled = m->payload.state.num != 0;
		break;
	case VU_SET_VRING_CALL:
		take_fd(d, no, false);
		return RTE_VHOST_MSG_RESULT_OK;
	default:
		take_fd(d, no, true);
		r->kicked = true;
		if (!(d->features & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES))
			r->enabled = true;
		break;
	}
	vu_ring_update(d, no);
	return RTE_VHOST_MSG_RESULT_OK;
}

static enum rte_vhost_msg_result after(struct vu_dev *d, const struct vu_msg *m)
{
	int ret;

	switch (m->request) {
	case VU_SET_FEATURES:
		(void)rte_vhost_get_negotiated_features(d->vid, &d->features);
		return RTE_VHOST_MSG_RESULT_OK;
	case VU_SET_MEM_TABLE:
		ret = vu_take_table(d);
		if (ret == 0)
			return RTE_VHOST_MSG_RESULT_OK;
		zv_log_limited(&d->log, ZV_LOG_ERR, "%s: cannot map the guest's memory: %s",
			       d->path, zv_strerror(ret));
		return RTE_VHOST_MSG_RESULT_ERR;
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_ADDR:
	case VU_SET_VRING_ENABLE:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_KICK:
		return after_ring(d, m);
	default:
		return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	}
}

/* @vid speaks for the socket from now on. */
static void take_frontend(struct vu_dev *d, int vid)
{
	d->vid = vid;
	d->spoken = false;
	zv_log_limited(&d->log, ZV_LOG_INFO, "%s: frontend connected", d->path);
}

static void forget_vid(struct vu_dev *d, int vid)
{
	struct vu_dev *self = d;

	/* The number may already belong to another socket's frontend. */
	if (vid >= 0)
		(void)__atomic_compare_exchange_n(&by_vid[vid], &self, NULL, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/*
 * A second frontend may be the first one's successor: when both the end of the old connection and
 * the new one wait for rte_vhost's thread, it may take the new one first. So the newcomer is kept
 * until it speaks, which cannot be before the end of the other has been seen; if that is still
 * there then, and has ever spoken, the newcomer is refused.
 */
static bool may_speak(struct vu_dev *d, int vid)
{
	if (vid == d->next_vid && !d->spoken) {
		forget_vid(d, d->vid);
		d->next_vid = -1;
		take_frontend(d, vid);
	}
	if (vid == d->vid)
		return d->spoken = true;
	zv_log_limited(&d->log, ZV_LOG_WARN,
		       "%s: a second frontend was refused: one guest a socket", d->path);
	return false;
}

static enum rte_vhost_msg_result on_before(int vid, void *msg)
{
	enum rte_vhost_msg_result ret = RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	struct vu_dev *d = dev_of(vid);

	if (!d)
		return RTE_VHOST_MSG_RESULT_ERR;
	pthread_mutex_lock(&d->lock);
	if (!expected(((struct vu_msg *)msg)->request)) {
		zv_log_limited(&d->log, ZV_LOG_WARN, "%s: vhost-user request %u was refused",
			       d->path, ((struct vu_msg *)msg)->request);
		ret = RTE_VHOST_MSG_RESULT_ERR;
	} else if (!d->closing) {
		ret = may_speak(d, vid) ? before(d, msg) : RTE_VHOST_MSG_RESULT_ERR;
	}
	pthread_mutex_unlock(&d->lock);
	if (ret != RTE_VHOST_MSG_RESULT_NOT_HANDLED)
		vu_drop_fds(msg);
	return ret;
}

static enum rte_vhost_msg_result on_after(int vid, void *msg)
{
	enum rte_vhost_msg_result ret = RTE_VHOST_MSG_RESULT_NOT_HANDLED;
	struct vu_dev *d = dev_of(vid);

	if (!d)
		return RTE_VHOST_MSG_RESULT_ERR;
	pthread_mutex_lock(&d->lock);
	if (!d->closing && vid == d->vid)
		ret = after(d, msg);
	pthread_mutex_unlock(&d->lock);
	return ret;
}

/* ---- connections ---- */

static const struct rte_vhost_user_extern_ops extern_ops = {
	.pre_msg_handle = on_before,
	.post_msg_handle = on_after,
};

static int on_connect(int vid)
{
	char path[4096];
	struct vu_dev *d;
	int ret = -1;

	if (vid < 0 || vid >= RTE_MAX_VHOST_DEVICE ||
	    rte_vhost_get_ifname(vid, path, sizeof(path)) < 0)
		return -1;
	pthread_mutex_lock(&devices_lock);
	for (d = devices; d && strcmp(d->path, path) != 0; d = d->next)
		;
	pthread_mutex_unlock(&devices_lock);
	if (!d)
		return -1;
	pthread_mutex_lock(&d->lock);
	if (d->closing) {
		/* refused: the socket is about to go */
	} else if (d->next_vid >= 0) {
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: a third frontend was refused: one guest a socket", path);
	} else if (rte_vhost_extern_callback_register(vid, &extern_ops, NULL) == 0) {
		__atomic_store_n(&by_vid[vid], d, __ATOMIC_RELEASE);
		if (d->vid >= 0)
			d->next_vid = vid;
		else
			take_frontend(d, vid);
		ret = 0;
	}
	pthread_mutex_unlock(&d->lock);
	return ret;
}

static void on_disconnect(int vid)
{
	struct vu_dev *d = dev_of(vid);

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	if (!d->closing)
		forget_vid(d, vid);
	if (d->closing) {
		/* vu_close() does the rest */
	} else if (vid == d->next_vid) {
		d->next_vid = -1;
	} else if (vid == d->vid) {
		vu_forget_frontend(d);
		d->vid = -1;
		zv_log_limited(&d->log, ZV_LOG_INFO, "%s: frontend gone", d->path);
		if (d->next_vid >= 0)
			take_frontend(d, d->next_vid);
		d->next_vid = -1;
	}
	pthread_mutex_unlock(&d->lock);
}

static const struct rte_vhost_device_ops device_ops = {
	.new_connection = on_connect,
	.destroy_connection = on_disconnect,
};

/* ---- open and close ---- */

static void dev_unlink(struct vu_dev *d)
{
	pthread_mutex_lock(&devices_lock);
	for (struct vu_dev **p = &devices; *p; p = &(*p)->next)
		if (*p == d) {
			*p = d->next;
			break;
		}
	pthread_mutex_unlock(&devices_lock);
}

static void dev_free(struct vu_dev *d)
{
	pthread_mutex_destroy(&d->lock);
	free(d->path);
	free(d);
}

static int attach(const struct vu_config *c)
{
	const char *path = c->path;
	int ret = -EIO;

	if (rte_vhost_driver_register(path, c->client ? RTE_VHOST_USER_CLIENT : 0) < 0)
		return zv_err(-EADDRINUSE,
			      "host:%s: rte_vhost cannot make the socket; is it in use "
			      "by this process, or are there too many?",
			      path);
	if (rte_vhost_driver_set_features(path, VU_FEATURES) == 0 &&
	    rte_vhost_driver_set_protocol_features(path, VU_PROTOCOL_FEATURES) == 0 &&
	    rte_vhost_driver_callback_register(path, &device_ops) == 0 &&
	    rte_vhost_driver_start(path) == 0) {
		ret = c->client || c->sockmode < 0
			      ? 0
			      : sock_set_rights(path, (mode_t)c->sockmode, (uid_t)-1, (gid_t)-1);
		if (ret == 0)
			return 0;
	}
	(void)rte_vhost_driver_unregister(path);
	if (ret != -EIO)
		return zv_err(ret, "host:%s: cannot set mode 0%o: %s", path, (unsigned)c->sockmode,
			      zv_strerror(ret));
	return zv_err(-EIO, "host:%s: rte_vhost cannot %s the socket; may this process %s?", path,
		      c->client ? "connect to" : "listen on",
		      c->client ? "write to it" : "write to its directory");
}

int vu_open(struct vu_dev **out, const struct vu_config *c)
{
	struct vu_dev *d = calloc(1, sizeof(*d));
	int ret;

	if (!d || !(d->path = strdup(c->path))) {
		free(d);
		return zv_err(-ENOMEM, "host:%s: out of memory", c->path);
	}
	pthread_mutex_init(&d->lock, NULL);
	d->vid = d->next_vid = d->evt_call = -1;
	d->cid = c->cid;
	d->queues = c->queues;
	d->nqueues = c->nqueues;
	pthread_mutex_lock(&devices_lock);
	d->next = devices;
	devices = d;
	pthread_mutex_unlock(&devices_lock);
	ret = attach(c);
	if (ret < 0) {
		dev_unlink(d);
		dev_free(d);
		return ret;
	}
	*out = d;
	return 0;
}

void vu_close(struct vu_dev *d)
{
	/* From here on callbacks leave the device alone; the queues are stopped while rte_vhost
	 * still knows the rings, and no lock is held while it waits for its own thread. */
	pthread_mutex_lock(&d->lock);
	vu_forget_frontend(d);
	d->closing = true;
	pthread_mutex_unlock(&d->lock);
	(void)rte_vhost_driver_unregister(d->path);
	forget_vid(d, d->vid);
	forget_vid(d, d->next_vid);
	dev_unlink(d);
	dev_free(d);
}

uint64_t vu_page_size(struct vu_dev *d)
{
	return __atomic_load_n(&d->page_size, __ATOMIC_RELAXED);
}
