/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `host:` transport with the real rte_vhost, against a frontend of a few lines that can send
 * any message in any order.
 */
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

#include "registry.h"
#include "vsock_dev.h"
#include "vu_msg.h"
#include <zvsock_host.h>

/* The socket layer's table of its own transports; not needed here. */
const struct transport_ops *const zv_builtin_transports[] = {NULL};

#define N	 64u
#define D	 (G_GPA + G_DATA)
#define NEED_ACK 8u
#define NRINGS	 5u /* two pairs and the event ring */
#define FEATURES (1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 3)
#define EVT	 2u

struct mem_msg {
	uint32_t n, pad;
	struct {
		uint64_t gpa, size, uva, offset;
	} r;
};

struct front {
	int sock;
	struct guest g;
	struct drv ring[NRINGS];
	int kick[NRINGS], call[NRINGS];
};

static char dir[] = "/tmp/zvsock-rte-XXXXXX";
static char sock_a[64], sock_b[64];
static const struct transport_ops *ops;
static const struct zv_opts opts = {.size = sizeof(opts), .queues = 2};

/* ---- the frontend ---- */

static void send_msg(struct front *f, uint32_t req, uint32_t flags, const void *payload,
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

static void get_reply(struct front *f, uint32_t req, void *payload, uint32_t len)
{
	uint32_t head[3];

	assert_int_equal(recv(f->sock, head, 12, MSG_WAITALL), 12);
	assert_int_equal(head[0], req);
	assert_int_equal(head[2], len);
	assert_int_equal(recv(f->sock, payload, len, MSG_WAITALL), len);
}

static uint64_t get_u64(struct front *f, uint32_t req)
{
	uint64_t v;

	send_msg(f, req, 0, NULL, 0, -1);
	get_reply(f, req, &v, sizeof(v));
	return v;
}

/* Sends with REPLY_ACK; the answer comes after everything has been done. */
static void send_acked(struct front *f, uint32_t req, const void *payload, uint32_t len, int fd)
{
	uint64_t v;

	send_msg(f, req, NEED_ACK, payload, len, fd);
	get_reply(f, req, &v, sizeof(v));
	assert_int_equal(v, 0);
}

static void send_state(struct front *f, uint32_t req, uint32_t ring, uint32_t num)
{
	struct vhost_vring_state s = {ring, num};

	send_acked(f, req, &s, sizeof(s), -1);
}

static void send_fd(struct front *f, uint32_t req, uint64_t ring, int fd)
{
	send_acked(f, req, &ring, sizeof(ring), fd);
}

static int dial(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval tv = {.tv_sec = 10};

	strcpy(sa.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void set_mem(struct front *f)
{
	struct mem_msg m = {1, 0, {G_GPA, G_SIZE, G_UVA, 0}};

	send_acked(f, VU_SET_MEM_TABLE, &m, sizeof(m), f->g.fd);
}

static void handshake(struct front *f, uint64_t cid)
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
	assert_int_equal(get_u64(f, VU_GET_QUEUE_NUM), NRINGS);
	send_msg(f, 3, 0, NULL, 0, -1);
	send_msg(f, VU_GET_CONFIG, 0, &c, sizeof(c), -1);
	get_reply(f, VU_GET_CONFIG, &c, sizeof(c));
	assert_int_equal(c.cid, cid);
	set_mem(f);
}

static void front_make(struct front *f, const char *path, uint64_t cid)
{
	f->sock = dial(path);
	guest_make(&f->g);
	for (unsigned i = 0; i < NRINGS; i++) {
		drv_make(&f->ring[i], &f->g, i, N);
		f->kick[i] = eventfd(0, EFD_NONBLOCK);
		f->call[i] = eventfd(0, EFD_NONBLOCK);
	}
	handshake(f, cid);
}

static void front_free(struct front *f)
{
	close(f->sock);
	guest_free(&f->g);
	for (unsigned i = 0; i < NRINGS; i++) {
		close(f->kick[i]);
		close(f->call[i]);
	}
}

static void ring_setup(struct front *f, unsigned i, uint16_t base)
{
	struct vhost_vring_addr a = {
		.index = i,
		.desc_user_addr = G_UVA + f->ring[i].off,
		.avail_user_addr = G_UVA + f->ring[i].off + DRV_AVAIL,
		.used_user_addr = G_UVA + f->ring[i].off + DRV_USED,
	};

	send_state(f, VU_SET_VRING_NUM, i, N);
	send_state(f, 10, i, base);
	send_acked(f, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	send_fd(f, VU_SET_VRING_KICK, i, f->kick[i]);
	send_fd(f, VU_SET_VRING_CALL, i, f->call[i]);
}

static void enable(struct front *f, unsigned i, unsigned on)
{
	send_state(f, VU_SET_VRING_ENABLE, i, on);
}

static uint32_t ring_stop(struct front *f, unsigned i)
{
	struct vhost_vring_state s = {i, 0};

	send_msg(f, VU_GET_VRING_BASE, 0, &s, sizeof(s), -1);
	get_reply(f, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(s.index, i);
	return s.num;
}

static void pair_setup(struct front *f, unsigned rx, unsigned tx)
{
	ring_setup(f, rx, f->ring[rx].seen);
	ring_setup(f, tx, f->ring[tx].seen);
	enable(f, rx, 1);
	enable(f, tx, 1);
}

/* ---- the host ---- */

static struct tdev *open_dev(const char *path, unsigned cid)
{
	struct tdev *d = NULL;
	char rest[128];

	snprintf(rest, sizeof(rest), "%s,cid=%u", path, cid);
	assert_int_equal(ops->open(&d, rest, &opts), 0);
	assert_int_equal(ops->guest_cid(d), cid);
	return d;
}

/* Waits, for as long as a test may take, until q->up is @up; through the queue's descriptor. */
static void wait_up(struct tq *q, uint32_t up)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		struct pollfd p = {.fd = ops->fd(q), .events = POLLIN};
		bool done = false;

		if (quiesce_enter(&q->qs)) {
			ops->disarm(q);
			done = q->up == up;
			if (!done)
				(void)ops->arm(q, 0);
			quiesce_leave(&q->qs);
		}
		if (done)
			return;
		(void)poll(&p, 1, 100);
	}
	fail_msg("the queue did not go %s", up ? "up" : "down");
}

/* A REQUEST from the guest arrives, and a RESPONSE finds its way back, on rings @rx and @tx. */
static void exchange(struct front *f, struct tq *q, unsigned rx, unsigned tx)
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
	f->ring[rx].avail->ring[N] = f->ring[rx].seen;
	eventfd_write(f->kick[tx], 1);
	assert_true(quiesce_enter(&q->qs));
	assert_int_equal(ops->rx_burst(q, p, 4), 1);
	assert_int_equal(p[0].hdr.op, VSOCK_OP_REQUEST);
	assert_int_equal(p[0].hdr.src_port, 1024);
	assert_int_equal(ops->tx_reserve(q, &s, 1, 5, 0), 1);
	memcpy(s.data, "hello", 5);
	ops->tx_commit(q, s.token, &rsp);
	ops->publish(q);
	quiesce_leave(&q->qs);
	assert_used(&f->ring[tx], 0, 0);
	assert_used(&f->ring[rx], 1, VSOCK_HDR_LEN + 5);
	vsock_hdr_get(&got, f->g.mem + at + 0x1000);
	assert_memory_equal(&got, &rsp, VSOCK_HDR_LEN);
	assert_memory_equal(f->g.mem + at + 0x1000 + VSOCK_HDR_LEN, "hello", 5);
	assert_int_equal(eventfd_read(f->call[rx], &(eventfd_t){0}), 0);
}

static void init(void **state)
{
	cpu_set_t before, after;
	const char *rest;

	(void)state;
	sched_getaffinity(0, sizeof(before), &before);
	assert_int_equal(zv_host_init(), 0);
	assert_int_equal(zv_host_init(), 0);
	sched_getaffinity(0, sizeof(after), &after);
	assert_true(CPU_EQUAL(&before, &after));
	ops = zv_transport_find("host:x", &rest);
	assert_non_null(ops);
	assert_string_equal(rest, "x");
	assert_int_equal(ops->role, ZV_ROLE_HOST);
}

static void registry(void **state)
{
	struct zv_opts many = opts;
	struct tdev *a = open_dev(sock_a, 3), *b = NULL;
	char rest[128];

	(void)state;
	snprintf(rest, sizeof(rest), "%s,cid=3", sock_b);
	assert_int_equal(ops->open(&b, rest, &opts), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), sock_a));
	snprintf(rest, sizeof(rest), "%s,cid=4", sock_a);
	assert_int_equal(ops->open(&b, rest, &opts), -EADDRINUSE);
	snprintf(rest, sizeof(rest), "%s,cid=4", sock_b);
	many.queues = 17;
	assert_int_equal(ops->open(&b, rest, &many), -EINVAL);
	assert_int_equal(ops->open(&b, "/nonexistent/dir/s,cid=9", &opts), -ENOENT);
	assert_null(b);
	b = open_dev(sock_b, 4);
	ops->close(a);
	assert_int_equal(access(sock_a, F_OK), -1);
	a = open_dev(sock_a, 3); /* both are free again */
	ops->close(b);
	ops->close(a);
}

