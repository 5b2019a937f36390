/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hybrid Unix sockets of the real zvsockd, its guest a device of this process with two queues on
 * two lcores: data both ways, half-closes, slow sides, resets, bad clients, many connections, and
 * no descriptor left at the end.
 */
#include "host_flow.h"
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	   5000u /* the guest listens */
#define HOST_PORT  6000u /* the host listens, on @u_6000 */
#define SEQ_PORT   6001u
#define MANY	   4096u
#define FILL_LIMIT (64u << 20)

static struct zv_dev *G;
static const char *program;
static unsigned fds_before;
static int listener, seq_listener;
static struct zv_conn *reached;

/* A client of the host with its connection in the guest. */
static int host_to_guest(struct zf_conn **c)
{
	int fd = hs_connect("u", "CONNECT 5000\n");

	assert_true(fd >= 0);
	*c = zf_accept(G, PORT);
	assert_non_null(*c);
	assert_true(hs_expect_ok(fd));
	return fd;
}

static int guest_to_host(enum zv_type type, struct zf_conn **c)
{
	int err = 0, fd;

	*c = zf_connect(G, 0, ZV_CID_HOST, type == ZV_STREAM ? HOST_PORT : SEQ_PORT, type, &err);
	assert_int_equal(err, 0);
	fd = hs_accept(type == ZV_STREAM ? listener : seq_listener);
	assert_true(fd >= 0);
	return fd;
}

static void close_both(struct zf_conn *c, int fd)
{
	close(fd);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* ---- data ---- */

static void carry(uint32_t chunk, unsigned g_lazy, unsigned h_lazy)
{
	struct flow f = {.chunk = chunk, .g_lazy = g_lazy, .h_lazy = h_lazy, .ok = true};

	f.fd = host_to_guest(&f.c);
	assert_true(zf_until(flow_done, &f));
	assert_true(f.ok);
	close_both(f.c, f.fd);
}

static void data_both_ways(void **state)
{
	(void)state;
	carry(40000, 1, 1);
}

static void data_in_small_pieces(void **state)
{
	(void)state;
	carry(97, 1, 1);
}

static void data_in_large_pieces(void **state)
{
	(void)state;
	carry(200000, 1, 1);
}

static void slow_readers(void **state)
{
	(void)state;
	carry(40000, 50, 1);
	carry(40000, 1, 50);
}

static void early_data_is_not_lost(void **state)
{
	char text[30 + 3000] = "CONNECT 5000\n", got[3000];
	size_t len = strlen(text);
	struct zf_conn *c;
	int fd;

	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		text[len + i] = (char)flow_byte(i);
	fd = hs_connect("u", NULL);
	assert_int_equal(send(fd, text, len + 3000, 0), len + 3000);
	c = zf_accept(G, PORT);
	assert_non_null(c);
	assert_true(hs_expect_ok(fd));
	assert_int_equal(zf_recv(c, got, 3000, NULL), 3000);
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal((uint8_t)got[i], flow_byte(i));
	close_both(c, fd);
}

static void line_in_pieces(void **state)
{
	static const char line[] = "connect 5000\r\n";
	int fd = hs_connect("u", NULL);
	struct zf_conn *c;

	(void)state;
	for (unsigned i = 0; i < sizeof(line) - 1; i++) {
		assert_int_equal(send(fd, line + i, 1, 0), 1);
		for (int k = 0; k < 20; k++)
			zf_poll();
	}
	c = zf_accept(G, PORT);
	assert_non_null(c);
	assert_true(hs_expect_ok(fd));
	close_both(c, fd);
}

static void ok_names_the_port(void **state)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	int fd = hs_connect("u", "CONNECT 5000\n");
	char line[32], want[32];
	struct zf_conn *c;

	(void)state;
	c = zf_accept(G, PORT);
	assert_non_null(c);
	zv_conn_info(c->c, &info);
	snprintf(want, sizeof(want), "OK %u\n", info.peer_port);
	assert_int_equal(hs_recv(fd, line, strlen(want)), strlen(want));
	assert_memory_equal(line, want, strlen(want));
	assert_int_equal(info.peer_cid, zf_daemon_cid(G));
	close_both(c, fd);
}

