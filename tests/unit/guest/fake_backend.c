/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_backend.h"

#include "proto/vsock/vsock_device.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void nap(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	nanosleep(&ms, NULL);
}

struct rights {
	int fd[FAKE_MEM];
	unsigned n;
};

/* Reads @len bytes, and descriptors if some come with them. False: end of file or quit. */
static bool read_all(struct fake_backend *b, int fd, void *buf, size_t len, struct rights *rights)
{
	size_t have = 0;

	while (have < len) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(sizeof(rights->fd))];
		} ctl;
		struct iovec iov = {(char *)buf + have, len - have};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = ctl.buf,
				    .msg_controllen = sizeof(ctl.buf)};
		struct pollfd p = {.fd = fd, .events = POLLIN};
		struct cmsghdr *c;
		ssize_t n;

		if (atomic_load(&b->quit))
			return false;
		if (poll(&p, 1, 5) <= 0)
			continue;
		n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return false;
		have += (size_t)n;
		c = CMSG_FIRSTHDR(&mh);
		if (c && c->cmsg_type == SCM_RIGHTS) {
			rights->n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(rights->fd, CMSG_DATA(c), rights->n * sizeof(int));
		}
	}
	return true;
}

static bool reply(struct fake_backend *b, int fd, struct vu_msg *m)
{
	enum fake_trick trick = m->request == b->trick_at ? b->trick : FAKE_GOOD;
	size_t len;

	m->flags = VU_VERSION | VU_FLAG_REPLY;
	len = vu_msg_len(m);
	switch (trick) {
	case FAKE_GOOD:
		break;
	case FAKE_EOF:
		return false;
	case FAKE_SILENT:
		return true;
	case FAKE_WRONG_ID:
		m->request++;
		break;
	case FAKE_NOT_REPLY:
		m->flags = VU_VERSION;
		break;
	case FAKE_SHORT_SIZE:
		m->size--;
		break;
	case FAKE_HUGE_SIZE:
		m->size = 0xfffffff0u;
		break;
	case FAKE_TRUNCATED:
		(void)send(fd, m, len - 3, MSG_NOSIGNAL);
		return false;
	case FAKE_DRIBBLE:
		for (size_t i = 0; i < len; i++) {
			if (send(fd, (char *)m + i, 1, MSG_NOSIGNAL) != 1)
				return false;
			nap();
		}
		return true;
	case FAKE_REFUSE:
		m->payload.u64 = 1;
		break;
	}
	return send(fd, m, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void drop_more(struct fake_backend *b)
{
	for (; b->n_more; b->n_more--)
		munmap(b->more[b->n_more - 1].map, b->more[b->n_more - 1].mem.size);
}

static void drop_session(struct fake_backend *b)
{
	pthread_mutex_lock(&b->lock);
	if (b->map)
		munmap(b->map, b->map_size);
	b->map = NULL;
	drop_more(b);
	for (unsigned i = 0; i < FAKE_RINGS; i++) {
		if (b->ring[i].call_fd > 0)
			close(b->ring[i].call_fd);
		if (b->ring[i].kick_fd > 0)
			close(b->ring[i].kick_fd);
	}
	memset(b->ring, 0, sizeof(b->ring));
	pthread_mutex_unlock(&b->lock);
}

static uint8_t *map_region(const struct vu_region *r, int fd)
{
	void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)r->offset);

	return p == MAP_FAILED ? NULL : p;
}

static bool set_mem(struct fake_backend *b, const struct vu_msg *m, struct rights *rights)
{
	const struct vu_region *r = m->payload.mem.region;
	bool good = rights->n && m->payload.mem.nregions == rights->n;

	drop_more(b);
	if (good && !b->map) {
		b->mem = r[0];
		b->map_size = b->mem.size;
		b->map = map_region(&r[0], rights->fd[0]);
		good = b->map;
	}
	for (unsigned i = 1; i < rights->n && good; i++) {
		b->more[i - 1].mem = r[i];
		b->more[i - 1].map = map_region(&r[i], rights->fd[i]);
		good = b->more[i - 1].map;
		b->n_more += good;
	}
	while (rights->n)
		close(rights->fd[--rights->n]);
	return good;
}

