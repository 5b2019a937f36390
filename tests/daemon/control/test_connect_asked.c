/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "connect" of the control socket, asked for by clients that do what they like. A client that holds
 * the lock of a socket, in a recv(2) to memory that does not come, delays nobody: zvsockd uses no
 * socket that the client may have.
 */
#include "held_page.h"
#include "host_side.h"
#include "raw_client.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GOOD "{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":5000}\n"

static struct zv_dev *G;
static struct zf_conn *echo;
static const char *program;
static unsigned fds_before;

/* The answer to @request, which goes with @fd, on the new control connection *s. Returns the
 * descriptor that comes with it; -1: none. */
static int ask(int *s, const char *request, int fd, char *answer, size_t size)
{
	ssize_t n;
	int got;

	*s = hs_connect("control.sock", NULL);
	assert_true(raw_send(*s, request, strlen(request), &fd, fd >= 0));
	assert_true(hs_readable(*s));
	got = raw_take(*s, answer, size - 1, 0, &n);
	assert_true(n > 0);
	answer[n] = 0;
	return got;
}

/* The answer says that the request is refused, with @part. */
static void refuses(const char *request, int fd, const char *part)
{
	char answer[1024];
	int s, got = ask(&s, request, fd, answer, sizeof(answer));

	if (!strstr(answer, "\"ok\":false") || !strstr(answer, part) || got >= 0)
		fail_msg("%s got %s; wanted %s", request, answer, part);
	close(s);
}

/* One end of a connection to the guest, whose end *c is; *s is the control connection. */
static int connected(int *s, struct zf_conn **c)
{
	char answer[1024];
	int fd = ask(s, GOOD, -1, answer, sizeof(answer));

	if (fd < 0 || !strstr(answer, "\"ok\":true") || !strstr(answer, "\"guest\":\"g\""))
		fail_msg("%s", answer);
	*c = zf_accept(G, 5000);
	assert_non_null(*c);
	return fd;
}

/* The event at the end of a connection. */
static void is_over(int s, const char *part)
{
	char event[256];
	ssize_t n;

	assert_true(hs_readable(s));
	n = recv(s, event, sizeof(event) - 1, 0);
	assert_true(n > 0);
	event[n] = 0;
	if (!strstr(event, "\"event\":\"closed\"") || !strstr(event, part))
		fail_msg("%s; wanted %s", event, part);
	assert_int_equal(hs_recv(s, event, 1), 0);
	close(s);
}

/* The lcore serves another connection of the guest, and the main thread other clients. */
static void others_are_served(void)
{
	char b = 0;

	assert_true(zf_send(echo, "e", 1, 0));
	assert_int_equal(zf_recv(echo, &b, 1, NULL), 1);
	assert_int_equal(b, 'e');
	assert_true(hs_counter("g", "host_accepted") >= 0);
}

/* ---- requests ---- */

static void requests_are_checked(void **state)
{
	(void)state;
	refuses("{\"v\":1,\"cmd\":\"connect\",\"port\":5000}\n", -1, "is missing");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":7,\"port\":5000}\n", -1,
		"must be a string");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\"}\n", -1, "must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":0}\n", -1,
		"must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":4294967295}\n", -1,
		"must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":\"x\"}\n", -1,
		"must be a number");
}

/* Whatever it is. */
static void a_descriptor_is_refused(void **state)
{
	uint16_t port;
	int fd[] = {hs_listen_tcp(&port), hs_listen("l", SOCK_STREAM),
		    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), -1, -1};

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, &fd[3]), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(fd[i] >= 0);
		refuses(GOOD, fd[i], "\\\"connect\\\" takes no descriptor");
	}
	for (unsigned i = 0; i < 5; i++)
		close(fd[i]);
}

/* ---- the socket that comes with the answer ---- */

static void bytes_and_ends(void **state)
{
	struct zf_conn *c;
	int s, fd = connected(&s, &c);
	char b[8];

	(void)state;
	assert_true(hs_expect_ok(fd));
	assert_int_equal(send(fd, "to you", 6, 0), 6);
	assert_int_equal(zf_recv(c, b, 6, NULL), 6);
	assert_memory_equal(b, "to you", 6);
	assert_true(zf_send(c, "and back", 8, 0));
	assert_int_equal(hs_recv(fd, b, 8), 8);
	assert_memory_equal(b, "and back", 8);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(zf_recv(c, b, 1, NULL), 0);
	zf_close(c);
	assert_int_equal(hs_recv(fd, b, 1), 0);
	is_over(s, "\"ok\":true");
	close(fd);
	fd = connected(&s, &c);
	assert_true(hs_expect_ok(fd));
	zv_conn_reset(c->c);
	free(c);
	is_over(s, "\"ok\":false");
	close(fd);
}

