/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file behind the guest's memory is cut off while the host holds what the guest has sent: a
 * receiving call reports an error or gives what was sent, and never the zeros that the SIGBUS
 * handler has put there. Each case is a process of its own, because handler and memory are the
 * process's.
 */
#include "loop.h"
#include "sigbus.h"
#include "socket/chan/chan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 4000u
#define LEN  3000u
#define MSGS 8u

static struct zv_dev *guest, *host;
static struct zv_queue *g, *h;
static struct zv_conn *gc, *hc;

/* Ends the process: what does not hold is on standard error. */
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void polls(void)
{
	struct zv_event ev[8];

	for (int i = 0; i < 100; i++) {
		CHECK(zv_poll(g, ev, 8) >= 0);
		CHECK(zv_poll(h, ev, 8) >= 0);
	}
}

/* A guest that has sent MSGS times LEN bytes 0xa5, which the host has received and not read. */
static void begin(enum zv_type type, const struct zv_opts *o)
{
	uint8_t data[LEN];

	memset(data, 0xa5, sizeof(data));
	loop_unsealed = true;
	CHECK(sigbus_install() == 0);
	CHECK(zv_open(&host, "loophost:", o) == 0 && zv_open(&guest, "loopguest:", o) == 0);
	g = zv_queue(guest, 0);
	h = zv_queue(host, 0);
	CHECK(zv_listen(host, PORT, type, 0) == 0);
	polls();
	CHECK(zv_connect(g, ZV_CID_HOST, PORT, type, &gc) == 0);
	polls();
	CHECK(zv_accept(h, PORT, &hc) == 0);
	for (unsigned i = 0; i < MSGS; i++)
		CHECK(zv_send(gc, data, LEN, 0) == (ssize_t)LEN);
	polls();
}

/* Receives until there is no more; what comes is what was sent. The error, 0: a clean end. */
static int drain(uint32_t flags)
{
	static uint8_t got[2 * LEN];
	uint32_t f = flags;
	ssize_t n;

	while ((n = zv_recv(hc, got, sizeof(got), &f)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			CHECK(got[i] == 0xa5);
		f = 0;
	}
	return (int)n;
}

static void in_process(void (*fn)(enum zv_type), enum zv_type type)
{
	int status = 1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fn(type);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void cut_and_read(enum zv_type type)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 1, .rx_buf = 4096, .tx_buf = 4096};
	struct zv_event ev[8];

	begin(type, &o);
	CHECK(loop_cut_off() == 0);
	CHECK(drain(0) == -ECONNRESET);
	CHECK(drain(0) == -ECONNRESET); /* and it stays so */
	CHECK(zv_poll(h, ev, 8) >= 0);
	CHECK(zv_conn_close(hc) == 0);
}

static void cut_and_peek(enum zv_type type)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 1, .rx_buf = 4096, .tx_buf = 4096};

	begin(type, &o);
	CHECK(loop_cut_off() == 0);
	CHECK(drain(ZV_PEEK) == -ECONNRESET);
}

/* Another has met the missing page before: what a connection reads afterwards is no data either. */
static void cut_and_read_after_others(enum zv_type type)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 1, .rx_buf = 4096, .tx_buf = 4096};
	struct zv_buf b;

	begin(type, &o);
	CHECK(zv_buf_recv(hc, &b, 1) == 1);
	CHECK(loop_cut_off() == 0);
	CHECK(*(volatile uint8_t *)b.data == 0); /* in place there is no call that could say so */
	zv_buf_release(h, &b, 1);
	CHECK(drain(0) == -ECONNRESET);
}

/* A guest whose memory goes costs no other its data: here, a range that is none of the queue's. */
static void others_read_on(enum zv_type type)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 1, .rx_buf = 4096, .tx_buf = 4096};

	begin(type, &o);
	sigbus_faults++;
	CHECK(drain(0) == -EAGAIN);
	CHECK(zv_send(gc, "\xa5", 1, 0) == 1);
	polls();
	CHECK(drain(0) == -EAGAIN);
	CHECK(zv_conn_close(gc) == 0);
	polls();
	CHECK(drain(0) == 0);
}

/* ---- the region of a channel ---- */

static struct {
	int fd;
	uint8_t *mem;
	struct shm_channel_desc desc;
	uint32_t truncated;
} region;

static void attach(struct zv_conn *c, enum shm_role role)
{
	const struct chan_opts o = {.region = region.mem,
				    .size = region.desc.length,
				    .truncated = &region.truncated,
				    .desc = &region.desc,
				    .role = role};

	CHECK(chan_attach(c, &o) == 0);
}

