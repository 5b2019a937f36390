/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors: missing, surplus, of the wrong kind; memory tables. */
#include "msg_cases.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* A request with c->size bytes of payload and c->nfd descriptors. */
static void with_fds(struct raw *r, const struct msg_case *c)
{
	uint8_t p[64] = {0};
	int fds[16];

	for (unsigned i = 0; i < c->nfd; i++)
		fds[i] = r->ring[0].kick;
	assert_int_equal(raw_ask(r, c->req, p, c->size, fds, c->nfd), c->answer);
}

/* A request that has an answer of its own, with a surplus descriptor. */
static void query_with_fds(struct raw *r, const struct msg_case *c)
{
	uint8_t p[64] = {0}, out[64];
	unsigned back = 0;

	p[4] = 8; /* GET_CONFIG: size */
	assert_int_equal(raw_query(r, c->req, p, c->size, r->ring[0].kick, out, sizeof(out), &back),
			 -1);
	assert_int_equal(back, 0);
}

static void set_config_with_fds(struct raw *r, const struct msg_case *c)
{
	unsigned before = testbed_fds();
	uint8_t p[20] = {0};

	p[4] = 8; /* size */
	for (int i = 0; i < 50; i++)
		assert_int_equal(raw_ask(r, REQ_SET_CONFIG, p, sizeof(p), &r->ring[0].kick, 1),
				 c->answer);
	assert_true(testbed_fds_back(before + 2));
}

/* ---- what is not an eventfd ---- */

static int open_rw_pipe(void)
{
	char path[32];
	int p[2], fd;

	assert_int_equal(pipe(p), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	fd = open(path, O_RDWR);
	close(p[0]);
	close(p[1]);
	return fd;
}

/* One end of a pair; the other one lives as long as the case: until let_go(). */
static int ends_kept[4], n_ends_kept;

static int one_end(int type)
{
	int p[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, p), 0);
	assert_in_range(n_ends_kept, 0, 3);
	ends_kept[n_ends_kept++] = p[0];
	return p[1];
}

static void let_go(void)
{
	while (n_ends_kept)
		close(ends_kept[--n_ends_kept]);
}