/* zvsockd keeps none of the end that it has given away. */
static void the_program_closes(void **state)
{
	struct zf_conn *c;
	int s, fd = connected(&s, &c);
	char b;

	(void)state;
	assert_true(hs_expect_ok(fd));
	close(fd);
	assert_int_equal(zf_recv(c, &b, 1, NULL), 0);
	zf_close(c);
	is_over(s, "\"ok\":true");
}

/* Who leaves without its answer has no connection. */
static void the_answer_is_not_read(void **state)
{
	int s = hs_connect("control.sock", GOOD);
	struct zf_conn *c = zf_accept(G, 5000);
	char b;

	(void)state;
	assert_non_null(c);
	close(s);
	assert_true(zf_recv(c, &b, 1, NULL) <= 0);
	zf_close(c);
}

/* By the kernel, or by the end of the connection. */
static void descriptors_are_refused(void **state)
{
	struct zf_conn *c;
	int s, fd = connected(&s, &c);
	char b;

	(void)state;
	assert_true(hs_expect_ok(fd));
	if (raw_send(fd, "x", 1, &(int){0}, 1)) {
		char who[64];

		assert_int_equal(zf_recv(c, &b, 1, NULL), -ECONNRESET);
		(void)snprintf(who, sizeof(who), "pid %d, uid .* has sent descriptors",
			       (int)getpid());
		assert_true(zf_logged(who));
		is_over(s, "\"ok\":false");
	} else {
		assert_int_equal(errno, EPERM);
		close(s);
	}
	close(fd);
	zf_close(c);
}

/* ---- a lock that is held ---- */

static struct held_page page;
static pthread_t holder;

static void *receive(void *arg)
{
	(void)!recv(*(int *)arg, page.at, 4096, 0);
	return NULL;
}

/* From now on a recv(2) holds the lock of *fd, in which there is something to read. False: that
 * cannot be had here. */
static bool hold(int *fd)
{
	if (!held_page_new(&page))
		return false;
	assert_int_equal(pthread_create(&holder, NULL, receive, fd), 0);
	assert_true(held_page_waits(&page));
	return true;
}

static void let_go(bool held)
{
	if (!held)
		return;
	held_page_come(&page);
	assert_int_equal(pthread_join(holder, NULL), 0);
}

static void a_locked_socket_is_not_taken(void **state)
{
	int pair[2];
	bool held;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	held = hold(&pair[0]);
	refuses(GOOD, pair[0], "\\\"connect\\\" takes no descriptor");
	others_are_served();
	let_go(held);
	close(pair[0]);
	close(pair[1]);
}

/* What the client has holds up nothing: neither what comes from there, nor what goes there, nor the
 * end. */
static void the_other_end_is_locked(void **state)
{
	struct zf_conn *c;
	int s, fd = connected(&s, &c);
	bool held;
	char b;

	(void)state;
	assert_true(hs_readable(fd)); /* "OK" */
	held = hold(&fd);
	assert_true(zf_send(c, "down", 4, 0));
	assert_int_equal(send(fd, "u", 1, 0), 1);
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_int_equal(b, 'u');
	others_are_served();
	zf_close(c);
	assert_true(hs_readable(s)); /* it has been closed here */
	others_are_served();
	let_go(held);
	is_over(s, "");
	close(fd);
}

/* ---- all of it ---- */

static int fds_are_back(void **state)
{
	(void)state;
	assert_true(zf_fds_back(fds_before));
	return 0;
}

static int group_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program, "[guest g]\ncid = 11\nsocket = @g\nbuiltin = echo:7\n", 1))
		return -1;
	G = zf_guest(0, "g", 1);
	if (!G || zv_listen(G, 5000, ZV_STREAM, 0))
		return -1;
	echo = zf_connect(G, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
	if (!echo)
		return -1;
	others_are_served();
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	zf_close(echo);
	return zf_stop() ? 0 : -1;
}

#define CASE(fn) cmocka_unit_test_teardown(fn, fds_are_back)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(requests_are_checked),
		CASE(a_descriptor_is_refused),
		CASE(bytes_and_ends),
		CASE(the_program_closes),
		CASE(the_answer_is_not_read),
		CASE(descriptors_are_refused),
		CASE(a_locked_socket_is_not_taken),
		CASE(the_other_end_is_locked),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
