/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Local programs send descriptors beside their data to a zvsockd whose kernel cannot refuse them
 * (no_passrights.c). What is sent is a TCP socket that takes an hour to close (SO_LINGER, and data
 * that nobody reads), so an lcore that closes one never serves the other connection again.
 */
#include "host_side.h"
#include "slow_fd.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <proto/vhost_user.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	 5000u
#define SERVED	 7101u
#define SERVED_S 7102u
#define GUEST                                                                                      \
	"applications = @apps\napplications_mode = 0600\n"                                         \
	"[guest g]\ncid = 11\nsocket = @g\nbuiltin = echo:7\nunix = @u\n"
#define FLOOD	200u
#define AT_ONCE 253u /* SCM_MAX_FD */
#define BLOCK	65536u
#define BLOCKS	16u

static const char *program;
static struct zv_dev *G;
static struct zf_conn *echo;
static unsigned fds_before;

/* ---- descriptors ---- */

/* Sends @text with @fd, @n times. What sendmsg() says. */
static ssize_t send_fds(int sock, const char *text, int fd, unsigned n, int flags)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(AT_ONCE * sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(n * sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};

	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&ctl.align) + i * sizeof(fd), &fd, sizeof(fd));
	return sendmsg(sock, &m, MSG_NOSIGNAL | flags);
}

/* Sends @text with @b, which only zvsockd has from then on: the last one to close it is who waits.
 */
static ssize_t send_bomb(int sock, const char *text, int b)
{
	ssize_t n;

	zf_asleep();
	n = send_fds(sock, text, b, 1, 0);
	slow_close(b);
	zf_awake();
	return n;
}

/* The other connection is served. */
static void others_go_on(void)
{
	char b[4];

	for (unsigned i = 0; i < 20; i++) {
		assert_true(zf_send(echo, "ping", 4, 0));
		assert_int_equal(zf_recv(echo, b, 4, NULL), 4);
	}
}

static bool has_failed(void *arg)
{
	const struct zf_conn *c = arg;

	return c->err;
}

/* The program sees an end. */
static void is_closed(int fd)
{
	char b[64];

	while (hs_recv(fd, b, 1) > 0)
		;
}

/* Nothing waits any more: all that zvsockd had received, and the sockets of who had sent it. */
static void defuse(int end)
{
	others_go_on();
	close(end);
	assert_true(zf_fds_back(fds_before));
	others_go_on();
}

static void joined(int *fd, struct zf_conn **c)
{
	*fd = hs_connect("u", "CONNECT 5000\n");
	assert_true(*fd >= 0);
	*c = zf_accept(G, PORT);
	assert_non_null(*c);
	assert_true(hs_expect_ok(*fd));
}

/* ---- where they come ---- */

static void with_the_line(void **state)
{
	int end, b = slow_fd(&end), fd = hs_connect("u", NULL);

	(void)state;
	assert_true(send_bomb(fd, "CONNECT 5000\n", b) > 0);
	is_closed(fd);
	close(fd);
	defuse(end);
}

static void with_data(void **state)
{
	int end, b = slow_fd(&end), fd;
	struct zf_conn *c;

	(void)state;
	joined(&fd, &c);
	assert_int_equal(send_bomb(fd, "data", b), 4);
	assert_true(zf_until(has_failed, c));
	is_closed(fd);
	zf_close(c);
	close(fd);
	defuse(end);
}

/* Reads skip it. */
static void with_a_byte_out_of_band(void **state)
{
	int end, b = slow_fd(&end), fd;
	struct zf_conn *c;

	(void)state;
	joined(&fd, &c);
	zf_asleep();
	assert_int_equal(send_fds(fd, "d", b, 1, MSG_OOB), 1);
	slow_close(b);
	assert_int_equal(send(fd, "ata", 3, MSG_NOSIGNAL | MSG_DONTWAIT) < 0, 0);
	zf_awake();
	assert_true(zf_until(has_failed, c));
	is_closed(fd);
	zf_close(c);
	close(fd);
	defuse(end);
}

/* A frontend's: of a guest that has none. */
static void with_a_message_of_a_frontend(void **state)
{
	const uint32_t features[] = {VU_GET_FEATURES, VU_VERSION, 0};
	int end, b = slow_fd(&end), fd = hs_connect("rs", NULL);

	(void)state;
	assert_true(fd >= 0);
	zf_asleep();
	assert_int_equal(send_fds(fd, "o", b, 1, MSG_OOB), 1);
	slow_close(b);
	assert_int_equal(send(fd, features, sizeof(features), MSG_NOSIGNAL), sizeof(features));
	zf_awake();
	others_go_on();
	close(fd);
	/* The thread that has read it serves an application. */
	assert_non_null(zf_app(1, "apps", 1));
	assert_true(zf_guest_close(1));
	defuse(end);
}

static void with_a_message(void **state)
{
	int end, b = slow_fd(&end), listener = hs_listen("u_7102", SOCK_SEQPACKET), fd;
	struct zf_conn *c = zf_connect(G, 0, ZV_CID_HOST, SERVED_S, ZV_SEQPACKET, NULL);

	(void)state;
	assert_non_null(c);
	fd = hs_accept(listener);
	assert_int_equal(send_bomb(fd, "", b), 0);
	assert_true(zf_until(has_failed, c));
	zf_close(c);
	close(fd);
	close(listener);
	defuse(end);
}