static int listening(void)
{
	struct sockaddr name = {.sa_family = AF_UNIX}; /* the kernel chooses it */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, &name, sizeof(name.sa_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int make_fd(const struct raw *r, enum fd_kind kind)
{
	int p[2], size = INT_MAX / 2;

	switch (kind) {
	case PIPE: /* its reader is the writer itself, so that it lives as long */
		return open_rw_pipe();
	case PIPE_CLOSED:
		assert_int_equal(pipe(p), 0);
		close(p[0]);
		return p[1];
	case SOCKET_CLOSED:
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
		close(p[0]);
		return p[1];
	case SOCKET:
		return one_end(SOCK_STREAM);
	case SOCKET_HUGE: /* as far as this user may */
		p[0] = one_end(SOCK_STREAM);
		if (setsockopt(p[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			(void)setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		return p[0];
	case SOCKET_SHUT:
		p[0] = one_end(SOCK_STREAM);
		assert_int_equal(shutdown(p[0], SHUT_RDWR), 0);
		return p[0];
	case SOCKET_LISTENING:
		return listening();
	case SOCKET_DGRAM:
		return one_end(SOCK_DGRAM);
	case SOCKET_TCP:
		return socket(AF_INET, SOCK_STREAM, 0);
	case FULL_EVENTFD: /* blocking, and a write of 1 would not return */
		p[0] = eventfd(0, 0);
		assert_int_equal(eventfd_write(p[0], UINT64_MAX - 1), 0);
		return p[0];
	case MEMFD:
		return dup(r->memfd);
	case EPOLL:
		return epoll_create1(0);
	case DEV_NULL:
		return open("/dev/null", O_RDWR);
	default:
		return -1;
	}
}

/* A descriptor of the case's kind for both rings; then the host is made to use it. */
static void odd_fd(struct raw *r, const struct msg_case *c)
{
	for (uint64_t ring = 0; ring < 2; ring++) {
		uint64_t v = ring | (c->kind == NO_FD ? 0x100 : 0);
		int fd = make_fd(r, c->kind);

		assert_int_equal(raw_ask(r, c->req, &v, sizeof(v), &fd, fd >= 0), c->answer);
		if (fd >= 0)
			close(fd);
	}
	/* used_event asks for a notification of each packet */
	for (unsigned i = 0; i < 200; i++) {
		shm_store16(&r->ring[RAW_TX].avail->ring[RAW_N], r->ring[RAW_TX].used_seen);
		shm_store16(&r->ring[RAW_RX].avail->ring[RAW_N], r->ring[RAW_RX].used_seen);
		assert_true(raw_pkt(r, VSOCK_OP_CREDIT_REQUEST, NULL, 0));
		raw_pump(r);
		if (i == 100) /* an other end that was there goes */
			let_go();
	}
}

/* A channel that the host must not write to. */
static void odd_channel(struct raw *r, const struct msg_case *c)
{
	int fd = make_fd(r, c->kind);

	assert_int_equal(raw_ask(r, REQ_SET_SLAVE_FD, NULL, 0, &fd, 1), c->answer);
	close(fd);
	let_go();
}

/* One in which descriptors wait that would be closed with it. */
static void filled_channel(struct raw *r, const struct msg_case *c)
{
	int fd = one_end(SOCK_STREAM);

	assert_int_equal(send(ends_kept[n_ends_kept - 1], "x", 1, 0), 1);
	assert_int_equal(raw_ask(r, REQ_SET_SLAVE_FD, NULL, 0, &fd, 1), c->answer);
	close(fd);
	let_go();
}

/* ---- memory tables ---- */

static int64_t table(struct raw *r, const struct table *t)
{
	struct {
		uint32_t n, pad;
		struct raw_region r[9];
	} m = {.n = t->n};
	int fds[9], other = eventfd(0, 0), file = memfd_create("short", 0);
	int64_t v;

	assert_int_equal(ftruncate(file, (off_t)t->truncate), 0);
	for (unsigned i = 0; i < 9; i++) {
		m.r[i] = i < 2 && t->r[i].gpa + t->r[i].size
				 ? t->r[i]
				 : (struct raw_region){RAW_A + i * 0x10000, 0x1000,
						       RAW_UVA + i * 0x10000, 0};
		fds[i] = t->other_fd ? other : t->truncate ? file : r->memfd;
	}
	v = raw_ask(r, REQ_SET_MEM_TABLE, &m, 8 + 32 * (t->n < 9 ? t->n : 9), fds, t->nfd);
	close(other);
	close(file);
	return v;
}

static void mem_table(struct raw *r, const struct msg_case *c)
{
	assert_int_equal(table(r, &c->table), c->answer);
}

/* The file behind the new table is too short for the rings that run. */
static void short_file(struct raw *r, const struct msg_case *c)
{
	struct table t = {.n = 1,
			  .nfd = 1,
			  .r = {{.gpa = RAW_A, .size = RAW_A_SIZE, .uva = RAW_UVA}},
			  .truncate = c->file_size};

	assert_int_equal(table(r, &t), REFUSED);
	/* and nobody looks at it afterwards */
	(void)raw_addr(r, 0);
	(void)ring_kick(r, 0);
	(void)ring_kick(r, 1);
}

static void many_tables(struct raw *r, const struct msg_case *c)
{
	unsigned maps = testbed_maps();

	for (uint32_t i = 0; i < c->times; i++) {
		struct raw_region reg[3] = {
			{RAW_A, RAW_A_SIZE, RAW_UVA, 0},
			{RAW_B, RAW_B_SIZE - i % 2 * 0x1000, RAW_UVA + RAW_B_OFF, RAW_B_OFF}};

		assert_int_equal(raw_mem_table(r, reg, 2), 0);
		assert_true(raw_echo(r, "the same session", 16));
	}
	assert_in_range(testbed_maps(), 0, maps + 3);
}

#define N(x)	    .req = REQ_##x
#define REGION(...) .table = {.n = 1, .nfd = 1, .r = {{__VA_ARGS__}}}
#define ODD(x, k)   odd_fd, N(x), .kind = (k)
#define CHANNEL(k)  odd_channel, .kind = (k), .answer = REFUSED

const struct msg_case fd_cases[] = {
	{"GET_FEATURES with a descriptor", query_with_fds, .want = HANGS_UP, N(GET_FEATURES)},
	{"GET_QUEUE_NUM with a descriptor", query_with_fds, .want = HANGS_UP, N(GET_QUEUE_NUM)},
	{"GET_CONFIG with a descriptor", query_with_fds, .want = HANGS_UP, N(GET_CONFIG),
	 .size = 20},
	{"SET_CONFIG with a descriptor, 50 times", set_config_with_fds, .answer = REFUSED},
	{"SET_VRING_NUM with 8 descriptors", with_fds, N(SET_VRING_NUM), .size = 8, .nfd = 8,
	 .answer = REFUSED},
	{"SET_FEATURES with 16 descriptors", with_fds, .want = HANGS_UP, N(SET_FEATURES), .size = 8,
	 .nfd = 16, .answer = -1},
	{"request 200 with 8 descriptors", with_fds, .req = 200, .size = 8, .nfd = 8,
	 .answer = REFUSED},
	{"POSTCOPY_ADVISE with 8 descriptors", with_fds, N(POSTCOPY_ADVISE), .nfd = 8,
	 .answer = REFUSED},
	{"SET_VRING_KICK without descriptor", with_fds, N(SET_VRING_KICK), .size = 8,
	 .answer = REFUSED},
	{"SET_VRING_KICK with two descriptors", with_fds, N(SET_VRING_KICK), .size = 8, .nfd = 2,
	 .answer = REFUSED},
	{"SET_VRING_CALL without descriptor", with_fds, N(SET_VRING_CALL), .size = 8,
	 .answer = REFUSED},
	{"SET_VRING_CALL with 8 descriptors", with_fds, N(SET_VRING_CALL), .size = 8, .nfd = 8,
	 .answer = REFUSED},
	{"SET_VRING_ERR with two descriptors", with_fds, N(SET_VRING_ERR), .size = 8, .nfd = 2,
	 .answer = REFUSED},
	{"SET_SLAVE_REQ_FD without descriptor", with_fds, N(SET_SLAVE_FD), .answer = REFUSED},
	{"a pipe to be called on", ODD(SET_VRING_CALL, PIPE), .answer = REFUSED},
	{"a pipe without reader to be called on", ODD(SET_VRING_CALL, PIPE_CLOSED),
	 .answer = REFUSED},
	{"a socket without peer to be called on", ODD(SET_VRING_CALL, SOCKET_CLOSED),
	 .answer = REFUSED},
	{"a socket that nobody reads to be called on", ODD(SET_VRING_CALL, SOCKET)},
	{"a socket with a huge buffer to be called on", ODD(SET_VRING_CALL, SOCKET_HUGE)},
	{"a socket that is shut down to be called on", ODD(SET_VRING_CALL, SOCKET_SHUT),
	 .answer = REFUSED},
	{"a listening socket to be called on", ODD(SET_VRING_CALL, SOCKET_LISTENING),
	 .answer = REFUSED},
	{"a datagram socket to be called on", ODD(SET_VRING_CALL, SOCKET_DGRAM), .answer = REFUSED},
	{"a TCP socket to be called on", ODD(SET_VRING_CALL, SOCKET_TCP), .answer = REFUSED},
	{"a full, blocking eventfd to be called on", ODD(SET_VRING_CALL, FULL_EVENTFD)},
	{"guest memory to be called on", ODD(SET_VRING_CALL, MEMFD), .answer = REFUSED},
	{"an epoll set to be called on", ODD(SET_VRING_CALL, EPOLL), .answer = REFUSED},
	{"/dev/null to be called on", ODD(SET_VRING_CALL, DEV_NULL), .answer = REFUSED},
	{"nothing to be called on: polling", ODD(SET_VRING_CALL, NO_FD)},
	{"a TCP socket as the backend channel", CHANNEL(SOCKET_TCP)},
	{"a listening socket as the backend channel", CHANNEL(SOCKET_LISTENING)},
	{"a datagram socket as the backend channel", CHANNEL(SOCKET_DGRAM)},
	{"a socket without peer as the backend channel", CHANNEL(SOCKET_CLOSED)},
	{"an epoll set as the backend channel", CHANNEL(EPOLL)},
	{"guest memory as the backend channel", CHANNEL(MEMFD)},
	{"a socket with something in it as the backend channel", filled_channel, .answer = REFUSED},
	{"a pipe to be kicked by", ODD(SET_VRING_KICK, PIPE), .answer = REFUSED},
	{"a socket to be kicked by", ODD(SET_VRING_KICK, SOCKET), .answer = REFUSED},
	{"a socket without peer to be kicked by", ODD(SET_VRING_KICK, SOCKET_CLOSED),
	 .answer = REFUSED},
	{"guest memory to be kicked by", ODD(SET_VRING_KICK, MEMFD), .answer = REFUSED},
	{"an epoll set to be kicked by", ODD(SET_VRING_KICK, EPOLL), .answer = REFUSED},
	{"a full eventfd to be kicked by", ODD(SET_VRING_KICK, FULL_EVENTFD), .want = UNKNOWN},
	{"memory table of no regions", mem_table, .table = {.n = 0}, .answer = REFUSED},
	{"memory table of 9 regions", mem_table, .want = HANGS_UP, .table = {.n = 9, .nfd = 8},
	 .answer = -1},
	{"memory table of 2^32 - 1 regions", mem_table, .want = HANGS_UP,
	 .table = {.n = UINT32_MAX, .nfd = 1}, .answer = -1},
	{"memory table with a descriptor missing", mem_table, .table = {.n = 2, .nfd = 1},
	 .answer = REFUSED},
	{"memory table with surplus descriptors", mem_table, .table = {.n = 1, .nfd = 3},
	 .answer = REFUSED},
	{"memory table without descriptors", mem_table, .table = {.n = 1, .nfd = 0},
	 .answer = REFUSED},
	{"region of size 0", mem_table, REGION(.gpa = RAW_A, .size = 0, .uva = RAW_UVA),
	 .answer = REFUSED},
	{"region of size 2^64 - 1", mem_table,
	 REGION(.gpa = RAW_A, .size = UINT64_MAX, .uva = RAW_UVA), .answer = REFUSED},
	{"region whose offset wraps", mem_table,
	 REGION(.gpa = RAW_A, .size = 0x1000, .uva = RAW_UVA, .offset = UINT64_MAX - 0x1000),
	 .answer = REFUSED},
	{"region whose offset and size are 2^64", mem_table,
	 REGION(.gpa = RAW_A, .size = 0x1000, .uva = RAW_UVA, .offset = UINT64_MAX - 0xfff),
	 .answer = REFUSED},
	{"region that wraps in guest memory", mem_table,
	 REGION(.gpa = UINT64_MAX - 0xfff, .size = 0x2000, .uva = RAW_UVA), .answer = REFUSED},
	{"region that wraps in the frontend's memory", mem_table,
	 REGION(.gpa = RAW_A, .size = 0x2000, .uva = UINT64_MAX - 0xfff), .answer = REFUSED},
	{"region that is an eventfd", mem_table,
	 REGION(.gpa = RAW_A, .size = RAW_A_SIZE, .uva = RAW_UVA), .table.other_fd = true,
	 .answer = REFUSED},
	{"region larger than its file", mem_table,
	 REGION(.gpa = RAW_A, .size = RAW_A_SIZE, .uva = RAW_UVA), .table.truncate = 0x1000,
	 .answer = REFUSED},
	{"region at an odd offset", mem_table, .want = DOWN,
	 REGION(.gpa = RAW_A, .size = 0x1000, .uva = RAW_UVA, .offset = 0x123),
	 .table.truncate = 0x2000, .answer = 0},
	{"regions that overlap", mem_table,
	 .table = {.n = 2,
		   .nfd = 2,
		   .r = {{.gpa = RAW_A, .size = RAW_A_SIZE, .uva = RAW_UVA},
			 {.gpa = RAW_A, .size = 0x1000, .uva = RAW_UVA, .offset = 0x1000}}},
	 .answer = 0},
	{"running rings in a file of one page", short_file, .want = UNKNOWN, .file_size = 0x1000},
	{"running rings in a file that ends behind them", short_file, .want = UNKNOWN,
	 .file_size = 0xc000},
	{"200 memory tables under traffic", many_tables, .times = 200},
};
const unsigned n_fd_cases = sizeof(fd_cases) / sizeof(fd_cases[0]);
