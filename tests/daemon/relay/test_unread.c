/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd, and programs of the host that do not read what a guest sends: what lies in the
 * kernel is bounded by the guest's rx_memory, whatever their number, and nothing of it is lost.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	 5000u
#define CONNS	 240u
#define MEMORY	 (16u << 20) /* rx_memory of the guest */
#define LEAST	 24576u	     /* that a connection may have beyond that: relay/sndbuf.h */
#define TCP_MAX	 73728u
#define MESSAGE	 30000u /* the credit of the first ten is more */
#define MESSAGES 10u

static struct zv_dev *A;
static int listener[3]; /* stream, seqpacket, TCP */
static struct zf_conn *conn[CONNS];
static int prog[CONNS];
static char data[MESSAGE];

static void open_conns(unsigned how, unsigned first, unsigned n)
{
	for (unsigned i = first; i < n; i++) {
		conn[i] = zf_connect(A, 0, ZV_CID_HOST, PORT + how,
				     how == 1 ? ZV_SEQPACKET : ZV_STREAM, NULL);
		assert_non_null(conn[i]);
		prog[i] = hs_accept(listener[how]);
		assert_true(prog[i] >= 0);
	}
}

static void close_some(unsigned first, unsigned n)
{
	for (unsigned i = first; i < n; i++) {
		zf_close(conn[i]);
		close(prog[i]);
	}
}

static void close_conns(unsigned n)
{
	close_some(0, n);
	assert_true(hs_counter_becomes("a", "sock_promised", 0));
}

static long unread(unsigned n)
{
	long all = 0;

	for (unsigned i = 0; i < n; i++) {
		int bytes = 0;

		assert_int_equal(ioctl(prog[i], FIONREAD, &bytes), 0);
		all += bytes;
	}
	return all;
}

struct jam {
	unsigned first, n, still; /* rounds in which nothing was sent */
	size_t len;
};

static bool jammed(void *arg)
{
	struct jam *j = arg;
	bool moved = false;

	for (unsigned i = j->first; i < j->n; i++)
		moved |= zv_send(conn[i]->c, data, j->len, 0) > 0;
	j->still = moved ? 0 : j->still + 1;
	return j->still == 2000;
}

/* The guest sends until nothing more is taken, and zvsockd has nothing more to do. */
static void jam(unsigned first, unsigned n, size_t len)
{
	struct jam j = {.first = first, .n = n, .len = len};

	assert_true(zf_until(jammed, &j));
	assert_true(hs_lcore_sleeps("a"));
}

static void streams_that_nobody_reads(void **state)
{
	static const size_t lens[] = {64, 16384};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		open_conns(0, 0, CONNS);
		jam(0, CONNS, lens[i]);
		assert_in_range(unread(CONNS), 1, MEMORY + CONNS * LEAST);
		assert_in_range(hs_counter("a", "sock_promised"), unread(CONNS),
				MEMORY + CONNS * LEAST);
		close_conns(CONNS);
	}
}

/* Send queues of the TCP sockets that lead to @port, by the kernel's table. */
static long tcp_unread(unsigned port)
{
	FILE *f = fopen("/proc/net/tcp", "re");
	char line[256];
	unsigned to, tx;
	long all = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*8s:%*4x %*8[0-9A-F]:%4x %*x %8x:", &to, &tx) == 2 &&
		    to == port)
			all += tx;
	(void)fclose(f);
	return all;
}

static uint16_t tcp_port;

static void tcp_that_nobody_reads(void **state)
{
	const unsigned n = 200;

	(void)state;
	open_conns(2, 0, n);
	jam(0, n, 16384);
	assert_in_range(tcp_unread(tcp_port), 1, MEMORY + n * TCP_MAX);
	close_conns(n);
}

struct reading {
	unsigned n, left; /* messages to come */
	bool got[CONNS];
};

static bool all_read(void *arg)
{
	static char msg[MESSAGE + 1];
	struct reading *r = arg;

	for (unsigned i = 0; i < r->n; i++) {
		ssize_t n = recv(prog[i], msg, sizeof(msg), MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			continue;
		assert_int_equal(n, MESSAGE);
		assert_false(r->got[i]);
		assert_memory_equal(msg, data, MESSAGE);
		r->got[i] = true;
		r->left--;
	}
	return !r->left;
}

struct sending {
	unsigned n;
	bool sent[CONNS];
};

static bool all_sent(void *arg)
{
	struct sending *s = arg;
	unsigned left = 0;

	for (unsigned i = 0; i < s->n; i++) {
		if (!s->sent[i])
			s->sent[i] = zv_send(conn[i]->c, data, MESSAGE, 0) == MESSAGE;
		left += !s->sent[i];
	}
	return !left;
}

/* Streams that nobody reads have taken all there is, also from sockets for messages: a message that
 * does not fit into what is left of one waits until there is room, and comes. */
static void long_messages_wait(void **state)
{
	struct sending s = {.n = MESSAGES};
	struct reading r = {.n = MESSAGES, .left = MESSAGES};

	(void)state;
	open_conns(1, 0, MESSAGES);
	open_conns(0, MESSAGES, CONNS);
	jam(MESSAGES, CONNS, 16384);
	assert_true(zf_until(all_sent, &s));
	assert_true(hs_lcore_sleeps("a"));
	assert_in_range(unread(CONNS), 1, MEMORY + CONNS * LEAST);
	close_some(MESSAGES, CONNS);
	assert_true(zf_until(all_read, &r));
	close_conns(MESSAGES);
}

static bool has_much_unread(void *arg)
{
	(void)arg;
	(void)zv_send(conn[0]->c, data, 16384, 0);
	return unread(1) > 131072;
}

/* One that has a small buffer grows when others have ended, or do not use theirs. */
static void a_small_one_grows(void **state)
{
	(void)state;
	open_conns(0, 0, CONNS);
	conn[0] = (zf_close(conn[0]), zf_connect(A, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL));
	close(prog[0]);
	prog[0] = hs_accept(listener[0]);
	assert_true(zf_until(has_much_unread, NULL));
	close_conns(CONNS);
}

static int stop(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

static const char *program;

static int start(void **state)
{
	char conf[512];

	(void)state;
	(void)hs_raise_fd_limit(4096);
	for (unsigned i = 0; i < MESSAGE; i++)
		data[i] = (char)(i * 7);
	listener[2] = hs_listen_tcp(&tcp_port);
	(void)snprintf(conf, sizeof(conf),
		       "[guest a]\ncid = 3\nsocket = @a.sock\nunix = @a.vs\nrx_memory = 16M\n"
		       "tcp = %u=127.0.0.1:%u\n",
		       PORT + 2, tcp_port);
	if (listener[2] < 0 || !zf_start(program, conf, 1))
		return -1;
	A = zf_zvsock_guest(0, "a.sock", 1);
	listener[0] = hs_listen("a.vs_5000", SOCK_STREAM);
	listener[1] = hs_listen("a.vs_5001", SOCK_SEQPACKET);
	return A && listener[0] >= 0 && listener[1] >= 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_that_nobody_reads),
		cmocka_unit_test(tcp_that_nobody_reads),
		cmocka_unit_test(long_messages_wait),
		cmocka_unit_test(a_small_one_grows),
	};

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, start, stop);
}