static void session(void **state)
{
	struct tdev *d = open_dev(sock_a, 3);
	struct tq *q = ops->queue(d, 0), *q1 = ops->queue(d, 1);
	struct front f, late;
	uint32_t s;
	char c;

	(void)state;
	assert_null(ops->queue(d, 2));
	front_make(&f, sock_a, 3);
	/* flips right after start, as QEMU makes them; the second pair stays unused */
	pair_setup(&f, 0, 1);
	enable(&f, 0, 0);
	enable(&f, 0, 1);
	wait_up(q, 1);
	assert_int_equal(q->rx_descs, N);
	assert_int_equal(ops->page_size(d), 4096);
	exchange(&f, q, 0, 1);
	s = q->session;
	assert_int_equal(q->stats.sessions, 2);
	/* neither new call descriptors nor a new memory table end the session */
	send_fd(&f, VU_SET_VRING_CALL, 0, f.call[0]);
	send_fd(&f, VU_SET_VRING_CALL, 1, f.call[1]);
	exchange(&f, q, 0, 1);
	set_mem(&f);
	exchange(&f, q, 0, 1);
	assert_int_equal(q->session, s);
	/* a second frontend is turned away */
	late.sock = dial(sock_a);
	assert_int_equal(recv(late.sock, &c, 1, 0), 0);
	close(late.sock);
	exchange(&f, q, 0, 1);
	/* the second pair */
	assert_int_equal(q1->up, 0);
	pair_setup(&f, 3, 4);
	wait_up(q1, 1);
	exchange(&f, q1, 3, 4);
	exchange(&f, q, 0, 1);
	/* GET_VRING_BASE ends the session of its own pair only, and tells where it stood */
	assert_int_equal(ring_stop(&f, 0), f.ring[0].seen);
	wait_up(q, 0);
	assert_int_not_equal(q->session, s);
	assert_int_equal(ring_stop(&f, 1), f.ring[1].seen);
	exchange(&f, q1, 3, 4);
	/* again under a live driver: TRANSPORT_RESET on the event ring */
	ring_setup(&f, EVT, 0);
	drv_desc(&f.ring[EVT], 0, D, 8, VRING_DESC_F_WRITE, 0);
	drv_offer(&f.ring[EVT], 0);
	f.g.mem[G_DATA] = 0xff;
	enable(&f, EVT, 1);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	assert_used(&f.ring[EVT], 0, 4);
	assert_int_equal(f.g.mem[G_DATA], 0);
	assert_int_equal(ring_stop(&f, EVT), 1);
	exchange(&f, q, 0, 1);
	/* the frontend goes */
	front_free(&f);
	wait_up(q, 0);
	wait_up(q1, 0);
	/* another one comes */
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	ops->close(d);
	assert_int_equal(recv(f.sock, &c, 1, 0), 0);
	front_free(&f);
	assert_int_equal(access(sock_a, F_OK), -1);
}

