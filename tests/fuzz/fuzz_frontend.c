/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frontend of a vhost-user connection against a backend that answers with anything.
 *
 * What the backend says is put into a socket pair in one piece before the frontend asks its first
 * question, and then the stream ends; so the frontend never waits. Answers come from the input, raw
 * or with a header that fits the question, and may carry descriptors. The frontend must come to an
 * end, keep nothing of an answer that it refused, believe no reserved CID and hold no descriptor
 * that it was not given. The pure checks of frontend_msg.c are called with the same bytes as well.
 */
#include "fuzz.h"
#include "proto/vsock/vsock_device.h"
#include "transport.h"
#include "vhost-user/frontend.h"
#include "vhost-user/frontend_msg.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAM_MAX 4096u

/* The questions of frontend_negotiate(), frontend_set_memory() and frontend_barrier(), in that
 * order. */
static const struct {
	uint32_t request, size;
	uint64_t value; /* of a good answer */
} honest[] = {
	{VU_GET_FEATURES, 8, 0x160000003ull},
	{VU_GET_PROTOCOL_FEATURES, 8, 0x209},
	{VU_GET_QUEUE_NUM, 8, 33},
	{VU_GET_CONFIG, 20, 42},
	{VU_SET_MEM_TABLE, 8, 0},
	{VU_GET_QUEUE_NUM, 8, 33},
	{VU_GET_CONFIG, 20, 43},
};
#define QUESTIONS (sizeof(honest) / sizeof(honest[0]))

static size_t answer(struct fz *z, unsigned i, uint8_t *out)
{
	uint8_t how = fz_u8(z), raw;
	struct vu_msg m;

	if (how == 0) { /* no answer at all, but some bytes */
		raw = fz_u8(z);
		fz_bytes(z, out, raw);
		return raw;
	}
	frontend_msg_u64(&m, honest[i].request, honest[i].value);
	m.flags = VU_VERSION | VU_FLAG_REPLY;
	m.size = honest[i].size;
	if (honest[i].request == VU_GET_CONFIG) {
		memset(&m.payload, 0, sizeof(m.payload));
		m.payload.config.size = 8;
		m.payload.config.data[0] = (uint8_t)honest[i].value;
	}
	if (how & 0x10)
		fz_bytes(z, &m.payload, honest[i].size);
	if (how & 0x20)
		m.size = fz_u32(z);
	if (how & 0x40)
		m.flags = fz_u32(z);
	if (how & 0x80)
		m.request = fz_u8(z);
	memcpy(out, &m, sizeof(m));
	return VU_HEAD_LEN + honest[i].size;
}

/* Sends @len bytes, the first of them with @nfd copies of @fd. */
static void feed(int to, const uint8_t *bytes, size_t len, int fd, unsigned nfd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[4] = {fd, fd, fd, fd};
	struct cmsghdr *c;

	if (len == 0)
		return;
	if (nfd) {
		mh.msg_control = ctl.buf;
		mh.msg_controllen = CMSG_SPACE(nfd * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfd * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfd * sizeof(int));
	}
	FZ_CHECK(sendmsg(to, &mh, MSG_NOSIGNAL) == (ssize_t)len);
}

/* The checks alone, on a message of raw bytes. */
static void pure(struct fz *z)
{
	struct vu_msg reply, sent;
	uint8_t dst[VU_CONFIG_SIZE];
	uint32_t offset = fz_u16(z), len = fz_u8(z) % (VU_CONFIG_SIZE + 1), size = fz_u8(z);

	frontend_msg_config(&sent, offset, len);
	FZ_CHECK(vu_msg_len(&sent) == VU_HEAD_LEN + VU_CONFIG_HEAD + len);
	memset(&reply, 0, sizeof(reply));
	fz_bytes(z, &reply, VU_HEAD_LEN + VU_CONFIG_HEAD + 64);
	if (frontend_reply_check(&reply, &sent, size) == FRONTEND_OK)
		FZ_CHECK(reply.request == VU_GET_CONFIG && (reply.flags & VU_FLAG_REPLY) &&
			 (reply.flags & VU_FLAG_VERSION) == VU_VERSION && reply.size == size);
	memset(dst, 0xa5, sizeof(dst));
	if (frontend_reply_config(&reply, &sent, dst) == FRONTEND_OK) {
		FZ_CHECK(reply.payload.config.offset == offset && reply.payload.config.size == len);
		FZ_CHECK(memcmp(dst, reply.payload.config.data, len) == 0);
		for (uint32_t i = len; i < VU_CONFIG_SIZE; i++)
			FZ_CHECK(dst[i] == 0xa5);
	}
	FZ_CHECK(vu_request_name(reply.request) &&
		 frontend_fault_text((enum frontend_fault)(size % 8)));
}

static void talk(struct frontend *f, unsigned pairs)
{
	static uint8_t memory[4096];
	int ret = frontend_negotiate(f, pairs);

	FZ_CHECK(ret == 0 || ret == -EPROTO || ret == -EPROTONOSUPPORT || ret == -ERANGE);
	if (ret) {
		FZ_CHECK(zv_error_text()[0] != 0);
		return;
	}
	FZ_CHECK(f->guest_cid > 2 && f->guest_cid < UINT32_MAX);
	FZ_CHECK(f->features & VSOCK_FEATURE_VERSION_1 && f->protocol & VU_PROTOCOL_CONFIG);
	FZ_CHECK((frontend_event_idx(f), frontend_wants_events(f), true));
	if (frontend_set_memory(
		    f,
		    &(struct frontend_mem){STDERR_FILENO, memory, sizeof(memory), {0x40000000}, 0},
		    1) == 0 &&
	    frontend_barrier(f) == 0)
		(void)frontend_read_cid(f);
	FZ_CHECK(f->guest_cid > 2 && f->guest_cid < UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[STREAM_MAX];
	struct fz z = {data, size};
	struct frontend f;
	unsigned pairs = 1 + fz_u8(&z) % 16, nfd = fz_u8(&z) % 5;
	int sv[2], probe, again;
	size_t n = 0;

	pure(&z);
	for (unsigned i = 0; i < QUESTIONS; i++)
		n += answer(&z, i, bytes + n);
	FZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
	feed(sv[1], bytes, n, sv[1], nfd);
	FZ_CHECK(shutdown(sv[1], SHUT_WR) == 0);
	FZ_CHECK(frontend_init(&f, "fuzz", -1) == 0);
	probe = dup(sv[1]);
	f.fd = sv[0];
	talk(&f, pairs);
	frontend_disconnect(&f);
	(void)close(probe);
	again = dup(sv[1]); /* the lowest free number: none may have been taken meanwhile */
	FZ_CHECK(again == sv[0] || again == probe);
	(void)close(again);
	(void)close(sv[1]);
	return 0;
}