/* They are behind more data than the guest takes, and are there when the socket is closed. */
static void unread_at_the_end(void **state)
{
	int end, b = slow_fd(&end), listener = hs_listen("u_7101", SOCK_STREAM), fd;
	struct zf_conn *c = zf_connect(G, 0, ZV_CID_HOST, SERVED, ZV_STREAM, NULL);
	static char block[BLOCK];
	unsigned n = 0;

	(void)state;
	assert_non_null(c);
	fd = hs_accept(listener);
	while (n < 100) { /* the guest does not read */
		n = send(fd, block, 4096, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ? 0 : n + 1;
		others_go_on();
	}
	/* Of what fills the socket some must go, for that with the descriptor. */
	assert_int_equal(zf_recv(c, block, BLOCK, NULL), BLOCK);
	while (send_fds(fd, "data", b, 1, MSG_DONTWAIT) < 0)
		assert_int_equal(zf_recv(c, block, 1, NULL), 1);
	slow_close(b);
	zv_conn_reset(c->c);
	c->c = NULL;
	is_closed(fd);
	free(c);
	close(fd);
	close(listener);
	defuse(end);
}

static void for_a_guest_that_receives_no_more(void **state)
{
	int end, b = slow_fd(&end), fd;
	struct zf_conn *c;

	(void)state;
	joined(&fd, &c);
	zf_asleep(); /* until both are there */
	assert_int_equal(send_fds(fd, "data", b, 1, 0), 4);
	slow_close(b);
	assert_int_equal(zv_shutdown(c->c, 0), 0);
	zf_poll();
	zf_awake();
	is_closed(fd);
	zf_close(c);
	close(fd);
	defuse(end);
}

static void before_they_are_accepted_and_the_guest_is_removed(void **state)
{
	int end, b = slow_fd(&end), fd;

	(void)state;
	zf_asleep();
	fd = hs_connect("r", NULL);
	assert_true(fd >= 0);
	assert_true(send_fds(fd, "CONNECT 5000\n", b, 1, 0) > 0);
	slow_close(b);
	assert_true(zf_reload(GUEST, 1));
	zf_awake();
	is_closed(fd);
	close(fd);
	defuse(end);
}

/* ---- who serves all guests and the control socket ---- */

static int to_applications(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%sapps", zf_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void to_the_socket_of_applications(void **state)
{
	int end, b = slow_fd(&end), fd = to_applications();

	(void)state;
	assert_true(send_fds(fd, "to be attached", b, AT_ONCE, 0) > 0);
	is_closed(fd);
	close(fd);
	assert_true(hs_counter("g", "fds_passed") >= 0);
	/* Behind a message that ends it. */
	zf_asleep();
	fd = to_applications();
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(send_fds(fd, "y", b, 1, 0), 1);
	slow_close(b);
	zf_awake();
	is_closed(fd);
	close(fd);
	assert_true(hs_counter("g", "fds_passed") >= 0);
	defuse(end);
}

/* ---- how many ---- */

/* While one takes its time, others are not even received: they stay in their senders' sockets. */
static void many_take_no_places(void **state)
{
	int end, b = slow_fd(&end), fd[FLOOD], first = hs_connect("u", NULL);
	static char sent[BLOCK], got[BLOCK];
	struct zf_conn *c;

	(void)state;
	assert_true(send_fds(first, "x", b, 1, 0) > 0);
	is_closed(first);
	close(first);
	for (unsigned i = 0; i < FLOOD; i++) {
		assert_true((fd[i] = hs_connect("u", NULL)) >= 0);
		assert_true(send_fds(fd[i], "CONNECT 5000\n", b, AT_ONCE, 0) > 0);
	}
	slow_close(b);
	for (unsigned i = 0; i < FLOOD; i++) {
		is_closed(fd[i]);
		close(fd[i]);
	}
	assert_true(zf_fds() <= fds_before + 1 + FLOOD);
	/* Programs that send none are served. */
	joined(&first, &c);
	for (unsigned i = 0; i < BLOCKS; i++) {
		for (unsigned k = 0; k < BLOCK; k++)
			sent[k] = (char)(i + k * 7);
		for (unsigned k = 0; k < BLOCK; k += BLOCK / 4) {
			assert_int_equal(send(first, sent + k, BLOCK / 4, 0), BLOCK / 4);
			assert_int_equal(zf_recv(c, got + k, BLOCK / 4, NULL), BLOCK / 4);
		}
		assert_memory_equal(sent, got, BLOCK);
	}
	close(first);
	zf_close(c);
	defuse(end);
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	char b;

	(void)state;
	if (!hs_raise_fd_limit(20000) ||
	    !zf_start(program, GUEST "[guest r]\ncid = 12\nsocket = @rs\nunix = @r\n", 1))
		return -1;
	G = zf_guest(0, "g", 1);
	if (!G || zv_listen(G, PORT, ZV_STREAM, 0))
		return -1;
	echo = zf_connect(G, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
	if (!echo || !zf_send(echo, "x", 1, 0) || zf_recv(echo, &b, 1, NULL) != 1)
		return -1;
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	zf_close(echo);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_the_line),
		cmocka_unit_test(with_data),
		cmocka_unit_test(with_a_byte_out_of_band),
		cmocka_unit_test(with_a_message_of_a_frontend),
		cmocka_unit_test(with_a_message),
		cmocka_unit_test(unread_at_the_end),
		cmocka_unit_test(for_a_guest_that_receives_no_more),
		cmocka_unit_test(before_they_are_accepted_and_the_guest_is_removed),
		cmocka_unit_test(to_the_socket_of_applications),
		cmocka_unit_test(many_take_no_places),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD_PASSED\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests_name("passed", tests, group_start, group_end);
}