/* A broken ring stays down until it is started again; loans are returned by a stop. */
static void broken(void **state)
{
	struct tdev *d = open_dev(sock_a, 3);
	struct tq *q = ops->queue(d, 0);
	struct vsock_hdr rw = {3, 2, 1024, 80, 4, 1, VSOCK_OP_RW, 0, 65536, 0};
	struct front f;
	struct rx_pkt p[4];
	uint32_t s;

	(void)state;
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	s = q->session;
	drv_desc(&f.ring[1], 0, G_GPA + G_SIZE, VSOCK_HDR_LEN, 0, 0);
	drv_offer(&f.ring[1], 0);
	assert_true(quiesce_enter(&q->qs));
	assert_int_equal(ops->rx_burst(q, p, 4), 0);
	quiesce_leave(&q->qs);
	assert_int_equal(q->up, 0);
	assert_int_equal(q->session, s + 1);
	assert_int_equal(q->stats.ring_broken, 1);
	/* messages that change nothing do not revive it */
	enable(&f, 0, 1);
	send_fd(&f, VU_SET_VRING_CALL, 0, f.call[0]);
	assert_int_equal(q->up, 0);
	/* a driver that resets the device does */
	(void)ring_stop(&f, 0);
	(void)ring_stop(&f, 1);
	drv_make(&f.ring[0], &f.g, 0, N);
	drv_make(&f.ring[1], &f.g, 1, N);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* a packet on loan while the ring is stopped */
	vsock_hdr_put(f.g.mem + G_DATA, &rw);
	memcpy(f.g.mem + G_DATA + VSOCK_HDR_LEN, "data", 4);
	drv_desc(&f.ring[1], 2, D, VSOCK_HDR_LEN + 4, 0, 0);
	drv_offer(&f.ring[1], 2);
	assert_true(quiesce_enter(&q->qs));
	assert_int_equal(ops->rx_burst(q, p, 4), 1);
	quiesce_leave(&q->qs);
	assert_int_equal(ring_stop(&f, 1), 2);
	assert_used(&f.ring[1], 2, 0);
	assert_memory_equal(p[0].seg[0].base, "\0\0\0\0", 4); /* revoked, still mapped */
	p[0].seg[0].base[0] = 'x';
	assert_int_equal(f.g.mem[G_DATA + VSOCK_HDR_LEN], 'd');
	assert_true(quiesce_enter(&q->qs));
	ops->rx_release(q, p[0].token);
	quiesce_leave(&q->qs);
	front_free(&f);
	ops->close(d);
}

