/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd at the edges of what it carries: empty messages amid others, guests that ask
 * and give up, guests that are taken out of the configuration while everybody talks to them.
 */
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

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* headers before Linux 6.16 */
#endif

#define CID_B	12u
#define PORT	5000u
#define FLOOD	5000u
#define EMPTY	1000u
#define CLIENTS 300u /* more than one step of a removal */
#define TIMES	5u

#define GUESTS                                                                                     \
	"[guest z]\ncid = 11\nsocket = @z\ngroups = one\nbuiltin = echo:7\nunix = @u\n"            \
	"[guest b]\ncid = 12\nsocket = @b\nqueues = 2\ngroups = one\n"
#define REMOVED "[guest r]\ncid = 13\nsocket = @r\nqueues = 3\nunix = @ru\n"

static struct zv_dev *Z, *B;
static const char *program;

/* ---- descriptors ---- */

/* Sends @text with a descriptor. What sendmsg() says. */
static ssize_t send_descriptor(int fd, const char *text)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = sizeof(ctl.buf)};

	memcpy(CMSG_DATA(&ctl.align), &fd, sizeof(fd));
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* An lcore that closes what comes with data may wait for as long as its sender likes. */
static void nobody_sends_descriptors(void **state)
{
	static const int type[] = {SOCK_STREAM, SOCK_SEQPACKET};
	const int off = 0;
	int fd = hs_connect("u", NULL);

	(void)state;
	assert_true(fd >= 0);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) < 0) {
		print_message("skipped: this kernel has no SO_PASSRIGHTS (Linux 6.16)\n");
		close(fd);
		skip();
	}
	assert_int_equal(send_descriptor(fd, "CONNECT 5000\n"), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		int listener = hs_listen(i ? "u_7102" : "u_7101", type[i]);
		struct zf_conn *c =
			zf_connect(Z, 0, ZV_CID_HOST, 7101 + i, i ? ZV_SEQPACKET : ZV_STREAM, NULL);
		char buf[8];

		assert_non_null(c);
		fd = hs_accept(listener);
		assert_int_equal(send_descriptor(fd, "abc"), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(send(fd, "def", 3, 0), 3);
		assert_int_equal(zf_recv(c, buf, 3, NULL), 3);
		assert_memory_equal(buf, "def", 3);
		zf_close(c);
		close(fd);
		close(listener);
	}
}

/* ---- messages ---- */

/* An empty message goes out: the host side has said HELLO, and there is room. */
static bool empty_sent(void *arg)
{
	return zv_send(((struct zf_conn *)arg)->c, "", 0, 0) == 0;
}

static void empty_message_is_not_the_end(void **state)
{
	int listener = hs_listen("u_7000", SOCK_SEQPACKET), fd;
	struct zf_conn *c = zf_connect(Z, 0, ZV_CID_HOST, 7000, ZV_SEQPACKET, NULL);
	uint32_t flags = 0;
	char buf[8];

	(void)state;
	assert_non_null(c);
	fd = hs_accept(listener);
	zf_asleep();
	assert_int_equal(send(fd, "", 0, 0), 0);
	assert_int_equal(send(fd, "abc", 3, 0), 3);
	close(fd);
	zf_awake();
	assert_int_equal(zf_recv(c, buf, sizeof(buf), &flags), 0);
	assert_true(flags & ZV_EOM);
	assert_int_equal(zf_recv(c, buf, sizeof(buf), &flags), 3);
	assert_memory_equal(buf, "abc", 3);
	flags = 0;
	assert_int_equal(zf_recv(c, buf, sizeof(buf), &flags), 0);
	assert_false(flags & ZV_EOM);
	zf_close(c);
	close(listener);
}

