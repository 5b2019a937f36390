/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user frontend of a few lines that can send any message in any order, against the `host:`
 * transport with the real rte_vhost, and what tests do with the two.
 */
#ifndef FRONT_FIX_H
#define FRONT_FIX_H

#include "guest_fix.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "pair/vhost_pair.h"
#include "proto/vhost_user.h"
#include "registry.h"
#include <zvsock_host.h>

/* Far more than an answer takes: rte_vhost's thread, or ours, may get no CPU for many seconds. */
#define FRONT_PATIENCE_S 60

extern const struct transport_ops *ops; /* of `host:`, once zv_host_init has been called */

#define N	 64u
#define D	 (G_GPA + G_DATA)
#define NEED_ACK 8u
#define NRINGS	 5u /* two pairs and the event ring */
#define FEATURES (1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 3 | DRV_LAYOUT)
#define EVT	 2u

struct mem_msg {
	uint32_t n, pad;
	struct {
		uint64_t gpa, size, uva, offset;
	} r;
};

struct front {
	int sock;
	unsigned nrings; /* that the backend must have */
	struct guest g;
	struct drv ring[NRINGS];
	int kick[NRINGS], call[NRINGS];
};

/* ---- the frontend ---- */

static inline void send_msg(struct front *f, uint32_t req, uint32_t flags, const void *payload,
			    uint32_t len, int fd)
{
	uint32_t head[3] = {req, 1 | flags, len};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov[2] = {{head, 12}, {(void *)(uintptr_t)payload, len}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	assert_int_equal(sendmsg(f->sock, &m, 0), 12 + len);
}

static inline void get_reply(struct front *f, uint32_t req, void *payload, uint32_t len)
{
	uint32_t head[3];

	assert_int_equal(recv(f->sock, head, 12, MSG_WAITALL), 12);
	assert_int_equal(head[0], req);
	assert_int_equal(head[2], len);
	assert_int_equal(recv(f->sock, payload, len, MSG_WAITALL), len);
}

static inline uint64_t get_u64(struct front *f, uint32_t req)
{
	uint64_t v;

	send_msg(f, req, 0, NULL, 0, -1);
	get_reply(f, req, &v, sizeof(v));
	return v;
}

/* Sends with REPLY_ACK; the answer comes after everything has been done. */
static inline void send_acked(struct front *f, uint32_t req, const void *payload, uint32_t len,
			      int fd)
{
	uint64_t v;

	send_msg(f, req, NEED_ACK, payload, len, fd);
	get_reply(f, req, &v, sizeof(v));
	assert_int_equal(v, 0);
}

static inline void send_state(struct front *f, uint32_t req, uint32_t ring, uint32_t num)
{
	struct vu_vring_state s = {ring, num};

	send_acked(f, req, &s, sizeof(s), -1);
}

static inline void send_fd(struct front *f, uint32_t req, uint64_t ring, int fd)
{
	send_acked(f, req, &ring, sizeof(ring), fd);
}

static inline int dial(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval tv = {.tv_sec = FRONT_PATIENCE_S};

	strcpy(sa.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static inline void set_mem(struct front *f)
{
	struct mem_msg m = {1, 0, {G_GPA, G_SIZE, G_UVA, 0}};

	send_acked(f, VU_SET_MEM_TABLE, &m, sizeof(m), f->g.fd);
}

static inline void handshake(struct front *f, uint64_t cid)
{
	struct {
		uint32_t off, size, flags;
		uint64_t cid;
	} __attribute__((packed)) c = {0, 8, 0, 0};
	uint64_t v = FEATURES;

	assert_int_equal(get_u64(f, 1) & FEATURES, FEATURES);
	assert_int_equal(get_u64(f, 1) & (1ull << 35 | 1ull << 40 | 4), 0);
	assert_int_equal(get_u64(f, 15), 0x629);
	v = 0x629;
	send_msg(f, 16, 0, &v, sizeof(v), -1);
	v = FEATURES;
	send_acked(f, VU_SET_FEATURES, &v, sizeof(v), -1);
	assert_int_equal(get_u64(f, VU_GET_QUEUE_NUM), f->nrings);
	send_msg(f, 3, 0, NULL, 0, -1);
	send_msg(f, VU_GET_CONFIG, 0, &c, sizeof(c), -1);
	get_reply(f, VU_GET_CONFIG, &c, sizeof(c));
	assert_int_equal(c.cid, cid);
	set_mem(f);
}

/* On a socket that is connected. */
static inline void front_on(struct front *f, int sock, unsigned nrings, uint64_t cid)
{
	f->sock = sock;
	f->nrings = nrings;
	guest_make(&f->g);
	for (unsigned i = 0; i < NRINGS; i++) {
		drv_make(&f->ring[i], &f->g, i, N);
		f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		f->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	handshake(f, cid);
}

static inline void front_make(struct front *f, const char *path, uint64_t cid)
{
	front_on(f, dial(path), NRINGS, cid);
}

static inline void front_free(struct front *f)
{
	close(f->sock);
	guest_free(&f->g);
	for (unsigned i = 0; i < NRINGS; i++) {
		close(f->kick[i]);
		close(f->call[i]);
	}
}

static inline void ring_setup(struct front *f, unsigned i, uint32_t taken)
{
	struct vu_vring_addr a = {
		.index = i,
		.desc = G_UVA + f->ring[i].off,
		.avail = G_UVA + f->ring[i].off + DRV_AVAIL,
		.used = G_UVA + f->ring[i].off + DRV_USED,
	};

	send_state(f, VU_SET_VRING_NUM, i, N);
	send_state(f, 10, i, drv_base(&f->ring[i], taken));
	send_acked(f, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	send_fd(f, VU_SET_VRING_KICK, i, f->kick[i]);
	send_fd(f, VU_SET_VRING_CALL, i, f->call[i]);
}

static inline void enable(struct front *f, unsigned i, unsigned on)
{
	send_state(f, VU_SET_VRING_ENABLE, i, on);
}

static inline uint32_t ring_stop(struct front *f, unsigned i)
{
	struct vu_vring_state s = {i, 0};

	send_msg(f, VU_GET_VRING_BASE, 0, &s, sizeof(s), -1);
	get_reply(f, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(s.index, i);
	return s.num;
}

static inline void pair_setup(struct front *f, unsigned rx, unsigned tx)
{
	ring_setup(f, rx, f->ring[rx].seen);
	ring_setup(f, tx, f->ring[tx].seen);
	enable(f, rx, 1);
	enable(f, tx, 1);
}

/* ---- the host ---- */

/* Waits until q->up is @up, woken by the queue's descriptor. */
static inline void wait_up(struct transport_queue *q, uint32_t up)
{
	time_t end = time(NULL) + FRONT_PATIENCE_S;

	while (time(NULL) < end) {
		struct pollfd p = {.fd = ops->fd(q), .events = POLLIN};
		bool done = false, mine = quiesce_enter(&q->qs);

		if (mine) {
			q->ops->disarm(q, true);
			done = q->up == up;
			if (!done)
				(void)q->ops->arm(q, 0);
			quiesce_leave(&q->qs);
		}
		if (done)
			return;
		/* Readable all the time while the control thread has the queue. */
		(void)poll(&p, mine, mine ? 100 : 1);
	}
	fail_msg("the queue did not go %s", up ? "up" : "down");
}

/* The control thread may have the queue for a moment. */
static inline void front_enter(struct transport_queue *q)
{
	for (unsigned ms = 0; !quiesce_enter(&q->qs); ms++) {
		assert_true(ms < 60000);
		usleep(1000);
	}
}

/* A REQUEST from the guest arrives, and a RESPONSE finds its way back, on rings @rx and @tx. */
static inline void exchange(struct front *f, struct transport_queue *q, unsigned rx, unsigned tx)
{
	struct vsock_hdr req = {3, 2, 1024, 80, 0, 1, VSOCK_OP_REQUEST, 0, 65536, 0}, got;
	struct vsock_hdr rsp = {2, 3, 80, 1024, 5, 1, VSOCK_OP_RW, 0, 65536, 0};
	uint64_t at = G_DATA + tx * 0x8000ull;
	struct rx_pkt p[4];
	struct tx_slot s;

	vsock_hdr_put(f->g.mem + at, &req);
	drv_desc(&f->ring[tx], 0, G_GPA + at, VSOCK_HDR_LEN, 0, 0);
	drv_offer(&f->ring[tx], 0);
	drv_desc(&f->ring[rx], 1, G_GPA + at + 0x1000, 2048, VRING_DESC_F_WRITE, 0);
	drv_offer(&f->ring[rx], 1);
	drv_used_event(&f->ring[rx], (uint16_t)f->ring[rx].seen);
	eventfd_write(f->kick[tx], 1);
	front_enter(q);
	assert_int_equal(q->ops->rx_burst(q, p, 4), 1);
	assert_int_equal(p[0].hdr.op, VSOCK_OP_REQUEST);
	assert_int_equal(p[0].hdr.src_port, 1024);
	assert_int_equal(q->ops->tx_reserve(q, &s, 1, 5, 0), 1);
	memcpy(s.data, "hello", 5);
	q->ops->tx_commit(q, s.token, &rsp);
	q->ops->publish(q);
	quiesce_leave(&q->qs);
	assert_used(&f->ring[tx], 0, 0);
	assert_used(&f->ring[rx], 1, VSOCK_HDR_LEN + 5);
	vsock_hdr_get(&got, f->g.mem + at + 0x1000);
	assert_memory_equal(&got, &rsp, VSOCK_HDR_LEN);
	assert_memory_equal(f->g.mem + at + 0x1000 + VSOCK_HDR_LEN, "hello", 5);
	assert_int_equal(eventfd_read(f->call[rx], &(eventfd_t){0}), 0);
}

#endif
