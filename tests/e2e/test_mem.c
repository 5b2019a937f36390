/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the application that is sent without a copy (zvsock_mem.h), between two processes: what
 * arrives, when its completion comes, and what becomes of it when the other process holds it, is
 * killed and comes back. Over both layouts of rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_host.h>
#include <zvsock_mem.h>

#define SUM_PORT  10u /* STREAM: answers with a sum over all bytes when they have ended */
#define MSG_PORT  11u /* SEQPACKET: answers each message with the sum over it */
#define HOLD_PORT 12u /* STREAM: keeps what it is lent while shared->hold is 1 */
#define LEN	  (8u << 20)
#define WAIT_S	  60u
#define WAIT_NS	  (WAIT_S * 1000000000ull)

static char dir[] = "/tmp/zvsock-mem-XXXXXX";
static char host_uri[256], guest_uri[256];
static struct shared {
	int hold, held;
} * shared;
static pid_t host;

static uint64_t sum(uint64_t s, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s = s * 31 + p[i];
	return s;
}

/* ---- the host ---- */

struct peer {
	struct zv_conn *c;
	uint32_t port;
	uint64_t sum;
	struct zv_buf held[64];
	unsigned nheld;
};

static uint8_t room[1 << 20];

static void hold(struct peer *p)
{
	int n = p->nheld < 64 ? zv_buf_recv(p->c, p->held + p->nheld, 64 - p->nheld) : -EAGAIN;

	p->nheld += n > 0 ? (unsigned)n : 0;
	__atomic_store_n(&shared->held, p->nheld != 0, __ATOMIC_RELEASE);
	if (!__atomic_load_n(&shared->hold, __ATOMIC_ACQUIRE) && p->nheld) {
		zv_buf_release(zv_conn_queue(p->c), p->held, p->nheld);
		p->nheld = 0;
	}
}

static void serve(struct peer *p)
{
	ssize_t n;

	if (p->port == HOLD_PORT) {
		hold(p);
		return;
	}
	while ((n = zv_recv(p->c, room, sizeof(room), NULL)) > 0) {
		p->sum = sum(p->sum, room, (size_t)n);
		if (p->port == MSG_PORT) {
			(void)zv_send(p->c, &p->sum, sizeof(p->sum), 0);
			p->sum = 0;
		}
	}
	if (n == 0 && p->port == SUM_PORT) {
		(void)zv_send(p->c, &p->sum, sizeof(p->sum), 0);
		(void)zv_shutdown(p->c, 1);
		p->port = 0;
	}
}

static int host_main(void)
{
	struct peer peers[16] = {{0}};
	unsigned n = 0;
	struct zv_dev *d;

	if (zv_host_init() || zv_open(&d, host_uri, NULL) || zv_listen(d, SUM_PORT, ZV_STREAM, 0) ||
	    zv_listen(d, MSG_PORT, ZV_SEQPACKET, 0) || zv_listen(d, HOLD_PORT, ZV_STREAM, 0))
		return 1;
	for (;;) {
		struct zv_event ev[16];
		struct zv_conn *c;

		(void)zv_wait(zv_queue(d, 0), ev, 16, 1000000);
		for (uint32_t port = SUM_PORT; port <= HOLD_PORT; port++)
			while (n < 16 && zv_accept(zv_queue(d, 0), port, &c) == 0)
				peers[n++] = (struct peer){.c = c, .port = port};
		for (unsigned i = 0; i < n; i++)
			if (peers[i].port)
				serve(&peers[i]);
	}
}

static void start_host(void)
{
	host = fork();
	if (host == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(host_main());
	}
	assert_true(host > 0);
}

static void kill_host(void)
{
	if (host <= 0)
		return;
	kill(host, SIGKILL);
	waitpid(host, NULL, 0);
	host = 0;
}

/* ---- the guest ---- */

static struct zv_dev *dev;
static struct zv_queue *q;
static uint8_t *mem;
static int mem_fd;
static uint64_t copied_bytes, in_place_bytes;

static void open_guest(uint32_t flags)
{
	struct zv_opts o = {.size = sizeof(o), .flags = flags, .ring_size = 64, .tx_buf = 4096};

	for (unsigned i = 0; i < WAIT_S * 100 && zv_open(&dev, guest_uri, &o); i++)
		usleep(10000);
	assert_non_null(dev);
	q = zv_queue(dev, 0);
}

