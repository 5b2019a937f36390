/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user half of the raw frontend. */
#include "raw_layout.h"

#include <endian.h>
#include <errno.h>
#include <linux/vhost_types.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 64u

struct state {
	uint32_t index, num;
};

struct addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

uint64_t raw_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void raw_init(struct raw *r)
{
	memset(r, 0, sizeof(*r));
	r->layout = &raw_split;
	r->sock = r->memfd = -1;
	for (unsigned i = 0; i < RAW_RINGS; i++)
		r->ring[i].kick = r->ring[i].call = -1;
}

/*
 * With a time-out on the socket, calls end with EINTR when the process has been stopped and goes
 * on, without any signal handler (signal(7)).
 */
#define AGAIN(call) TEMP_FAILURE_RETRY(call)

bool raw_dial(struct raw *r, const char *path, uint64_t cid, unsigned flags)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = RAW_PATIENCE_MS / 1000};

	raw_init(r);
	r->cid = cid;
	r->flags = flags;
	r->layout = raw_layout_of(flags);
	r->next_port = 20000;
	r->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
	if (connect(r->sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return false;
	setsockopt(r->sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(r->sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return true;
}

bool raw_send_as(struct raw *r, uint32_t req, uint32_t flags, uint32_t size, const void *payload,
		 uint32_t len, const int *fds, unsigned nfd)
{
	uint32_t head[3] = {req, flags, size};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} ctl;
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)payload, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
	struct cmsghdr *c;

	if (nfd) {
		memset(&ctl, 0, sizeof(ctl));
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(nfd * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfd * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfd * sizeof(int));
	}
	return AGAIN(sendmsg(r->sock, &m, MSG_NOSIGNAL)) == (ssize_t)(sizeof(head) + len);
}

bool raw_send(struct raw *r, uint32_t req, const void *payload, uint32_t len, int fd)
{
	return raw_send_as(r, req, 1, len, payload, len, &fd, fd >= 0);
}

/* Reads exactly @len bytes and closes what descriptors come along. */
static bool get(struct raw *r, void *buf, size_t len, unsigned *nfd)
{
	size_t have = 0;

	while (have < len) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
		} ctl;
		struct iovec iov = {(char *)buf + have, len - have};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = ctl.buf,
				   .msg_controllen = sizeof(ctl.buf)};
		ssize_t n = AGAIN(recvmsg(r->sock, &m, MSG_CMSG_CLOEXEC));

		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; c->cmsg_type == SCM_RIGHTS && i < fds; i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				close(fd);
				(*nfd)++;
			}
		}
		have += (size_t)n;
	}
	return true;
}

static int answer(struct raw *r, uint32_t req, void *out, uint32_t max, unsigned *nfd)
{
	uint32_t head[3];
	uint8_t skip;

	if (!get(r, head, sizeof(head), nfd) || head[0] != req || head[2] > 4096)
		return -1;
	if (!get(r, out, head[2] < max ? head[2] : max, nfd))
		return -1;
	for (uint32_t i = max; i < head[2]; i++)
		if (!get(r, &skip, 1, nfd))
			return -1;
	return (int)head[2];
}

int raw_query_as(struct raw *r, uint32_t req, uint32_t flags, const void *payload, uint32_t len,
		 int fd, void *out, uint32_t max, unsigned *nfd)
{
	unsigned none = 0;

	if (!raw_send_as(r, req, flags, len, payload, len, &fd, fd >= 0))
		return -1;
	return answer(r, req, out, max, nfd ? nfd : &none);
}

int raw_query(struct raw *r, uint32_t req, const void *payload, uint32_t len, int fd, void *out,
	      uint32_t max, unsigned *nfd)
{
	return raw_query_as(r, req, 1, payload, len, fd, out, max, nfd);
}

int64_t raw_ask(struct raw *r, uint32_t req, const void *payload, uint32_t len, const int *fds,
		unsigned nfd)
{
	uint64_t v = 0;
	unsigned got = 0;

	if (!raw_send_as(r, req, 1 | RAW_NEED_REPLY, len, payload, len, fds, nfd) ||
	    answer(r, req, &v, sizeof(v), &got) != sizeof(v))
		return -1;
	return (int64_t)v;
}

int64_t raw_state(struct raw *r, uint32_t req, uint32_t ring, uint32_t num)
{
	struct state s = {ring, num};

	return raw_ask(r, req, &s, sizeof(s), NULL, 0);
}

static uint64_t uva_of(const struct raw *r, const void *p)
{
	return RAW_UVA + (uint64_t)((const uint8_t *)p - r->mem);
}