/* The stock guest cannot take it; the messages beside it are not lost for that. */
static void empty_message_harms_no_other(void **state)
{
	struct zf_conn *z = zf_connect(Z, 0, CID_B, PORT, ZV_SEQPACKET, NULL), *b;
	char buf[8];

	(void)state;
	assert_non_null(z);
	b = zf_accept(B, PORT);
	assert_non_null(b);
	assert_true(zf_send(z, "!", 1, 0)); /* joined */
	assert_int_equal(zf_recv(b, buf, sizeof(buf), NULL), 1);
	zf_asleep();
	assert_int_equal(zv_send(z->c, "one", 3, 0), 3);
	assert_int_equal(zv_send(z->c, "", 0, 0), 0);
	assert_int_equal(zv_send(z->c, "three", 5, 0), 5);
	zf_awake();
	assert_int_equal(zf_recv(b, buf, sizeof(buf), NULL), 3);
	assert_memory_equal(buf, "one", 3);
	assert_int_equal(zf_recv(b, buf, sizeof(buf), NULL), 5);
	assert_memory_equal(buf, "three", 5);
	assert_int_equal(hs_counter("z", "msg_empty") + hs_counter("b", "msg_empty"), 1);
	zf_close(z);
	zf_close(b);
}

/* More than a Unix socket holds: an empty message waits for room as any other does. */
static void empty_messages_wait_for_room(void **state)
{
	struct zf_conn *c = NULL, *echo = zf_connect(Z, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
	int listener = hs_listen("u_7001", SOCK_SEQPACKET), fd;
	unsigned got = 0;
	char buf[8];
	ssize_t n;

	(void)state;
	assert_non_null(echo);
	c = zf_connect(Z, 0, ZV_CID_HOST, 7001, ZV_SEQPACKET, NULL);
	assert_non_null(c);
	fd = hs_accept(listener);
	for (unsigned i = 0; i < EMPTY; i++)
		assert_true(zf_until(empty_sent, c));
	assert_true(zf_send(c, "end", 3, 0));
	for (unsigned i = 0; i < 10; i++) { /* meanwhile the daemon fills the socket up */
		assert_true(zf_send(echo, "?", 1, 0));
		assert_int_equal(zf_recv(echo, buf, 1, NULL), 1);
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) == 0 && got < EMPTY)
		got++;
	assert_int_equal(n, 3);
	assert_int_equal(got, EMPTY);
	zf_close(c);
	zf_close(echo);
	close(fd);
	close(listener);
}

/* ---- guests that are quick ---- */