static struct zv_conn *dial(uint32_t port, enum zv_type type)
{
	struct zv_conn *c = NULL;
	int ret = -ENETDOWN;

	for (unsigned i = 0; i < WAIT_S * 100 && ret; i++) {
		ret = zv_connect_wait(q, ZV_CID_HOST, port, type, WAIT_NS, &c);
		if (ret)
			usleep(10000); /* the host is on its way */
	}
	assert_int_equal(ret, 0);
	return c;
}

static struct zv_mem *registered(void)
{
	struct zv_mem *m;

	assert_int_equal(zv_mem_register(dev, mem, LEN, mem_fd, 0, &m), 0);
	return m;
}

/* Takes completions; bytes of all of them. */
static size_t take_done(int err)
{
	struct zv_sent done[16];
	int n = zv_mem_done(q, done, 16);
	size_t bytes = 0;

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		assert_int_equal(done[i].err, err);
		assert_ptr_equal(done[i].user, q);
		bytes += done[i].len;
		*(done[i].flags & ZV_MEM_COPIED ? &copied_bytes : &in_place_bytes) += done[i].len;
	}
	return bytes;
}

/* Waits until @bytes have been completed. */
static void all_done(size_t bytes, int err)
{
	struct zv_event ev[8];

	for (size_t got = 0; got < bytes;) {
		size_t n = take_done(err);

		got += n;
		if (!n) /* what tells of them is ZV_EV_SENT, also to who sleeps */
			assert_true(zv_wait(q, ev, 8, WAIT_NS) > 0);
	}
}

static uint64_t answer(struct zv_conn *c)
{
	uint64_t s = 0;

	assert_int_equal(zv_conn_wait(c, ZV_EV_IN, WAIT_NS), ZV_EV_IN);
	assert_int_equal(zv_recv(c, &s, sizeof(s), NULL), sizeof(s));
	return s;
}

static size_t send_at(struct zv_conn *c, struct zv_mem *m, size_t off, size_t len)
{
	ssize_t n = -EAGAIN;

	while (n == -EAGAIN) {
		n = zv_send_mem(c, m, off, len, 0, q);
		if (n == -EAGAIN)
			assert_true(zv_conn_wait(c, ZV_EV_OUT, WAIT_NS) > 0);
	}
	assert_true(n > 0);
	return (size_t)n;
}

static void a_stream(uint32_t flags)
{
	struct zv_mem *m, *more;
	uint8_t *extra = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 1 << 20);
	uint64_t want = 0;
	struct zv_conn *c;
	size_t off = 0;

	open_guest(flags);
	m = registered();
	c = dial(SUM_PORT, ZV_STREAM);
	copied_bytes = in_place_bytes = 0;
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = 1 + (i * 2654435761u >> 7) % 100000, n;

		if (off + len > LEN)
			off = 0;
		n = send_at(c, m, off, len);
		want = sum(want, mem + off, n);
		off += n;
		(void)take_done(0);
		if (i % 500 == 0) { /* the backend's memory changes under traffic */
			assert_int_equal(
				zv_mem_register(dev, extra, 1 << 20, mem_fd, 1 << 20, &more), 0);
			assert_int_equal(zv_mem_unregister(more), 0);
		}
	}
	assert_int_equal(zv_shutdown(c, 1), 0);
	assert_true(answer(c) == want);
	while (zv_mem_unregister(m) == -EBUSY)
		all_done(1, 0);
	assert_true(in_place_bytes > copied_bytes && copied_bytes > 0);
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(dev), 0);
	munmap(extra, 1 << 20);
}

static void messages(uint32_t flags)
{
	struct zv_mem *m;
	struct zv_conn *c;

	open_guest(flags);
	m = registered();
	c = dial(MSG_PORT, ZV_SEQPACKET);
	copied_bytes = in_place_bytes = 0;
	for (unsigned i = 0; i < 300; i++) {
		size_t len = 1 + (i * 2654435761u >> 7) % 200000, off = i * 4099 % (LEN - 200000);

		assert_int_equal(send_at(c, m, off, len), len);
		assert_true(answer(c) == sum(0, mem + off, len));
		all_done(len, 0);
	}
	assert_true(in_place_bytes > copied_bytes);
	assert_int_equal(zv_send_mem(c, m, 0, 1 << 20, 0, q), -EMSGSIZE);
	assert_int_equal(zv_mem_unregister(m), 0);
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(dev), 0);
}