int64_t raw_addr(struct raw *r, unsigned ring)
{
	struct addr a = {.index = ring,
			 .desc = uva_of(r, r->ring[ring].desc),
			 .avail = uva_of(r, r->ring[ring].avail),
			 .used = uva_of(r, r->ring[ring].used)};

	return raw_ask(r, REQ_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

int64_t raw_mem_table(struct raw *r, const struct raw_region *reg, unsigned n)
{
	struct {
		uint32_t n, pad;
		struct raw_region r[8];
	} m = {.n = n};
	int fds[8];

	memcpy(m.r, reg, n * sizeof(*reg));
	for (unsigned i = 0; i < n; i++)
		fds[i] = r->memfd;
	return raw_ask(r, REQ_SET_MEM_TABLE, &m, 8 + n * (uint32_t)sizeof(*reg), fds, n);
}

bool raw_hung_up(struct raw *r)
{
	char c;

	for (;;) {
		ssize_t n = AGAIN(recv(r->sock, &c, 1, 0));

		if (n <= 0)
			return n == 0 || errno == ECONNRESET;
	}
}

bool raw_memory(struct raw *r)
{
	r->memfd = memfd_create("zvsock-hostile", MFD_CLOEXEC);
	if (r->memfd < 0 || ftruncate(r->memfd, (off_t)(RAW_D_OFF + RAW_D_SIZE)) < 0)
		return false;
	r->mem = mmap(NULL, RAW_D_OFF, PROT_READ | PROT_WRITE, MAP_SHARED, r->memfd, 0);
	if (r->mem == MAP_FAILED) {
		r->mem = NULL;
		return false;
	}
	for (unsigned i = 0; i < RAW_RINGS; i++) {
		struct raw_ring *g = &r->ring[i];

		g->desc = raw_at(r, i * 0x4000u);
		g->avail = raw_at(r, i * 0x4000u + 0x1000);
		g->used = raw_at(r, i * 0x4000u + 0x2000);
		g->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		g->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	return true;
}

bool raw_handshake(struct raw *r)
{
	static const struct raw_region reg[] = {
		{RAW_A, RAW_A_SIZE, RAW_UVA, 0},
		{RAW_B, RAW_B_SIZE, RAW_UVA + RAW_B_OFF, RAW_B_OFF},
		{RAW_C, RAW_C_SIZE, RAW_UVA + RAW_C_OFF, RAW_C_OFF},
		{RAW_D, RAW_D_SIZE, RAW_UVA + RAW_D_OFF, RAW_D_OFF},
	};
	uint64_t v = 0, features = RAW_FEATURES | r->layout->feature;
	struct {
		uint32_t off, size, flags;
		uint64_t cid;
	} __attribute__((packed)) c = {0, 8, 0, 0};

	if (r->flags & RAW_NO_IND)
		features &= ~(1ull << 28);
	if (!r->mem && !raw_memory(r))
		return false;
	if (raw_query(r, REQ_GET_FEATURES, NULL, 0, -1, &v, 8, NULL) != 8 ||
	    (v & features) != features ||
	    raw_query(r, REQ_GET_PROTOCOL, NULL, 0, -1, &v, 8, NULL) != 8)
		return false;
	v = 0x629;
	if (!raw_send(r, REQ_SET_PROTOCOL, &v, 8, -1) ||
	    raw_ask(r, REQ_SET_FEATURES, &features, 8, NULL, 0) != 0 ||
	    !raw_send(r, REQ_SET_OWNER, NULL, 0, -1) ||
	    raw_query(r, REQ_GET_CONFIG, &c, sizeof(c), -1, &c, sizeof(c), NULL) != sizeof(c) ||
	    le64toh(c.cid) != r->cid)
		return false;
	return raw_mem_table(r, reg, r->flags & RAW_BIG ? 4 : 3) == 0;
}

static bool start_ring(struct raw *r, unsigned i)
{
	uint64_t no = i;

	return raw_state(r, REQ_SET_VRING_NUM, i, RAW_N) == 0 &&
	       raw_state(r, REQ_SET_VRING_BASE, i, r->layout->base(&r->ring[i])) == 0 &&
	       raw_addr(r, i) == 0 &&
	       raw_ask(r, REQ_SET_VRING_CALL, &no, 8, &r->ring[i].call, 1) == 0 &&
	       raw_ask(r, REQ_SET_VRING_KICK, &no, 8, &r->ring[i].kick, 1) == 0 &&
	       raw_state(r, REQ_SET_VRING_ENABLE, i, 1) == 0;
}

bool raw_start(struct raw *r)
{
	raw_rings_reset(r);
	return (!(r->flags & RAW_OLD) || start_ring(r, RAW_EVT)) && start_ring(r, RAW_RX) &&
	       start_ring(r, RAW_TX);
}

bool raw_open(struct raw *r, const char *path, uint64_t cid, unsigned flags)
{
	/* The backend refuses a frontend while it has not noticed that the last one has gone. */
	for (uint64_t end = raw_now_ms() + RAW_PATIENCE_MS; raw_now_ms() < end;) {
		if (raw_dial(r, path, cid, flags) && raw_handshake(r))
			return raw_start(r);
		raw_close(r);
		nanosleep(&(struct timespec){0, 200000}, NULL);
	}
	return false;
}

void raw_close(struct raw *r)
{
	if (r->sock > 0) /* 0: never used */
		close(r->sock);
	r->sock = -1;
	if (r->mem)
		munmap(r->mem, RAW_D_OFF);
	r->mem = NULL;
	if (r->memfd > 0)
		close(r->memfd);
	r->memfd = -1;
	for (unsigned i = 0; i < RAW_RINGS; i++) {
		if (r->ring[i].kick > 0)
			close(r->ring[i].kick);
		if (r->ring[i].call > 0)
			close(r->ring[i].call);
		r->ring[i].kick = r->ring[i].call = -1;
	}
}
