/* SPDX-License-Identifier: BSD-3-Clause */
#include "frontend.h"

#include "frontend_msg.h"
#include "proto/vsock/vsock_device.h"
#include "transport.h"
#include "unix_connect.h"
#include "vsock_rings.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- connection ---- */

int frontend_init(struct frontend *f, const char *path, int cancel_fd)
{
	size_t n = strlen(path);

	memset(f, 0, sizeof(*f));
	f->fd = -1;
	f->cancel_fd = cancel_fd;
	f->timeout_ms = FRONTEND_TIMEOUT_MS;
	if (n == 0)
		return zv_err(-EINVAL, "no socket path: write vhost-user:PATH, the path of the "
				       "backend's Unix socket");
	if (n >= sizeof(f->path))
		return zv_err(
			-ENAMETOOLONG,
			"the socket path %.60s... has %zu bytes, a Unix socket's can have %zu: "
			"use a shorter one",
			path, n, sizeof(f->path) - 1);
	memcpy(f->path, path, n);
	return 0;
}

int frontend_connect(struct frontend *f)
{
	int fd = unix_connect(f->path, SOCK_STREAM, "the vhost-user backend", f->cancel_fd,
			      f->timeout_ms);

	if (fd < 0)
		return fd;
	f->fd = fd;
	return 0;
}