static void wait_held(void)
{
	for (unsigned i = 0; !__atomic_load_n(&shared->held, __ATOMIC_ACQUIRE); i++) {
		struct zv_event ev[4];

		assert_true(i < WAIT_S * 1000);
		assert_int_equal(zv_wait(q, ev, 4, 1000000), 0);
	}
}

/* What the peer looks at stays busy, whatever becomes of the connection. */
static void held_by_the_peer(uint32_t flags)
{
	struct zv_conn *c;
	struct zv_mem *m;

	open_guest(flags);
	m = registered();
	__atomic_store_n(&shared->hold, 1, __ATOMIC_RELEASE);
	c = dial(HOLD_PORT, ZV_STREAM);
	assert_int_equal(send_at(c, m, 4096, 10000), 10000);
	wait_held();
	assert_int_equal(take_done(0), 0);
	assert_int_equal(zv_mem_unregister(m), -EBUSY);
	assert_int_equal(zv_conn_reset(c), 0);
	assert_int_equal(take_done(0), 0);
	assert_int_equal(zv_mem_unregister(m), -EBUSY);
	__atomic_store_n(&shared->hold, 0, __ATOMIC_RELEASE);
	all_done(10000, 0);
	assert_int_equal(zv_mem_unregister(m), 0);
	assert_int_equal(zv_close(dev), 0);
}

/* The end of the backend gives everything back; memory that is registered is known to the next. */
static void the_backend_dies(uint32_t flags)
{
	struct zv_conn *c;
	struct zv_mem *m;

	open_guest(flags);
	m = registered();
	__atomic_store_n(&shared->hold, 1, __ATOMIC_RELEASE);
	c = dial(HOLD_PORT, ZV_STREAM);
	assert_int_equal(send_at(c, m, 0, 5000), 5000);
	assert_int_equal(send_at(c, m, 8192, 6000), 6000);
	wait_held();
	kill_host();
	all_done(11000, -ECONNRESET);
	assert_int_equal(zv_conn_close(c), 0);
	__atomic_store_n(&shared->hold, 0, __ATOMIC_RELEASE);
	start_host();
	c = dial(SUM_PORT, ZV_STREAM);
	in_place_bytes = 0;
	assert_int_equal(send_at(c, m, 123, 50000), 50000);
	all_done(50000, 0);
	assert_int_equal(in_place_bytes, 50000);
	assert_int_equal(zv_shutdown(c, 1), 0);
	assert_true(answer(c) == sum(0, mem + 123, 50000));
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_mem_unregister(m), 0);
	assert_int_equal(zv_close(dev), 0);
}

static void split_stream(void **state)
{
	(void)state;
	a_stream(ZV_OPT_SPLIT);
}

static void packed_stream(void **state)
{
	(void)state;
	a_stream(ZV_OPT_PACKED);
}

static void split_messages(void **state)
{
	(void)state;
	messages(ZV_OPT_SPLIT);
}

static void packed_messages(void **state)
{
	(void)state;
	messages(ZV_OPT_PACKED);
}

static void split_held_by_the_peer(void **state)
{
	(void)state;
	held_by_the_peer(ZV_OPT_SPLIT);
}

static void packed_held_by_the_peer(void **state)
{
	(void)state;
	held_by_the_peer(ZV_OPT_PACKED);
}

static void split_the_backend_dies(void **state)
{
	(void)state;
	the_backend_dies(ZV_OPT_SPLIT);
}

static void packed_the_backend_dies(void **state)
{
	(void)state;
	the_backend_dies(ZV_OPT_PACKED);
}