static bool handle_ring(struct fake_backend *b, const struct vu_msg *m, struct rights *rights)
{
	uint32_t i = m->payload.state.index & 0xff;
	struct fake_ring *r = &b->ring[i];

	if (i >= b->rings)
		return false;
	switch (m->request) {
	case VU_SET_VRING_NUM:
		r->num = m->payload.state.num;
		break;
	case VU_SET_VRING_BASE:
		r->base = m->payload.state.num;
		break;
	case VU_SET_VRING_ADDR:
		r->addr = m->payload.addr;
		break;
	case VU_SET_VRING_CALL:
		r->call_fd = rights->n ? rights->fd[0] : -1;
		break;
	case VU_SET_VRING_KICK:
		r->kick_fd = rights->n ? rights->fd[0] : -1;
		break;
	case VU_SET_VRING_ENABLE:
		r->enabled = (int)m->payload.state.num;
		break;
	default:
		return false;
	}
	return true;
}

static bool handle(struct fake_backend *b, int fd, struct vu_msg *m, struct rights *rights)
{
	bool wants_reply = m->flags & VU_FLAG_NEED_REPLY;
	unsigned enabled = 0;
	uint64_t cid;

	switch (m->request) {
	case VU_SET_OWNER:
		return true;
	case VU_SET_FEATURES:
		b->acked = m->payload.u64;
		return true;
	case VU_SET_PROTOCOL_FEATURES:
		b->acked_protocol = m->payload.u64;
		return true;
	case VU_GET_FEATURES:
	case VU_GET_PROTOCOL_FEATURES:
	case VU_GET_QUEUE_NUM:
		m->size = 8;
		m->payload.u64 = m->request == VU_GET_FEATURES		  ? b->features
				 : m->request == VU_GET_PROTOCOL_FEATURES ? b->protocol
									  : b->queues;
		for (unsigned i = 0; i < FAKE_RINGS; i++)
			enabled += b->ring[i].enabled == 1;
		if (!reply(b, fd, m))
			return false;
		if (enabled) /* the barrier */
			atomic_fetch_add(&b->ready, 1);
		return true;
	case VU_GET_CONFIG:
		cid = atomic_load(&b->cid);
		memcpy(m->payload.config.data, &cid, sizeof(cid));
		return reply(b, fd, m);
	case VU_SET_MEM_TABLE:
		if (!set_mem(b, m, rights))
			return false;
		m->size = 8;
		m->payload.u64 = 0;
		return wants_reply ? reply(b, fd, m) : true;
	default:
		return handle_ring(b, m, rights);
	}
}

static void serve(struct fake_backend *b, int fd)
{
	for (;;) {
		struct vu_msg m = {0};
		struct rights rights = {.n = 0};
		bool good;

		if (!read_all(b, fd, &m, VU_HEAD_LEN, &rights) || m.size > sizeof(m.payload) ||
		    !read_all(b, fd, &m.payload, m.size, &rights))
			return;
		pthread_mutex_lock(&b->lock);
		if (m.request < 64)
			b->requests[m.request]++;
		good = handle(b, fd, &m, &rights);
		pthread_mutex_unlock(&b->lock);
		if (!good)
			return;
	}
}

static void last_look(struct fake_backend *b)
{
	const uint16_t *avail = fake_user_va(b, b->ring[1].addr.avail, 4);

	usleep(20000); /* time for a frontend that does not wait */
	atomic_store(&b->last_avail, avail ? __atomic_load_n(&avail[1], __ATOMIC_ACQUIRE) : -1);
}