void frontend_disconnect(struct frontend *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* ---- messages ---- */

static int lost(const struct frontend *f, uint32_t request, int err)
{
	switch (err) {
	case -ECANCELED:
		return err;
	case -ETIMEDOUT:
		return zv_err(-EPROTO,
			      "the vhost-user backend at %s did not answer %s within %d ms: "
			      "it hangs, or the socket is not a vhost-user backend's",
			      f->path, vu_request_name(request), f->timeout_ms);
	default:
		return zv_err(-EPROTO,
			      "the vhost-user backend at %s closed the connection at %s "
			      "(%s): its log tells why",
			      f->path, vu_request_name(request),
			      err ? zv_strerror(err) : "end of file");
	}
}

/* Sends @m, and the @nfds descriptors at @fds, at most FRONTEND_MEM_MAX, with its first byte. */
static int send_msg_fds(struct frontend *f, const struct vu_msg *m, const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(FRONTEND_MEM_MAX * sizeof(int))];
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = vu_msg_len(m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	int64_t deadline = unix_now_ms() + f->timeout_ms;
	struct cmsghdr *c;
	ssize_t n;
	int ret;

	if (nfds) {
		mh.msg_control = ctl.buf;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	while (iov.iov_len > 0) {
		n = sendmsg(f->fd, &mh, MSG_NOSIGNAL);
		if (n >= 0) {
			iov.iov_base = (char *)iov.iov_base + n;
			iov.iov_len -= (size_t)n;
			mh.msg_control = NULL;
			mh.msg_controllen = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		ret = errno == EAGAIN ? unix_wait(f->fd, POLLOUT, f->cancel_fd, deadline) : -errno;
		if (ret)
			return lost(f, m->request, ret);
	}
	return 0;
}

/* @fd -1: none. */
static int send_msg(struct frontend *f, const struct vu_msg *m, int fd)
{
	return send_msg_fds(f, m, &fd, fd >= 0);
}

/* Reads exactly @len bytes. Descriptors that the backend might attach are dropped by the kernel. */
static int recv_all(struct frontend *f, void *buf, size_t len, int64_t deadline)
{
	size_t have = 0;
	ssize_t n;
	int ret;

	while (have < len) {
		n = recv(f->fd, (char *)buf + have, len - have, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		ret = errno == EAGAIN ? unix_wait(f->fd, POLLIN, f->cancel_fd, deadline) : -errno;
		if (ret)
			return ret;
	}
	return 0;
}

static int bad_reply(const struct frontend *f, const struct vu_msg *sent, enum frontend_fault fault)
{
	return zv_err(-EPROTO, "the vhost-user backend at %s answered %s with %s", f->path,
		      vu_request_name(sent->request), frontend_fault_text(fault));
}

/* Reads the reply to @m, whose payload has @size bytes, into @reply. */
static int answer(struct frontend *f, const struct vu_msg *m, struct vu_msg *reply, uint32_t size)
{
	int64_t deadline = unix_now_ms() + f->timeout_ms;
	enum frontend_fault fault;
	int ret;

	memset(reply, 0, sizeof(*reply));
	ret = recv_all(f, reply, VU_HEAD_LEN, deadline);
	if (ret)
		return lost(f, m->request, ret);
	fault = frontend_reply_check(reply, m, size);
	if (fault)
		return bad_reply(f, m, fault);
	ret = recv_all(f, &reply->payload, size, deadline);
	return ret ? lost(f, m->request, ret) : 0;
}

/* Sends @m and reads the reply. */
static int ask(struct frontend *f, const struct vu_msg *m, struct vu_msg *reply, uint32_t size)
{
	int ret = send_msg(f, m, -1);

	return ret ? ret : answer(f, m, reply, size);
}

static int ask_u64(struct frontend *f, uint32_t request, uint64_t *value)
{
	struct vu_msg m, reply;
	int ret;

	frontend_msg_empty(&m, request);
	ret = ask(f, &m, &reply, sizeof(*value));
	if (ret)
		return ret;
	*value = reply.payload.u64;
	return 0;
}

static int set_u64(struct frontend *f, uint32_t request, uint64_t value, int fd)
{
	struct vu_msg m;

	frontend_msg_u64(&m, request, value);
	return send_msg(f, &m, fd);
}

static int set_state(struct frontend *f, uint32_t request, unsigned index, uint32_t num)
{
	struct vu_msg m;

	frontend_msg_state(&m, request, index, num);
	return send_msg(f, &m, -1);
}

/* ---- handshake ---- */

static int negotiate_features(struct frontend *f)
{
	const uint64_t need = VSOCK_FEATURE_VERSION_1 | VU_FEATURE_PROTOCOL;
	/* INDIRECT: payload in memory of the application. IN_ORDER would forbid loans. */
	const uint64_t want = need | VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_STREAM |
			      VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_INDIRECT_DESC | f->want_rings;
	uint64_t offered;
	struct vu_msg m;
	int ret;

	frontend_msg_empty(&m, VU_SET_OWNER);
	ret = send_msg(f, &m, -1);
	if (ret == 0)
		ret = ask_u64(f, VU_GET_FEATURES, &offered);
	if (ret)
		return ret;
	if ((offered & need) != need)
		return zv_err(-EPROTONOSUPPORT,
			      "the vhost-user backend at %s offers features 0x%llx, without "
			      "VERSION_1 (bit 32) or protocol features (bit 30): use a newer one",
			      f->path, (unsigned long long)offered);
	f->features = offered & want;
	return set_u64(f, VU_SET_FEATURES, f->features, -1);
}

static int negotiate_protocol(struct frontend *f)
{
	const uint64_t want = VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_CONFIG;
	uint64_t offered;
	int ret;

	ret = ask_u64(f, VU_GET_PROTOCOL_FEATURES, &offered);
	if (ret)
		return ret;
	if (!(offered & VU_PROTOCOL_CONFIG))
		return zv_err(
			-EPROTONOSUPPORT,
			"the vhost-user backend at %s cannot tell the CID (no CONFIG protocol "
			"feature): is it a vsock backend?",
			f->path);
	f->protocol = offered & want;
	return set_u64(f, VU_SET_PROTOCOL_FEATURES, f->protocol, -1);
}

static int check_queues(struct frontend *f, unsigned pairs)
{
	uint64_t have = VSOCK_VQ_MIN; /* without MQ */
	int ret;

	if (f->protocol & VU_PROTOCOL_MQ) {
		ret = ask_u64(f, VU_GET_QUEUE_NUM, &have);
		if (ret)
			return ret;
	}
	if (vsock_vq_pairs(have) >= pairs)
		return 0;
	if (have < VSOCK_VQ_MIN)
		return zv_err(-ERANGE,
			      "the vhost-user backend at %s has %llu virtqueues, a vsock "
			      "device has at least 3: it serves another kind of device",
			      f->path, (unsigned long long)have);
	return zv_err(-ERANGE,
		      "the vhost-user backend at %s has %llu virtqueues, enough for %llu "
		      "queues, not %u: open with queues=%llu or fewer, or give the backend "
		      "more",
		      f->path, (unsigned long long)have, (unsigned long long)vsock_vq_pairs(have),
		      pairs, (unsigned long long)vsock_vq_pairs(have));
}

int frontend_negotiate(struct frontend *f, unsigned pairs)
{
	int ret = negotiate_features(f);

	if (ret == 0)
		ret = negotiate_protocol(f);
	if (ret == 0)
		ret = check_queues(f, pairs);
	if (ret == 0)
		ret = frontend_read_cid(f);
	return ret;
}

bool frontend_event_idx(const struct frontend *f)
{
	return f->features & VSOCK_FEATURE_EVENT_IDX;
}

bool frontend_takes_tables(const struct frontend *f)
{
	return f->features & VSOCK_FEATURE_INDIRECT_DESC;
}

/*
 * Backends without SEQPACKET are of a generation that never sends an event and treats a third
 * running virtqueue as an error.
 */
bool frontend_wants_events(const struct frontend *f)
{
	return f->features & VSOCK_FEATURE_SEQPACKET;
}

/* The same generation: vhost-device-vsock up to 0.3 does so. */
bool frontend_may_return_unwritten(const struct frontend *f)
{
	return !(f->features & VSOCK_FEATURE_SEQPACKET);
}

int frontend_read_cid(struct frontend *f)
{
	struct vu_msg m, reply;
	enum frontend_fault fault;
	uint64_t cid;
	int ret;

	frontend_msg_config(&m, 0, sizeof(cid));
	ret = ask(f, &m, &reply, m.size);
	if (ret)
		return ret;
	fault = frontend_reply_config(&reply, &m, &cid);
	if (fault)
		return bad_reply(f, &m, fault);
	cid = le64toh(cid);
	if (!vsock_cid_is_guest(cid) && !(f->host_app && cid == VSOCK_CID_HOST))
		return zv_err(-EPROTO,
			      "the vhost-user backend at %s gives this guest the CID %llu, "
			      "which is reserved: configure another (3 or above)",
			      f->path, (unsigned long long)cid);
	__atomic_store_n(&f->guest_cid, cid, __ATOMIC_RELEASE);
	return 0;
}

int frontend_set_memory(struct frontend *f, const struct frontend_mem *mem, unsigned n)
{
	bool acked = f->protocol & VU_PROTOCOL_REPLY_ACK;
	struct vu_msg m, reply;
	int fd[FRONTEND_MEM_MAX], ret;
	uint64_t size = 0;

	frontend_msg_mem(&m);
	if (acked)
		m.flags |= VU_FLAG_NEED_REPLY;
	for (unsigned i = 0; i < n; i++) {
		frontend_msg_mem_add(&m, mem[i].gpa, mem[i].size, uva_of_ptr(mem[i].addr),
				     mem[i].offset);
		fd[i] = mem[i].fd;
		size += mem[i].size;
	}
	ret = send_msg_fds(f, &m, fd, n);
	if (ret || !acked)
		return ret;
	ret = answer(f, &m, &reply, sizeof(reply.payload.u64));
	if (ret == 0 && reply.payload.u64 != 0)
		ret = zv_err(-EPROTO,
			     "the vhost-user backend at %s cannot map %llu bytes of memory: "
			     "its log tells why; fewer or smaller buffers may help",
			     f->path, (unsigned long long)size);
	return ret;
}

int frontend_start_ring(struct frontend *f, unsigned index, const struct virtq_areas *ring,
			int call_fd, int kick_fd)
{
	struct vu_msg m;
	int ret;

	ret = set_state(f, VU_SET_VRING_NUM, index, ring->size);
	if (ret == 0)
		ret = set_state(f, VU_SET_VRING_BASE, index, ring->base);
	if (ret == 0) {
		frontend_msg_addr(&m, index, uva_of_ptr(ring->desc), uva_of_ptr(ring->driver),
				  uva_of_ptr(ring->device));
		ret = send_msg(f, &m, -1);
	}
	if (ret == 0)
		ret = set_u64(f, VU_SET_VRING_CALL, index, call_fd);
	if (ret == 0)
		ret = set_u64(f, VU_SET_VRING_KICK, index, kick_fd);
	if (ret == 0)
		ret = set_state(f, VU_SET_VRING_ENABLE, index, 1);
	return ret;
}

int frontend_barrier(struct frontend *f)
{
	uint64_t ignored;

	return ask_u64(f, f->protocol & VU_PROTOCOL_MQ ? VU_GET_QUEUE_NUM : VU_GET_FEATURES,
		       &ignored);
}