/* As ncat --recv-only does: its answer and the end of its direction come in one go. */
static void guest_that_ends_its_direction_at_once_is_joined_first(void **state)
{
	struct zf_conn *c;
	char buf[4];
	int fd;

	(void)state;
	assert_int_equal(zv_listen_all(Z, 0, 0), 0);
	fd = hs_connect("u", "CONNECT 6000\n");
	assert_true(fd >= 0);
	c = zf_accept(Z, ZV_PORT_ANY);
	assert_non_null(c);
	zf_asleep();
	assert_int_equal(zv_conn_answer(c->c, 0), 0);
	assert_int_equal(zv_shutdown(c->c, 1), 0);
	for (int i = 0; i < 10; i++)
		zf_poll();
	zf_awake();
	assert_true(hs_expect_ok(fd));
	assert_int_equal(hs_recv(fd, buf, 1), 0);
	assert_int_equal(send(fd, "data", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(zf_recv(c, buf, 4, NULL), 4);
	assert_memory_equal(buf, "data", 4);
	close(fd);
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
	assert_int_equal(zv_unlisten(Z, ZV_PORT_ANY), 0);
}

/* ---- guests that give up ---- */

static void flood_of_requests_to_a_sibling(void **state)
{
	struct zf_conn *z, *b;
	char buf[8];

	(void)state;
	for (unsigned i = 0; i < FLOOD; i++) {
		struct zv_conn *c;

		if (zv_connect(zv_queue(Z, 0), CID_B, PORT + 1, ZV_STREAM, &c) == 0)
			zv_conn_reset(c);
		zf_poll();
	}
	z = zf_connect(Z, 0, CID_B, PORT, ZV_SEQPACKET, NULL);
	assert_non_null(z);
	b = zf_accept(B, PORT);
	assert_non_null(b);
	assert_true(zf_send(z, "x", 1, 0));
	assert_int_equal(zf_recv(b, buf, sizeof(buf), NULL), 1);
	zf_close(z);
	zf_close(b);
}

/* ---- guests that are removed ---- */

static bool guest_there(void *arg)
{
	return (hs_counter("r", "host_accepted") >= 0) == *(bool *)arg;
}

static bool all_accepted(void *arg)
{
	(void)arg;
	return hs_counter("r", "host_accepted") == CLIENTS;
}

/* All clients see an end; they may have been told something before. */
static void all_end(const int *fd)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		char buf[64];

		assert_true(hs_readable(fd[i]));
		while (recv(fd[i], buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
		close(fd[i]);
	}
}

/* Its rings do not run: clients are passed from queue to queue while those go away. */
static void removed_while_clients_look_for_a_queue(void **state)
{
	bool yes = true, no = false;
	static int fd[CLIENTS];

	(void)state;
	for (unsigned k = 0; k < TIMES; k++) {
		assert_true(zf_reload(GUESTS REMOVED, 2));
		assert_true(zf_until(guest_there, &yes));
		for (unsigned i = 0; i < CLIENTS; i++)
			assert_true((fd[i] = hs_connect("ru", NULL)) >= 0);
		assert_true(zf_until(all_accepted, NULL));
		assert_true(zf_reload(GUESTS, 2));
		for (unsigned i = 0; i < CLIENTS; i++)
			(void)send(fd[i], "CONNECT 5000\n", 13, MSG_NOSIGNAL);
		for (unsigned i = 0; i < CLIENTS; i++)
			close(fd[i]);
		assert_true(zf_until(guest_there, &no));
	}
}

static bool has_error(void *arg)
{
	const struct zf_conn *c = arg;
	char b;

	return c->err || zv_recv(c->c, &b, 1, NULL) == 0;
}

static void removed_with_many_connections(void **state)
{
	struct zf_conn *echo = zf_connect(Z, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
	static struct zf_conn *c[CLIENTS];
	bool yes = true, no = false;
	static int fd[CLIENTS];
	unsigned before = zf_fds();
	struct zv_dev *r;
	char b = 'e';

	(void)state;
	assert_non_null(echo);
	assert_true(zf_reload(GUESTS REMOVED, 2));
	assert_true(zf_until(guest_there, &yes));
	r = zf_guest(2, "r", 3);
	assert_non_null(r);
	assert_int_equal(zv_listen(r, PORT, ZV_STREAM, CLIENTS), 0);
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_true((fd[i] = hs_connect("ru", "CONNECT 5000\n")) >= 0);
		c[i] = zf_accept(r, PORT);
		assert_non_null(c[i]);
		assert_true(zf_send(c[i], "x", 1, 0));
	}
	assert_true(zf_reload(GUESTS, 2));
	all_end(fd);
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_true(zf_until(has_error, c[i]));
		zf_close(c[i]);
	}
	assert_true(zf_until(guest_there, &no));
	assert_true(zf_guest_close(2));
	assert_true(zf_fds_back(before));
	/* The others have noticed nothing. */
	assert_true(zf_send(echo, &b, 1, 0));
	assert_int_equal(zf_recv(echo, &b, 1, NULL), 1);
	zf_close(echo);
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	struct zf_conn *c;

	(void)state;
	if (!hs_raise_fd_limit(4 * CLIENTS) || !zf_start(program, GUESTS, 2))
		return -1;
	Z = zf_zvsock_guest(0, "z", 1);
	B = zf_guest(1, "b", 2);
	if (!Z || !B || zv_listen(B, PORT, ZV_SEQPACKET, 0))
		return -1;
	c = zf_connect(Z, 0, ZV_CID_HOST, 7, ZV_SEQPACKET, NULL);
	if (!c || !zf_until(empty_sent, c))
		return -1;
	zf_close(c);
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_sends_descriptors),
		cmocka_unit_test(empty_message_is_not_the_end),
		cmocka_unit_test(empty_message_harms_no_other),
		cmocka_unit_test(empty_messages_wait_for_room),
		cmocka_unit_test(guest_that_ends_its_direction_at_once_is_joined_first),
		cmocka_unit_test(flood_of_requests_to_a_sibling),
		cmocka_unit_test(removed_while_clients_look_for_a_queue),
		cmocka_unit_test(removed_with_many_connections),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