static void *fake_main(void *arg)
{
	struct fake_backend *b = arg;

	while (!atomic_load(&b->quit)) {
		struct pollfd p = {.fd = b->listen_fd, .events = POLLIN};
		int fd;

		if (poll(&p, 1, 5) <= 0)
			continue;
		fd = accept4(b->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		atomic_store(&b->fd, fd);
		serve(b, fd);
		atomic_store(&b->fd, -1);
		if (b->lets_go_late)
			last_look(b);
		close(fd);
		drop_session(b);
		atomic_fetch_add(&b->disconnects, 1);
	}
	return NULL;
}

void fake_init(struct fake_backend *b, const char *path)
{
	memset(b, 0, sizeof(*b));
	(void)pthread_mutex_init(&b->lock, NULL);
	b->features = VSOCK_FEATURE_VERSION_1 | VU_FEATURE_PROTOCOL | VSOCK_FEATURE_EVENT_IDX |
		      VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET | 1ULL << 2 |
		      VSOCK_FEATURE_INDIRECT_DESC | VSOCK_FEATURE_IN_ORDER;
	b->protocol = 0x629;
	b->queues = FAKE_RINGS;
	b->rings = FAKE_RINGS;
	atomic_store(&b->cid, 42);
	atomic_store(&b->fd, -1);
	(void)snprintf(b->path, sizeof(b->path), "%s", path);
}

void fake_start(struct fake_backend *b)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	memcpy(sa.sun_path, b->path, sizeof(sa.sun_path));
	unlink(b->path);
	b->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (b->listen_fd < 0 || bind(b->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    listen(b->listen_fd, 4)) {
		perror("fake backend");
		abort();
	}
	atomic_store(&b->quit, false);
	if (pthread_create(&b->thread, NULL, fake_main, b))
		abort();
}

void fake_stop(struct fake_backend *b)
{
	atomic_store(&b->quit, true);
	pthread_join(b->thread, NULL);
	close(b->listen_fd);
	unlink(b->path);
}

bool fake_wait_ready(struct fake_backend *b, unsigned n)
{
	for (unsigned i = 0; i < 30000 && atomic_load(&b->ready) < n; i++)
		nap();
	return atomic_load(&b->ready) >= n;
}

void fake_hang_up(struct fake_backend *b)
{
	int fd = atomic_load(&b->fd);

	if (fd >= 0)
		(void)shutdown(fd, SHUT_RDWR);
}

void fake_play(struct fake_backend *b, uint32_t at, enum fake_trick trick)
{
	pthread_mutex_lock(&b->lock);
	b->trick_at = at;
	b->trick = trick;
	pthread_mutex_unlock(&b->lock);
}

void fake_signal(struct fake_backend *b, unsigned i)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&b->lock);
	if (write(b->ring[i].call_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	pthread_mutex_unlock(&b->lock);
}

struct fake_ring fake_get_ring(struct fake_backend *b, unsigned i)
{
	struct fake_ring r;

	pthread_mutex_lock(&b->lock);
	r = b->ring[i];
	pthread_mutex_unlock(&b->lock);
	return r;
}

static void *locate(struct fake_backend *b, uint64_t addr, bool user, size_t len)
{
	uint8_t *p = NULL;
	uint64_t off;

	pthread_mutex_lock(&b->lock);
	off = addr - (user ? b->mem.uva : b->mem.gpa);
	if (b->map && off <= b->map_size && len <= b->map_size - off)
		p = b->map + off;
	pthread_mutex_unlock(&b->lock);
	return p;
}

void *fake_user_va(struct fake_backend *b, uint64_t uaddr, size_t len)
{
	return locate(b, uaddr, true, len);
}

void *fake_gpa_va(struct fake_backend *b, uint64_t gpa, size_t len)
{
	void *p = locate(b, gpa, false, len);

	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->n_more && !p; i++) {
		const struct vu_region *r = &b->more[i].mem;

		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			p = b->more[i].map + (gpa - r->gpa);
	}
	pthread_mutex_unlock(&b->lock);
	return p;
}