/* ---- ends ---- */

static void half_close_by_the_host(void **state)
{
	struct zf_conn *c;
	char buf[16];
	int fd;

	(void)state;
	fd = host_to_guest(&c);
	assert_int_equal(send(fd, "question", 8, 0), 8);
	shutdown(fd, SHUT_WR);
	assert_int_equal(zf_recv(c, buf, 16, NULL), 8); /* and the end of the stream */
	assert_true(zf_send(c, "answer", 6, 0));
	assert_int_equal(hs_recv(fd, buf, 6), 6);
	zf_close(c);
	assert_int_equal(hs_recv(fd, buf, 1), 0);
	close(fd);
	assert_true(zf_fds_back(fds_before));
}

static void half_close_by_the_guest(void **state)
{
	struct zf_conn *c;
	char buf[16];
	int fd;

	(void)state;
	fd = guest_to_host(ZV_STREAM, &c);
	assert_true(zf_send(c, "question", 8, 0));
	zv_shutdown(c->c, 1);
	assert_int_equal(hs_recv(fd, buf, 16), 8);
	assert_int_equal(send(fd, "answer", 6, 0), 6);
	assert_int_equal(zf_recv(c, buf, 6, NULL), 6);
	close(fd);
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

static bool has_failed(void *arg)
{
	struct zf_conn *c = arg;

	return c->err != 0;
}

static void reset_by_the_guest(void **state)
{
	struct zf_conn *c;
	char buf[16];
	int fd;

	(void)state;
	fd = host_to_guest(&c);
	zv_conn_reset(c->c);
	free(c);
	assert_true(hs_recv(fd, buf, 1) <= 0);
	close(fd);
	assert_true(zf_fds_back(fds_before));
}

static void reset_by_the_host(void **state)
{
	struct zf_conn *c;
	int fd;

	(void)state;
	fd = guest_to_host(ZV_STREAM, &c);
	assert_true(zf_send(c, "unread", 6, 0));
	assert_true(hs_readable(fd));
	close(fd); /* with unread data: the kernel resets */
	assert_true(zf_until(has_failed, c));
	assert_int_equal(c->err, -ECONNRESET);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* Fills a flow until it stands still: nobody at the other end reads. */
static uint32_t fill_from_guest(struct zf_conn *c)
{
	static char buf[65536];
	uint32_t sent = 0;
	unsigned still = 0;

	while (still < 2000 && sent < FILL_LIMIT) {
		ssize_t n = zv_send(c->c, buf, sizeof(buf), 0);

		still = n > 0 ? 0 : still + 1;
		sent += n > 0 ? (uint32_t)n : 0;
		zf_poll();
	}
	return sent;
}

static void guest_closes_before_a_stuck_host(void **state)
{
	struct zf_conn *c, *d;
	char buf[65536];
	uint32_t sent, got = 0;
	ssize_t n;
	int fd, fd2;

	(void)state;
	fd = guest_to_host(ZV_STREAM, &c);
	sent = fill_from_guest(c);
	assert_in_range(sent, 1, FILL_LIMIT - 1);
	zf_close(c);
	fd2 = host_to_guest(&d); /* others are not held up */
	while ((n = hs_recv(fd, buf, sizeof(buf))) > 0)
		got += (uint32_t)n;
	assert_int_equal(got, sent);
	close(fd);
	close_both(d, fd2);
}

/* Says when there is something that it never reads. Keeps off the device, its parent's. */
static _Noreturn void never_read(int said)
{
	struct pollfd p = {.fd = accept(listener, NULL, NULL), .events = POLLIN};

	(void)poll(&p, 1, -1);
	(void)!write(said, "", 1);
	for (;;)
		(void)pause();
}

static void host_dies_while_the_guest_sends(void **state)
{
	struct zf_conn *c = zf_connect(G, 0, ZV_CID_HOST, HOST_PORT, ZV_STREAM, NULL);
	int said[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_true(c && pipe(said) == 0);
	pid = fork();
	if (pid == 0)
		never_read(said[1]);
	(void)fill_from_guest(c);
	/* Without unread bytes its death would be an end of file: zvsockd may have had no CPU. */
	assert_int_equal(read(said[0], &byte, 1), 1);
	close(said[0]);
	close(said[1]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(zf_until(has_failed, c));
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* ---- refusals ---- */

static void refused_by_the_guest(void **state)
{
	int fd = hs_connect("u", "CONNECT 5999\n");
	char c;

	(void)state;
	assert_int_equal(hs_recv(fd, &c, 1), 0);
	close(fd);
	assert_true(hs_counter("g", "host_refused") >= 1);
}

static void refused_by_the_host(void **state)
{
	int err = 0;

	(void)state;
	assert_null(zf_connect(G, 0, ZV_CID_HOST, 6999, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(hs_counter("g", "connect_refused"), 1);
	/* A stream socket is no place for messages. */
	assert_null(zf_connect(G, 0, ZV_CID_HOST, HOST_PORT, ZV_SEQPACKET, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(hs_counter("g", "connect_refused"), 2);
	assert_int_equal(hs_counter("g", "connect_failed"), 0);
	assert_true(zf_fds_back(fds_before));
}

static void bad_clients(void **state)
{
	static const char *const lines[] = {
		"GET / HTTP/1.1\r\n\r\n",
		"CONNECT x\n",
		"CONNECT 4294967296\n",
		"CONNECT                                                        1\n",
		"\001\002\003\004",
		"CONNECT 4294967295\n",
	};
	const unsigned n = sizeof(lines) / sizeof(lines[0]);
	char c;
	int fd;

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		fd = hs_connect("u", lines[i]);
		assert_true(hs_recv(fd, &c, 1) <= 0);
		close(fd);
	}
	assert_int_equal(hs_counter("g", "bad_connect_line"), n);
	fd = hs_connect("u", "CONN");
	close(fd);
	close(hs_connect("u", NULL));
	while (hs_counter("g", "connect_line_closed") < 2)
		zf_poll();
	/* Gone before OK: the guest's connection ends, and nobody spins. */
	close(hs_connect("u", "CONNECT 5000\n"));
	{
		struct zf_conn *g = zf_accept(G, PORT);

		assert_non_null(g);
		assert_int_equal(zf_recv(g, &c, 1, NULL), 0);
		zf_close(g);
	}
	assert_true(zf_fds_back(fds_before));
}

/* ---- messages ---- */

static void messages_keep_their_boundaries(void **state)
{
	static const uint32_t sizes[] = {1, 64, 4096, 65536, 100000, 7};
	static uint8_t out[100000], in[100001];
	struct zf_conn *c;
	int fd;

	(void)state;
	fd = guest_to_host(ZV_SEQPACKET, &c);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = flow_byte(i);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t flags = 0;

		assert_true(zf_send(c, out, sizes[i], 0));
		assert_int_equal(hs_recv(fd, in, sizeof(in)), sizes[i]);
		assert_memory_equal(in, out, sizes[i]);
		assert_int_equal(send(fd, out, sizes[i], 0), sizes[i]);
		assert_int_equal(zf_recv(c, in, sizeof(in), &flags), sizes[i]);
		assert_true(flags & ZV_EOM);
		assert_memory_equal(in, out, sizes[i]);
	}
	/* Several at once stay several. */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(send(fd, out, i + 1, 0), i + 1);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(zf_recv(c, in, sizeof(in), NULL), i + 1);
	zv_shutdown(c->c, 1);
	assert_int_equal(hs_recv(fd, in, 1), 0);
	close_both(c, fd);
}

/* ---- many ---- */

static void many_connections(void **state)
{
	struct zf_conn **c = calloc(MANY, sizeof(struct zf_conn *));
	int *fd = calloc(MANY, sizeof(int));
	char b;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		fd[i] = host_to_guest(&c[i]);
	for (unsigned i = 0; i < MANY; i += 111) {
		b = (char)i;
		assert_int_equal(send(fd[i], &b, 1, 0), 1);
		assert_int_equal(zf_recv(c[i], &b, 1, NULL), 1);
		assert_int_equal(b, (char)i);
		assert_true(zf_send(c[i], &b, 1, 0));
		assert_int_equal(hs_recv(fd[i], &b, 1), 1);
	}
	for (unsigned i = 0; i < MANY; i++) {
		if (i % 2)
			close(fd[i]);
		zf_close(c[i]);
		if (!(i % 2))
			close(fd[i]);
	}
	free(c);
	free(fd);
	assert_true(zf_fds_back(fds_before));
}

/* ---- the guest dies ---- */

/* A client that has connected while the device was not yet back is refused: another one tries. */
static bool is_reached(void *arg)
{
	int *fd = arg;
	char b;

	if (*fd >= 0 && recv(*fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
		close(*fd);
		*fd = -1;
	}
	if (*fd < 0)
		*fd = hs_connect("u", "CONNECT 5000\n");
	for (unsigned q = 0; q < zv_nqueues(G); q++)
		if (zv_accept(zv_queue(G, q), PORT, &reached) == 0)
			return true;
	return false;
}

static void guest_that_dies_resets_clients(void **state)
{
	struct zf_conn *c;
	char b;
	int fd;

	(void)state;
	fd = host_to_guest(&c);
	zf_close(c);
	assert_true(hs_recv(fd, &b, 1) <= 0);
	close(fd);
	fd = host_to_guest(&c);
	assert_true(zf_guest_close(0)); /* the device, with the connection */
	free(c);
	assert_true(hs_recv(fd, &b, 1) <= 0);
	close(fd);
	G = zf_guest(0, "g", 2);
	assert_non_null(G);
	assert_int_equal(zv_listen(G, PORT, ZV_STREAM, 0), 0);
	fd = -1;
	assert_true(zf_until(is_reached, &fd));
	assert_true(hs_expect_ok(fd));
	zv_conn_close(reached);
	assert_true(hs_recv(fd, &b, 1) <= 0);
	close(fd);
}

static int group_start(void **state)
{
	(void)state;
	if (!hs_raise_fd_limit(4 * MANY)) {
		print_message("too few descriptors allowed here\n");
		return -1;
	}
	if (!zf_start(program, "[guest g]\ncid = 11\nsocket = @g\nqueues = 2\nunix = @u\n", 2))
		return -1;
	G = zf_guest(0, "g", 2);
	listener = hs_listen("u_6000", SOCK_STREAM);
	seq_listener = hs_listen("u_6001", SOCK_SEQPACKET);
	if (!G || listener < 0 || seq_listener < 0 || zv_listen(G, PORT, ZV_STREAM, 0))
		return -1;
	(void)hs_counter("g", "host_accepted"); /* the daemon is up */
	for (int i = 0; i < 1000; i++)
		zf_poll();
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	close(listener);
	close(seq_listener);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_both_ways),
		cmocka_unit_test(data_in_small_pieces),
		cmocka_unit_test(data_in_large_pieces),
		cmocka_unit_test(slow_readers),
		cmocka_unit_test(early_data_is_not_lost),
		cmocka_unit_test(line_in_pieces),
		cmocka_unit_test(ok_names_the_port),
		cmocka_unit_test(half_close_by_the_host),
		cmocka_unit_test(half_close_by_the_guest),
		cmocka_unit_test(reset_by_the_guest),
		cmocka_unit_test(reset_by_the_host),
		cmocka_unit_test(guest_closes_before_a_stuck_host),
		cmocka_unit_test(host_dies_while_the_guest_sends),
		cmocka_unit_test(refused_by_the_guest),
		cmocka_unit_test(refused_by_the_host),
		cmocka_unit_test(bad_clients),
		cmocka_unit_test(messages_keep_their_boundaries),
		cmocka_unit_test(many_connections),
		cmocka_unit_test(guest_that_dies_resets_clients),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