/* A guest that has sent MSGS times LEN bytes over a channel in a file that can be cut off. */
static void begin_channel(enum zv_type type)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 1};
	uint8_t data[LEN];

	memset(data, 0xa5, sizeof(data));
	CHECK(sigbus_install() == 0);
	CHECK(zv_open(&host, "loophost:", &o) == 0 && zv_open(&guest, "loopguest:", &o) == 0);
	g = zv_queue(guest, 0);
	h = zv_queue(host, 0);
	CHECK(zv_listen(host, PORT, type, 0) == 0);
	CHECK(zv_connect(g, ZV_CID_HOST, PORT, type, &gc) == 0);
	polls();
	CHECK(zv_accept(h, PORT, &hc) == 0);
	shm_channel_desc_init(&region.desc, 0, 1);
	region.desc.length = shm_channel_bytes(&region.desc);
	region.fd = memfd_create("cut", MFD_CLOEXEC);
	CHECK(ftruncate(region.fd, (off_t)region.desc.length) == 0);
	region.mem =
		mmap(NULL, region.desc.length, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	CHECK(region.mem != MAP_FAILED);
	CHECK(sigbus_watch(region.mem, region.desc.length, &region.truncated) >= 0);
	CHECK(shm_channel_format(region.mem, region.desc.length, &region.desc) == 0);
	attach(gc, SHM_ROLE_A);
	attach(hc, SHM_ROLE_B);
	for (unsigned i = 0; i < MSGS; i++)
		CHECK(zv_send(gc, data, LEN, 0) == (ssize_t)LEN);
	polls();
}

static void cut_and_read_a_channel(enum zv_type type)
{
	begin_channel(type);
	CHECK(ftruncate(region.fd, 0) == 0);
	CHECK(drain(0) == -ECONNRESET);
	CHECK(drain(0) == -ECONNRESET);
	polls();
	CHECK(zv_send(gc, "x", 1, 0) == -ECONNRESET);
	CHECK(zv_conn_close(hc) == 0 && zv_conn_close(gc) == 0);
}

static void cut_and_peek_a_channel(enum zv_type type)
{
	begin_channel(type);
	CHECK(ftruncate(region.fd, 0) == 0);
	CHECK(drain(ZV_PEEK) == -ECONNRESET);
}

static void cut_and_borrow_of_a_channel(enum zv_type type)
{
	struct zv_buf b;

	begin_channel(type);
	CHECK(zv_buf_recv(hc, &b, 1) == 1);
	CHECK(ftruncate(region.fd, 0) == 0);
	CHECK(*(volatile uint8_t *)b.data == 0); /* in place there is no call that could say so */
	CHECK(zv_buf_recv(hc, &(struct zv_buf){0}, 1) == -ECONNRESET);
	zv_buf_release(h, &b, 1);
	polls();
	CHECK(zv_send(gc, "x", 1, 0) == -ECONNRESET);
}

/* The sender has closed in order before: it looks whole, and is not. */
static void close_and_cut_a_channel(enum zv_type type)
{
	begin_channel(type);
	CHECK(zv_conn_close(gc) == 0);
	polls();
	CHECK(ftruncate(region.fd, 0) == 0);
	CHECK(drain(0) == -ECONNRESET);
	CHECK(drain(0) == -ECONNRESET);
}

#define CASE(fn)                                                                                   \
	static void fn##_of_a_stream(void **state)                                                 \
	{                                                                                          \
		(void)state;                                                                       \
		in_process(fn, ZV_STREAM);                                                         \
	}                                                                                          \
	static void fn##_of_a_message(void **state)                                                \
	{                                                                                          \
		(void)state;                                                                       \
		in_process(fn, ZV_SEQPACKET);                                                      \
	}
CASE(cut_and_read)
CASE(cut_and_peek)
CASE(cut_and_read_after_others)
CASE(others_read_on)
CASE(cut_and_read_a_channel)
CASE(cut_and_peek_a_channel)
CASE(cut_and_borrow_of_a_channel)
CASE(close_and_cut_a_channel)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_and_read_of_a_stream),
		cmocka_unit_test(cut_and_read_of_a_message),
		cmocka_unit_test(cut_and_peek_of_a_stream),
		cmocka_unit_test(cut_and_peek_of_a_message),
		cmocka_unit_test(cut_and_read_after_others_of_a_stream),
		cmocka_unit_test(cut_and_read_after_others_of_a_message),
		cmocka_unit_test(others_read_on_of_a_stream),
		cmocka_unit_test(others_read_on_of_a_message),
		cmocka_unit_test(cut_and_read_a_channel_of_a_stream),
		cmocka_unit_test(cut_and_read_a_channel_of_a_message),
		cmocka_unit_test(cut_and_peek_a_channel_of_a_stream),
		cmocka_unit_test(cut_and_peek_a_channel_of_a_message),
		cmocka_unit_test(cut_and_borrow_of_a_channel_of_a_stream),
		cmocka_unit_test(cut_and_borrow_of_a_channel_of_a_message),
		cmocka_unit_test(close_and_cut_a_channel_of_a_stream),
		cmocka_unit_test(close_and_cut_a_channel_of_a_message),
	};

	return cmocka_run_group_tests_name("memory that is cut off", tests, NULL, NULL);
}