/* Memory that cannot be shared, or is one piece too many: the same calls, and a copy. */
static void what_is_not_shared_is_copied(void **state)
{
	uint8_t *own =
		mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct zv_mem *m, *pieces[ZV_MEM_MAX + 1];
	struct zv_conn *c;

	(void)state;
	open_guest(0);
	memset(own, 7, 1 << 16);
	assert_int_equal(zv_mem_register(dev, own, 1 << 16, -1, 0, &m), 1);
	assert_non_null(strstr(zv_error_text(), "without a file descriptor"));
	c = dial(SUM_PORT, ZV_STREAM);
	copied_bytes = in_place_bytes = 0;
	assert_int_equal(send_at(c, m, 0, 1 << 16), 1 << 16);
	assert_int_equal(take_done(0), 1 << 16);
	assert_int_equal(copied_bytes, 1 << 16);
	assert_int_equal(zv_shutdown(c, 1), 0);
	assert_true(answer(c) == sum(0, own, 1 << 16));
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_mem_unregister(m), 0);
	for (unsigned i = 0; i <= ZV_MEM_MAX; i++)
		assert_int_equal(
			zv_mem_register(dev, mem + i * 4096, 4096, mem_fd, i * 4096, &pieces[i]),
			i == ZV_MEM_MAX);
	assert_non_null(strstr(zv_error_text(), "as many as there can be"));
	for (unsigned i = 0; i < ZV_MEM_MAX; i++)
		assert_int_equal(zv_mem_unregister(pieces[i]), 0);
	/* The last one goes with the device. */
	assert_int_equal(zv_close(dev), 0);
	munmap(own, 1 << 16);
}

static void mistakes_are_told(void **state)
{
	struct zv_mem *m, *other;
	struct zv_conn *c;

	(void)state;
	open_guest(0);
	assert_int_equal(zv_mem_register(dev, mem + 1, 4096, mem_fd, 0, &m), -EINVAL);
	assert_int_equal(zv_mem_register(dev, mem, 0, mem_fd, 0, &m), -EINVAL);
	assert_int_equal(zv_mem_register(dev, mem, LEN, mem_fd, 4096, &m), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "less than offset"));
	assert_int_equal(zv_mem_register(dev, mem, LEN, 9999, 0, &m), -EBADF);
	assert_int_equal(zv_mem_register(NULL, mem, LEN, mem_fd, 0, &m), -EINVAL);
	m = registered();
	assert_int_equal(zv_mem_register(dev, mem + LEN - 4096, 4096, mem_fd, 0, &other), -EEXIST);
	c = dial(SUM_PORT, ZV_STREAM);
	assert_int_equal(zv_send_mem(c, m, LEN - 10, 11, 0, NULL), -EINVAL);
	assert_int_equal(zv_send_mem(c, m, SIZE_MAX, 11, 0, NULL), -EINVAL);
	assert_int_equal(zv_send_mem(c, m, 0, SIZE_MAX, 0, NULL), -EINVAL);
	assert_int_equal(zv_send_mem(c, m, 0, 10, ZV_MORE, NULL), -EINVAL);
	assert_int_equal(zv_send_mem(c, NULL, 0, 10, 0, NULL), -EINVAL);
	assert_int_equal(zv_mem_done(NULL, NULL, 0), -EINVAL);
	assert_int_equal(zv_mem_done(q, NULL, 0), 0);
	assert_int_equal(zv_mem_unregister(NULL), 0);
	assert_int_equal(zv_shutdown(c, 1), 0);
	assert_int_equal(zv_send_mem(c, m, 0, 8192, 0, NULL), -EPIPE);
	assert_int_equal(zv_mem_unregister(m), 0); /* what has failed has no completion */
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(dev), 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(host_uri, sizeof(host_uri), "host:%s/s,cid=3", dir);
	(void)snprintf(guest_uri, sizeof(guest_uri), "vhost-user:%s/s", dir);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mem_fd = memfd_create("zvsock-test-mem", MFD_CLOEXEC);
	if (mem_fd < 0 || ftruncate(mem_fd, LEN))
		return -1;
	mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
	for (size_t i = 0; i < LEN; i++)
		mem[i] = (uint8_t)(i * 2654435761u >> 11);
	start_host();
	return 0;
}

static int teardown(void **state)
{
	char path[300];

	(void)state;
	kill_host();
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/s.lock", dir);
	(void)unlink(path);
	return rmdir(dir);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_stream),
		cmocka_unit_test(packed_stream),
		cmocka_unit_test(split_messages),
		cmocka_unit_test(packed_messages),
		cmocka_unit_test(split_held_by_the_peer),
		cmocka_unit_test(packed_held_by_the_peer),
		cmocka_unit_test(what_is_not_shared_is_copied),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(split_the_backend_dies),
		cmocka_unit_test(packed_the_backend_dies),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