/* Rings outside guest memory, a table that drops them, nonsense: refused, and nobody falls over. */
static void bad_frontend(void **state)
{
	struct tdev *d = open_dev(sock_a, 3);
	struct tq *q = ops->queue(d, 0);
	struct vhost_vring_addr a = {.index = 1,
				     .desc_user_addr = G_UVA + G_SIZE - 16,
				     .avail_user_addr = G_UVA,
				     .used_user_addr = G_UVA + 1};
	struct mem_msg m = {1, 0, {G_GPA, 0x4000, G_UVA, 0}};
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3);
	ring_setup(&f, 0, 0);
	ring_setup(&f, 1, 0);
	send_acked(&f, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	enable(&f, 0, 1);
	enable(&f, 1, 1);
	assert_int_equal(q->up, 0);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* the new table covers ring 0 only */
	send_acked(&f, VU_SET_MEM_TABLE, &m, sizeof(m), f.g.fd);
	wait_up(q, 0);
	set_mem(&f);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* a message that is none */
	send_msg(&f, 200, 0, NULL, 0, -1);
	wait_up(q, 0);
	front_free(&f);
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	front_free(&f);
	ops->close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init),	  cmocka_unit_test(registry),	  cmocka_unit_test(session),
		cmocka_unit_test(broken), cmocka_unit_test(bad_frontend),
	};
	int ret;

	if (!mkdtemp(dir))
		return 99;
	snprintf(sock_a, sizeof(sock_a), "%s/a", dir);
	snprintf(sock_b, sizeof(sock_b), "%s/b", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	/* nothing may be left in it */
	return rmdir(dir) < 0 ? 1 : ret;
}
